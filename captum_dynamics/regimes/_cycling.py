"""Cycles that runs go round, solved from where a run nearly meets its past."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from jaxtyping import Complex
from torch import Tensor

from captum_dynamics import _linalg
from captum_dynamics._typing import OneState, States
from captum_dynamics.exceptions import ConvergenceWarning
from captum_dynamics.fixed_points import FixedPoints, Kind, find_fixed_points
from captum_dynamics.regimes._endings import Ending, Regime
from captum_dynamics.regimes._runs import Found, Problem, nearness
from captum_dynamics.solvers import LevenbergMarquardt

CLOSED = 1e-8  # |F^k(h) - h| of a cycle
MARGIN = 1e-6  # a multiplier above 1 by no more may be one of a continuum
SAME = 1e-6  # times 1 + |h|: states of a cycle are farther apart
STEPS = 50  # of a search that begins beside a cycle
CANDIDATES = 3  # near returns of one run that are tried, the soonest first
DEEP = 0.1  # of the median distance to later states, for one to be a near return


@dataclass(frozen=True, eq=False)
class _Cycle:
    """States (k, d) of a cycle, and its multipliers (d,)."""

    states: States
    residual_norm: float
    eigenvalues: Complex[Tensor, " d"]
    degenerate: bool


def cycling(problem: Problem, states: States) -> list[Found]:
    """Cycles that attract, and the rows of `states` that are on each.

    A run that nearly meets its past after k steps may be on a cycle of k states: those
    are solved for all at once, with the smallest k first.
    """
    periods = _near_returns(problem, states)
    members = torch.full((len(states),), -1, device=states.device)
    found: list[_Cycle] = []
    for place in range(CANDIDATES):
        rows_of: dict[int, list[int]] = {}
        for row, own in enumerate(periods):
            if members[row] < 0 and place < len(own):
                rows_of.setdefault(own[place], []).append(row)
        for period, rows in sorted(rows_of.items()):
            found += _solve(problem, states[rows], period, found)
            for row in rows:
                members[row] = _nearest(found, states[row])
    pairs = [
        (cycle, torch.nonzero(members == k)[:, 0]) for k, cycle in enumerate(found)
    ]
    return [(_ending(problem, cycle), rows) for cycle, rows in pairs if len(rows)]


def _near_returns(problem: Problem, states: States) -> list[list[int]]:
    """Numbers of steps after which each run is near where it is now."""
    later, ahead = states, []
    for _ in range(problem.longest):
        later = problem.step(later)
        ahead.append((later - states).norm(dim=-1))
    gaps = torch.stack(ahead, dim=1)
    deep = gaps <= DEEP * gaps.median(dim=1, keepdim=True).values
    # On a cycle of two states every other distance is zero.
    near = (gaps < nearness(states)[:, None]) & (deep | (gaps < gaps[:, :1]))
    near[:, 0] = False  # slow, or at rest
    return [(torch.nonzero(row)[:, 0] + 1).tolist() for row in near]


def _solve(
    problem: Problem, states: States, period: int, known: list[_Cycle]
) -> list[_Cycle]:
    """Cycles of one period near some of the states, but those that are known.

    On a cycle that attracts no error grows on the way around: F^k may be solved as it
    is, whatever the width.
    """
    new = [row for row, state in enumerate(states) if _nearest(known, state) < 0]
    if not new:
        return []
    whole, starts = problem.dynamics.iterate(period), states[new]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        points = find_fixed_points(
            whole, starts, problem.one_input, solver=LevenbergMarquardt(max_steps=STEPS)
        )
    near = (points.states - starts).norm(dim=-1) < nearness(starts)
    closed = (points.kind == Kind.FIXED) & (points.residual_norms < CLOSED)
    found: list[_Cycle] = []
    for row in torch.nonzero(near & closed)[:, 0].tolist():
        state = points.states[row]
        if _nearest(known + found, state) < 0:
            cycle = _around(problem, points[row : row + 1], period)
            found += [cycle] if _is_attracting(cycle) else []
    return found


def _around(problem: Problem, point: FixedPoints, period: int) -> _Cycle:
    """The cycle of a fixed point of F^k."""
    visited = [point.states]
    for _ in range(period - 1):
        visited.append(problem.step(visited[-1]))
    whole = problem.dynamics.iterate(period)
    slopes = whole.jacobians(point.states, point.inputs)
    return _Cycle(
        torch.cat(visited),
        float(point.residual_norms),
        _linalg.sorted_eigen(slopes)[0][0],
        bool(point.degenerate),
    )


def _is_attracting(cycle: _Cycle) -> bool:
    """Whether no multiplier lies outside the circle, and no shorter cycle is all."""
    away = (cycle.states[1:] - cycle.states[0]).norm(dim=-1)
    apart = bool((away > SAME * (1 + cycle.states[0].norm())).all())
    return apart and bool(cycle.eigenvalues.abs().max() <= 1 + MARGIN)


def _nearest(cycles: list[_Cycle], state: OneState) -> int:
    """The cycle that a state is on, or -1."""
    gaps = [float((cycle.states - state).norm(dim=-1).min()) for cycle in cycles]
    if not gaps or min(gaps) >= float(nearness(state[None])):
        return -1
    return gaps.index(min(gaps))


def _ending(problem: Problem, cycle: _Cycle) -> Ending:
    """The end of runs on a cycle; how many they are is counted later."""
    period = len(cycle.states)
    exponents = cycle.eigenvalues.abs().log()[: problem.count] / period
    return Ending(
        Regime.CYCLE,
        cycle.states,
        period,
        cycle.residual_norm,
        exponents,
        torch.zeros_like(exponents),
        zeros=int((exponents.abs() <= MARGIN).sum()),
        dimension=0.0,
        degenerate=cycle.degenerate,
    )
