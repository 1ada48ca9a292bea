"""Orbits between saddles: what an edge says of them, and which are one and the same."""

from __future__ import annotations

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
    """An edge, the direction (u,) in which it leaves, and where (d,) it moved least."""

    edge: SaddleEdge
    direction: Tensor
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
