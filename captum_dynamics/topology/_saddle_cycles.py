"""Cycles on the borders of basins: what a border comes to where it is no point."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from captum_dynamics._typing import Inputs, OneState
from captum_dynamics.cycles import find_cycles
from captum_dynamics.dynamics import DynamicsMap
from captum_dynamics.fixed_points import find_fixed_points
from captum_dynamics.linearization import Linearization, linearize
from captum_dynamics.regimes import Ending, Regime

LONGEST = 8  # period that is looked for
NEAR = 1e-2  # distance, times 1 + |h|, within which a border has come to a cycle


def find_saddle_cycles(
    dynamics: DynamicsMap, ends: Sequence[OneState], inputs: Inputs
) -> list[Ending]:
    """Solve for cycles near states where borders of basins were seen last."""
    found: list[Ending] = []
    for state in ends:
        known = any(distance_to(cycle, state) < _reach(state) for cycle in found)
        found += [] if known else _cycle_near(dynamics, state, inputs)
    return found


def distance_to(cycle: Ending, state: OneState) -> float:
    """From a state to the nearest one of a cycle."""
    return float((cycle.states - state).norm(dim=1).min())


def around(dynamics: DynamicsMap, cycle: Ending, inputs: Inputs) -> Linearization:
    """The linearization of F^k at the first state of a cycle of k states."""
    whole = dynamics.iterate(cycle.period)
    return linearize(whole, find_fixed_points(whole, cycle.states[:1], inputs))


def _cycle_near(dynamics: DynamicsMap, state: OneState, inputs: Inputs) -> list[Ending]:
    """The shortest cycle near a state, if there is one."""
    for period in range(2, LONGEST + 1):
        cycles = find_cycles(dynamics, state[None], inputs, period)
        for row in range(len(cycles)):
            exponents = cycles.eigenvalues[row].abs().log() / period
            cycle = Ending(
                Regime.CYCLE,
                cycles.states[row],
                period,
                float(cycles.residual_norms[row]),
                exponents,
                torch.zeros_like(exponents),
                dimension=0.0,
                degenerate=bool(cycles.degenerate[row]),
            )
            if distance_to(cycle, state) < _reach(state):
                return [cycle]
    return []


def _reach(state: OneState) -> float:
    return NEAR * (1 + float(state.norm()))
