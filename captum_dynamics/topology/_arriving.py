"""Ways to several saddles, shot together and made longer until they arrive."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from captum_dynamics._typing import Counts, Mask
from captum_dynamics.topology._first_ways import arrival, arrival_steps
from captum_dynamics.topology._flow import Flow
from captum_dynamics.topology._passages import PASSAGE
from captum_dynamics.topology._saddle import Saddle
from captum_dynamics.topology._shooting import Aims, shoot

SIMILAR = 1.5  # ratio of lengths that are solved together, as if all were the longer
CORRECTIONS = 12  # steps for an orbit that has become longer
EXTENSIONS = 4  # of an orbit until its end is close to its goal


@dataclass(frozen=True, eq=False)
class Bundle:
    """Ways (n,) to one saddle.

    Attributes:
        row: of the saddle, among all points.
        goal: the saddle.
        labels: what they are known by (n,): the points or borders that they leave.
        votes: number of tries (n,) that each stands for.
        aims: the ways.
    """

    row: int
    goal: Saddle
    labels: Counts
    votes: Counts
    aims: Aims

    def __getitem__(self, rows: Tensor) -> Bundle:
        """Ways by index or mask."""
        return replace(
            self,
            labels=self.labels[rows],
            votes=self.votes[rows],
            aims=self.aims[rows],
        )

    @property
    def ends(self) -> Tensor:
        """Last states (n, d)."""
        return self.aims.orbits[-1]

    def longer(self, steps: int) -> Bundle:
        """The same ways, arriving for some more steps."""
        tail = arrival(self.goal, self.ends, steps)
        return replace(self, aims=self.aims.longer(tail))

    def arriving(self, within: float) -> Bundle:
        """The same ways, as long as they need; none where that takes too long."""
        if bool(((self.ends - self.goal.state).norm(dim=1) <= within).all()):
            return self
        steps = arrival_steps(self.goal, self.ends, within)
        if steps is None:
            return self[self.labels < 0]
        return self.longer(steps)


def shoot_bundles(
    flow: Flow, bundles: Sequence[Bundle], iterations: int
) -> list[Bundle]:
    """Turn ways into orbits; those that become none are left out."""
    waiting = sorted(
        (b for b in bundles if len(b.aims)), key=lambda b: -len(b.aims.orbits)
    )
    done: list[Bundle] = []
    while waiting:
        longest = len(waiting[0].aims.orbits)
        group = [b for b in waiting if len(b.aims.orbits) * SIMILAR >= longest]
        waiting = waiting[len(group) :]
        group = [b.longer(longest - len(b.aims.orbits)) for b in group]
        aims, exact = shoot(flow, Aims.joined([b.aims for b in group]), iterations)
        first = 0
        for bundle in group:
            rows = torch.arange(first, first + len(bundle.aims), device=exact.device)
            solved = replace(bundle, aims=aims[rows])
            done.append(solved[exact[rows]])
            first += len(rows)
    return done


def arrive(flow: Flow, bundles: Sequence[Bundle]) -> list[Bundle]:
    """Follow orbits until they pass close by their goals; leave out those that do not.

    The condition at their ends is to first order; it is exact close to the goal.
    """
    arrived: list[Bundle] = []
    for _ in range(EXTENSIONS):
        arrived += [bundle[_is_close(bundle)] for bundle in bundles]
        far = [bundle[~_is_close(bundle)] for bundle in bundles]
        longer = [bundle.arriving(PASSAGE / 2) for bundle in far]
        bundles = shoot_bundles(flow, longer, CORRECTIONS)
    return arrived + [bundle[_is_close(bundle)] for bundle in bundles]


def _is_close(bundle: Bundle) -> Mask:
    """Which ways (n,) end close to the goal."""
    close: Mask = (bundle.ends - bundle.goal.state).norm(dim=1) <= PASSAGE
    return close
