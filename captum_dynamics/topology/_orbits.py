"""Orbits between saddles: what an edge says of them, and which are one and the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from captum_dynamics._typing import Counts, OneState, PerPoint
from captum_dynamics.topology._destinations import Destinations
from captum_dynamics.topology._unstable import UnstableFrame
from captum_dynamics.topology.continua import distances_between


@dataclass(frozen=True, eq=False)
class Branches:
    """Trajectories that left one point along its unstable directions.

    Attributes:
        source: row of the point.
        frame: its unstable axes.
        directions: unit vectors (m, u).
        ends: where the trajectories (m,) ended.
    """

    source: int
    frame: UnstableFrame
    directions: Tensor
    ends: Destinations

    @property
    def basins(self) -> Counts:
        """Attractor (m,) that each trajectory reached, or -1."""
        return self.ends.targets


@dataclass(frozen=True)
class SaddleEdge:
    """One connecting orbit between saddles, or one family of them.

    Attributes:
        source: row of the point it leaves.
        target: row of the saddle it comes to, or -1 where that is not known.
        directions: trajectories that showed it.
        tried: trajectories of its kind.
        distance: closest passage by the target.
        steps: steps until then.
    """

    source: int
    target: int
    directions: int
    tried: int
    distance: float
    steps: int


@dataclass(frozen=True, eq=False)
class Orbit:
    """An edge, a state (d,) on its way near its source, and where it was seen last."""

    edge: SaddleEdge
    start: OneState
    end: OneState


def saddle_edge(
    source: int, target: int, distances: PerPoint, steps: Counts, tried: int
) -> SaddleEdge:
    """An edge from the passages (n,) of all trajectories that showed it."""
    worst, typical = float(distances.max()), int(steps.double().median())
    return SaddleEdge(source, target, len(steps), tried, worst, typical)


def orbits(directions: Tensor, tolerance: float) -> list[Tensor]:
    """Group directions (n, u) that are one within a tolerance: rows of each group."""
    groups: list[list[int]] = []
    gaps = distances_between(directions, directions)
    for row in range(len(directions)):
        for group in groups:
            if float(gaps[row, group[0]]) <= tolerance:
                group.append(row)
                break
        else:
            groups.append([row])
    return [torch.tensor(group, device=directions.device) for group in groups]


def sides_of(branches: Sequence[Branches]) -> dict[int, list[int]]:
    """Where both ways lead from each point with one unstable direction, -1 unknown."""
    return {b.source: b.basins.tolist() for b in branches if b.frame.dim == 1}


def closed_circles(tracked: Sequence[Orbit], branches: Sequence[Branches]) -> set[int]:
    """Points with u = 2 whose tracked orbits meet again, as the edges of a cell do.

    Each attractor that the saddles they lead to go to is the end of an even number of
    ways. Where it is not, an orbit is missing.
    """
    basins = sides_of(branches)
    circles = {b.source for b in branches if b.frame.dim == 2}
    ends: dict[int, Counter[int]] = {}
    for orbit in tracked:
        reached = basins.get(orbit.edge.target, [-1])
        ends.setdefault(orbit.edge.source, Counter()).update(reached)
    return {
        source
        for source, counts in ends.items()
        if source in circles
        and -1 not in counts
        and all(count % 2 == 0 for count in counts.values())
    }


def more_of_each_pair(
    some: Sequence[SaddleEdge], others: Sequence[SaddleEdge]
) -> list[SaddleEdge]:
    """Of two searches, the edges of the one that found more, for each pair of points.

    What leads to no known point is one of a kind, and kept.
    """
    counts = [Counter((e.source, e.target) for e in edges) for edges in (some, others)]
    first, second = counts
    return [
        *(e for e in some if first[e.source, e.target] > second[e.source, e.target]),
        *(e for e in others if first[e.source, e.target] <= second[e.source, e.target]),
    ]
