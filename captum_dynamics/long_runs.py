"""Where long runs end that find no fixed point to rest at: at cycles, or nowhere."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import torch

from captum_dynamics import _checks, _linalg
from captum_dynamics._typing import GivenInputs, Inputs, Mask, States
from captum_dynamics.dynamics import DynamicsMap
from captum_dynamics.exceptions import ConvergenceWarning
from captum_dynamics.fixed_points import Kind, find_fixed_points

LONGEST = 64
STEPS = 4096
# Relative to 1 + |h|: a run this close to its own past may be on a cycle, and one this
# close to a known cycle is on it.
RETURNED = 1e-3
ESCAPED = 1e6  # times 1 + the largest start


@dataclass(frozen=True, eq=False)
class Cycle:
    """An attracting cycle.

    Attributes:
        states: its states (k, d), each the image of the one before.
        residual_norm: |F^k(h) - h| at the first.
        runs: how many long runs ended on it.
    """

    states: States
    residual_norm: float
    runs: int

    @property
    def period(self) -> int:
        """Steps of one turn."""
        return len(self.states)


@dataclass(frozen=True, eq=False)
class LongRuns:
    """Where long runs under one constant input end.

    Attributes:
        count: number of runs; 0 where there was no need to look.
        resting: states (r, d) of the runs that came to rest.
        cycles: the attracting cycles that runs ended on, the shortest first.
        escaped: runs that left every bound.
    """

    count: int
    resting: States
    cycles: tuple[Cycle, ...]
    escaped: int

    @property
    def unresolved(self) -> int:
        """Runs that stay bounded, but neither rest nor repeat: slow, or irregular."""
        on_cycles = sum(cycle.runs for cycle in self.cycles)
        return self.count - len(self.resting) - on_cycles - self.escaped

    def summary(self) -> str:
        """Name the ends of the runs in one line."""
        parts = [
            f"period-{cycle.period} cycle ({cycle.runs} of {self.count} long runs)"
            for cycle in self.cycles
        ]
        for number, what in (
            (len(self.resting), "come to rest"),
            (self.escaped, "leave every bound"),
            (self.unresolved, "neither rest nor repeat"),
        ):
            if number:
                parts.append(f"{number} of {self.count} long runs {what}")
        return "; ".join(parts)


NO_RUNS = LongRuns(0, torch.zeros(0, 0, dtype=torch.float64), (), 0)


@torch.no_grad()
def follow_runs(
    dynamics: DynamicsMap,
    initial_states: States,
    inputs: GivenInputs,
    *,
    longest: int = LONGEST,
    steps: int = STEPS,
) -> LongRuns:
    """Follow runs for long, and solve for the attracting cycles they end on.

    A cycle of period k is a fixed point of F^k, sought from where a run nearly meets
    its own past, for the smallest such k; it counts when it attracts. Cycles that
    repel are not looked for.

    Args:
        dynamics: the map.
        initial_states: where the runs start (n, d): a hundred or more.
        inputs: the constant input, (1, k) or (k,).
        longest: largest period that is looked for.
        steps: steps of each run before it is judged, at most.

    Returns:
        The cycles, and how many runs rest, escape, or do neither.

    Raises:
        ValueError: no start, or values that do not fit.

    Example:
        >>> import torch, captum_dynamics as cd
        >>> from captum_dynamics.long_runs import follow_runs
        >>> flip = cd.FunctionAdapter(lambda h, x: torch.tanh(-2 * h), 1, 0)
        >>> starts = torch.linspace(-1, 1, 100)[:, None]
        >>> follow_runs(flip, starts, torch.zeros(1, 0)).summary()
        'period-2 cycle (100 of 100 long runs)'
    """
    _checks.check_positive("longest", longest)
    _checks.check_positive("steps", steps)
    starts, inputs = dynamics.check(initial_states, inputs, "initial_states")
    _checks.check_rows("initial_states", starts)
    starts, inputs = starts.detach().to(dynamics.dtype), inputs.to(dynamics.dtype)
    states = _settle(dynamics, starts, inputs, longest, steps)
    reach = ESCAPED * (1 + starts.norm(dim=-1).max())
    bounded = states.norm(dim=-1) <= reach  # False for NaN
    states, inputs = states[bounded], inputs[bounded]
    resting = dynamics.residual(states, inputs).norm(dim=-1) < _rest(states)
    cycles = _cycles(dynamics, states[~resting], inputs[~resting], longest)
    escaped = int((~bounded).sum())
    return LongRuns(len(starts), states[resting], cycles, escaped)


def _rest(states: States) -> float:
    """Residual below which a state is at rest: 7e-9 in double precision."""
    return 0.5 * math.sqrt(torch.finfo(states.dtype).eps)


def _settle(
    dynamics: DynamicsMap, states: States, inputs: Inputs, longest: int, steps: int
) -> States:
    """Follow runs until each has met its own past or is lost, or time is up."""
    for _ in range(-(-steps // longest)):
        past, closest = states, states.new_full((len(states),), torch.inf)
        for _ in range(longest):
            states = dynamics.step(states, inputs)
            closest = torch.minimum(closest, (states - past).norm(dim=-1))
        if bool(((closest < _rest(states)) | ~torch.isfinite(closest)).all()):
            break
    return states


def _cycles(
    dynamics: DynamicsMap, states: States, inputs: Inputs, longest: int
) -> tuple[Cycle, ...]:
    """Cycles that runs, which are at `states` now, go round."""
    nearness = RETURNED * (1 + states.norm(dim=-1, keepdim=True))
    constant = inputs[:, None].expand(-1, longest, -1)
    gaps = (dynamics.rollout(states, constant) - states[:, None]).norm(dim=-1)
    returned = gaps < nearness
    # A run that moves by less in one step is slow, not on a cycle.
    left = torch.nonzero(~returned[:, 0])[:, 0]
    found = []
    while len(left):
        run, rest = left[0], left[1:]
        periods = (torch.nonzero(returned[run])[:, 0] + 1).tolist()
        orbit = _orbit(dynamics, states[run][None], inputs[run][None], periods)
        if orbit is None:
            left = rest
            continue
        away = torch.cdist(states[left], orbit.states).amin(-1, keepdim=True)
        on_it: Mask = (away < nearness[left])[:, 0]
        on_it[0] = True
        found.append(Cycle(orbit.states, orbit.residual_norm, int(on_it.sum())))
        left = left[~on_it]
    return tuple(sorted(found, key=lambda cycle: cycle.period))


def _orbit(
    dynamics: DynamicsMap, state: States, inputs: Inputs, periods: list[int]
) -> Cycle | None:
    """The attracting cycle near a state, of the first of `periods` that has one."""
    for period in periods:
        turn = dynamics.iterate(period)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            point = find_fixed_points(turn, state, inputs)
        near = (point.states - state).norm() < RETURNED * (1 + state.norm())
        closed = (
            (point.kind == Kind.FIXED) & (point.residual_norms < _rest(state)) & near
        )
        if not bool(closed):
            continue
        if bool(_linalg.powers_vanish(turn.jacobians(point.states, inputs))):
            constant = inputs[:, None].expand(-1, period, -1)
            orbit = dynamics.rollout(point.states, constant)[0].roll(1, 0)
            return Cycle(orbit, float(point.residual_norms), 1)
    return None
