"""Follow long runs under one constant input, and say what each does in the end."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from captum_dynamics import _checks
from captum_dynamics._typing import GivenInputs, OneInput, States
from captum_dynamics.dynamics import DynamicsMap
from captum_dynamics.regimes._cycling import cycling
from captum_dynamics.regimes._endings import Ending, Regime, Regimes
from captum_dynamics.regimes._irregular import LOST, irregular, unfinished
from captum_dynamics.regimes._leaving import leaving
from captum_dynamics.regimes._resting import resting, rests
from captum_dynamics.regimes._runs import Found, Problem, follow
from captum_dynamics.regimes._samples import Samples, groups, sample

LONGEST = 64
STEPS = 4096
EXPONENTS = 8


@torch.no_grad()
def classify_runs(
    dynamics: DynamicsMap,
    initial_states: States,
    inputs: GivenInputs,
    *,
    longest: int = LONGEST,
    steps: int = STEPS,
    count: int = EXPONENTS,
    show_progress: bool = False,
) -> Regimes:
    """Say what long runs do in the end: rest, repeat, turn, wander, or leave.

    Runs that leave every bound are told by the units that grow, long before numbers
    overflow where the growth is steady. Of the others, those at rest are solved for
    their fixed point, and those near their own past for a cycle; what is left is told
    by its largest Lyapunov exponent, one run for all that visit the same set: positive
    in chaos, zero on a closed curve or torus. A run that has not returned to where it
    was is slow, or not resolved.

    Two runs visit one set when their samples have as close neighbours in each other as
    in themselves: sets closer to each other than a sample of 128 states is dense are
    taken for one. Cycles that repel are not looked for: see `find_cycles`.

    Args:
        dynamics: the map.
        initial_states: where the runs start (n, d): a hundred or more.
        inputs: the constant input of all runs, (1, k) or (k,).
        longest: largest period of a cycle that is looked for.
        steps: steps of each run before it is judged, at least 64.
        count: Lyapunov exponents that are measured; their sum must fall below zero for
            the dimension of a chaotic set to be known.
        show_progress: show progress bars.

    Returns:
        Every end once, with its share of the runs and what is known of it.

    Raises:
        ValueError: no start, several inputs, or values that do not fit.

    References:
        Eckmann and Ruelle (1985), Reviews of Modern Physics 57; Das et al. (2017),
        Nonlinearity 30, for rotation numbers.

    Example:
        >>> import torch, captum_dynamics as cd
        >>> flip = cd.FunctionAdapter(lambda h, x: torch.tanh(-2 * h), 1, 0)
        >>> starts = torch.linspace(-1, 1, 100)[:, None]
        >>> regimes = cd.classify_runs(flip, starts, torch.zeros(1, 0))
        >>> regimes.summary()
        'no stable fixed point; period-2 cycle (100 of 100 long runs)'
        >>> round(float(regimes.endings[0].exponents.mul(2).exp()), 6)
        0.02768
    """
    _checks.check_count("longest", longest)
    _checks.check_count("steps", steps, least=LONGEST)
    _checks.check_count("count", count)
    starts, inputs = dynamics.check(initial_states, inputs, "initial_states")
    _checks.check_rows("initial_states", starts)
    starts, inputs = starts.detach().to(dynamics.dtype), inputs.to(dynamics.dtype)
    problem = Problem(
        dynamics, starts, _only(inputs), longest, steps, count, show_progress
    )
    followed = follow(problem)
    found = leaving(problem, followed)
    still = resting(problem, followed.states)
    still[_rows(found)] = False
    found += rests(problem, followed.states, torch.nonzero(still)[:, 0])
    left = torch.ones_like(still)
    left[_rows(found)] = False
    found += _moving(problem, followed.states, torch.nonzero(left)[:, 0])
    return _regimes(found, followed.states)


def _only(inputs: Tensor) -> OneInput:
    """The input of all runs."""
    if not bool((inputs == inputs[:1]).all()):
        raise ValueError(
            f"Expected `inputs` to be one constant input, got several in "
            f"{len(inputs)} rows; classify the runs of each on their own."
        )
    one: Tensor = inputs[0]
    return one


def _rows(found: list[Found]) -> Tensor:
    return torch.cat([rows for _, rows in found] or [torch.zeros(0, dtype=torch.long)])


def _moving(problem: Problem, states: States, rows: Tensor) -> list[Found]:
    """Ends of runs that stay bounded and do not rest."""
    if not len(rows):
        return []
    samples = sample(problem, states[rows])
    lost = samples.lost
    slow = ~lost & samples.slow
    found = []
    if bool(lost.any()):
        found.append((unfinished(samples[lost], reason=LOST), rows[lost]))
    if bool(slow.any()):
        found.append((unfinished(samples[slow]), rows[slow]))
    rows, samples = rows[~lost & ~slow], samples[~lost & ~slow]
    sets = groups(samples)
    leaders = samples[torch.tensor([own[0] for own in sets], dtype=torch.long)]
    for ending, members in _told_apart(problem, leaders):
        own = torch.cat([sets[leader] for leader in members.tolist()])
        found.append((ending, rows[own]))
    return found


def _told_apart(problem: Problem, leaders: Samples) -> list[Found]:
    """Cycles first; what is on none is told by its exponents."""
    if not len(leaders.states):
        return []
    found = cycling(problem, leaders.states[:, -1])
    left = torch.ones_like(leaders.lost)
    left[_rows(found)] = False
    others = torch.nonzero(left)[:, 0]
    if len(others):
        endings = irregular(problem, leaders[others])
        found += list(zip(endings, others[:, None], strict=True))
    return found


def _regimes(found: list[Found], states: States) -> Regimes:
    """Put the ends in order, and count the runs of each."""
    merged = _merged(found)
    merged.sort(key=lambda end: (end[0].regime, -len(end[1])))
    members = torch.full((len(states),), -1, device=states.device)
    endings: list[Ending] = []
    for ending, rows in merged:
        members[rows] = len(endings)
        endings.append(replace(ending, runs=len(rows), count=len(states)))
    return Regimes(tuple(endings), members, states)


def _merged(found: list[Found]) -> list[Found]:
    """Slow runs are one end, and those left unresolved for one reason."""
    merged: list[Found] = []
    kinds: dict[tuple[Regime, str], list[Found]] = {}
    for ending, rows in found:
        if ending.regime in (Regime.SLOW, Regime.UNRESOLVED):
            kind = ending.regime, ending.reason
            kinds.setdefault(kind, []).append((ending, rows))
        else:
            merged.append((ending, rows))
    for ends in kinds.values():
        whole = replace(
            ends[0][0],
            states=torch.cat([ending.states for ending, _ in ends]),
            residual_norm=max(ending.residual_norm for ending, _ in ends),
        )
        merged.append((whole, torch.cat([rows for _, rows in ends])))
    return merged
