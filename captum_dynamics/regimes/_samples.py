"""What runs visit: samples in their order, which of them overlap, which drift."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from captum_dynamics._typing import Mask, States, StateSequences
from captum_dynamics.regimes._runs import RETURNED, Problem, rest

SAMPLES = 128
# Steps between two states of a sample: 1 to 33, drawn once for all. Regular steps would
# see a regular pattern where a curve is filled evenly.
GAPS = torch.randint(1, 34, (SAMPLES,), generator=torch.Generator().manual_seed(0))
SPAN = int(GAPS.sum())
# Neighbours in time say nothing of how densely a set is filled.
APART = 8
# Samples of one set have as close neighbours in each other as in themselves; this is
# how many times as far they may be.
OVERLAP = 3.0
STRAIGHT = 0.99  # distance over length of a path that leads straight on
SLOWER = 0.99  # last speed over first, where each is below the one before
MOVED = 100.0  # times the residual of rests: a sample of one state has gone nowhere


@dataclass(frozen=True, eq=False)
class Samples:
    """States (n, 128, d) that runs visited, at irregular times.

    Attributes:
        states: what was visited, in order.
        speeds: (n, 128) length of the step from each.
    """

    states: StateSequences
    speeds: Tensor

    def __getitem__(self, rows: Tensor) -> Samples:
        """Select runs."""
        return Samples(self.states[rows], self.speeds[rows])

    @property
    def lost(self) -> Mask:
        """Runs (n,) that left every bound meanwhile."""
        return ~torch.isfinite(self.states).all(-1).all(-1)

    @property
    def slow(self) -> Mask:
        """Runs (n,) that lead straight on, or become slower from sample to sample."""
        steps = self.states.diff(dim=1).norm(dim=-1).sum(-1)
        away = (self.states[:, -1] - self.states[:, 0]).norm(dim=-1)
        moved = away > MOVED * rest(self.states)
        falling = (self.speeds.diff(dim=1) < 0).all(-1)
        falling &= self.speeds[:, -1] < SLOWER * self.speeds[:, 0]
        straight = away >= STRAIGHT * steps
        slow: Mask = moved & (straight | falling)
        return slow

    @property
    def recurrent(self) -> Mask:
        """Runs (n,) whose later half stays where the earlier one was."""
        halves = self.states.chunk(2, dim=1)
        pairs = [overlap(one, other) for one, other in zip(*halves, strict=True)]
        return torch.tensor(pairs, dtype=torch.bool, device=self.states.device)


def sample(problem: Problem, states: States) -> Samples:
    """Follow runs further, and keep what they visit."""
    visited, speeds = [], []
    for gap in GAPS.tolist():
        moved = problem.step(states)
        visited.append(states)
        speeds.append((moved - states).norm(dim=-1))
        for _ in range(gap - 1):
            moved = problem.step(moved)
        states = moved
    return Samples(torch.stack(visited, 1), torch.stack(speeds, 1))


def overlap(sample: States, other: States) -> bool:
    """Whether two samples are of one set.

    The median distance from a state of either sample to the nearest one of the other is
    compared with that to the nearest one of its own, neighbours in time left out. Sets
    that lie closer to each other than their samples are dense are taken for one.
    """
    floor = RETURNED * 1e-3 * (1 + float(sample.norm(dim=-1).mean()))
    across = torch.cdist(sample, other)
    within = max(float(_spacing(sample)), float(_spacing(other)))
    reach = max(float(across.amin(1).median()), float(across.amin(0).median()))
    return reach <= max(OVERLAP * within, floor)


def _spacing(states: States) -> Tensor:
    gaps = torch.cdist(states, states)
    times = torch.arange(len(states), device=states.device)
    gaps[(times[:, None] - times).abs() < APART] = torch.inf
    middle: Tensor = gaps.amin(1).median()
    return middle


def groups(samples: Samples) -> list[Tensor]:
    """Rows of the runs that visit one set, the first of which stands for them.

    Each run joins the first group whose first run it overlaps with.
    """
    found: list[list[int]] = []
    for row, states in enumerate(samples.states):
        for group in found:
            if overlap(samples.states[group[0]], states):
                group.append(row)
                break
        else:
            found.append([row])
    return [torch.tensor(group, device=samples.states.device) for group in found]
