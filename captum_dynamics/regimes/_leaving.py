"""Runs that leave every bound, or are on their steady way there, and by which units."""

from __future__ import annotations

import torch
from torch import Tensor

from captum_dynamics._typing import Counts, Mask, States
from captum_dynamics.regimes._endings import Ending, Growth, Regime
from captum_dynamics.regimes._runs import WINDOWS, Followed, Found, Levels, Problem

# Of the largest size: smaller units are carried along by those that are named.
LEADING = 0.01
# Gain in the last quarter over that in the quarter before it: growth that slows by more
# comes to an end within 500 quarters.
STEADY = 0.998
# The same where the run does not go straight on: chaos scatters gains by some percent.
# So that no wandering is taken for growth, all sixteenths must gain, and together this
# share of the size.
ROUGHLY_STEADY = 0.8
GAINED = 0.1
STRAIGHT = 0.99  # distance over length of a path that leads straight on
# Size over that a quarter of the run before: 4/3 and 3/2 where growth is steady, and
# more than this, both times, where it feeds on itself.
DOUBLED = 2.0
SHORT = 8  # steps in which only growth that feeds on itself gets that far


def leaving(problem: Problem, followed: Followed) -> list[Found]:
    """Group runs by the units that grow without bound."""
    rows = torch.nonzero(followed.escaped)[:, 0]
    growing = _growing(problem, followed)
    sizes = followed.levels[:, :: WINDOWS // 2].clone()  # at 1/2, 3/4 and the end
    if len(rows):
        sizes[rows] = _sizes(problem, rows, followed.steps[rows])
    final = followed.states.abs()
    leading = final >= LEADING * final.amax(-1, keepdim=True)
    growing = torch.where(followed.escaped[:, None], leading, growing)
    groups: dict[tuple[int, ...], list[int]] = {}
    for row in torch.nonzero(growing.any(-1))[:, 0].tolist():
        units = tuple(torch.nonzero(growing[row])[:, 0].tolist())
        groups.setdefault(units, []).append(row)
    return [
        _found(problem, followed, sizes, units, own) for units, own in groups.items()
    ]


def _growing(problem: Problem, followed: Followed) -> Tensor:
    """Units (n, d) that have outgrown all starts, at a pace that does not slacken."""
    gains, last = followed.levels.diff(dim=1), followed.levels[:, -1]
    first, second = (half.sum(1) for half in gains.chunk(2, dim=1))
    steady = second >= STEADY * first
    roughly = second >= ROUGHLY_STEADY * first
    roughly &= (gains > 0).all(1) & (first + second >= GAINED * last)
    straight = _straight(problem, followed.states)
    large = (first > 0) & (last > 1 + problem.starts.abs().amax(0))
    growing: Tensor = large & torch.where(straight[:, None], steady, roughly)
    return growing


def _straight(problem: Problem, states: States) -> Mask:
    """Runs (n,) that go straight on for as long as a cycle may be."""
    before, length = states, torch.zeros_like(states[:, 0])
    for _ in range(problem.longest):
        moved = problem.step(before)
        length = length + (moved - before).norm(dim=-1)
        before = moved
    away: Mask = (before - states).norm(dim=-1) >= STRAIGHT * length
    return away


def _sizes(problem: Problem, rows: Tensor, steps: Counts) -> Levels:
    """Sizes of units at a half, three quarters and the end of runs that left."""
    marks = torch.stack([steps // 2, 3 * steps // 4, steps], dim=1)
    states = problem.starts[rows]
    sizes = states.abs()[:, None].repeat(1, marks.shape[1], 1)
    for step in range(1, int(steps.max()) + 1):
        states = problem.step(states)
        sizes = torch.where((marks == step)[:, :, None], states.abs()[:, None], sizes)
    return sizes


def _found(
    problem: Problem,
    followed: Followed,
    sizes: Levels,
    units: tuple[int, ...],
    rows: list[int],
) -> Found:
    """The end of runs that the same units leave by; the first run tells the rates."""
    own_sizes, steps = sizes[rows[0]].T, int(followed.steps[rows[0]])
    growth = [
        _growth(problem.dynamics.layout.unit(unit), own_sizes[unit].tolist(), steps)
        for unit in units
    ]
    growth.sort(key=lambda unit: (unit.exponential, unit.rate), reverse=True)
    own = torch.tensor(rows, device=sizes.device)
    states = followed.states[own]
    step = (problem.step(states[-1:]) - states[-1:]).norm()
    none = states.new_zeros(0)
    ending = Ending(
        Regime.UNBOUNDED,
        states,
        0,
        float(step),
        none,
        none,
        growth=tuple(growth),
    )
    return ending, own


def _growth(unit: str, sizes: list[float], steps: int) -> Growth:
    """How a unit grows, from its sizes at a half, three quarters and the end."""
    half, later, last = sizes
    quarter, middle = steps - 3 * steps // 4, steps - steps // 2
    feeds_on_itself = last > DOUBLED * later and later > DOUBLED * half
    if (feeds_on_itself or steps < SHORT) and later > 0:
        return Growth(unit, (last / later) ** (1 / max(quarter, 1)), True)
    return Growth(unit, (last - half) / max(middle, 1), False)
