"""Borders of basins as whole orbits, where both sides tell which saddle they lead to.

What lies on the border of two basins comes to a saddle whose own two ways lead to these
two attractors. Where such a saddle is known, the border's orbit to it is solved for by
multiple shooting, in the plane of two neighbours. That takes no state that stays on
the border until it is close to the saddle, as following it does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from captum_dynamics._typing import Counts, OtherStates
from captum_dynamics.linearization import Linearization
from captum_dynamics.topology._arriving import Bundle, arrive, shoot_bundles
from captum_dynamics.topology._borders import Borders
from captum_dynamics.topology._first_ways import first_ways
from captum_dynamics.topology._flow import Flow
from captum_dynamics.topology._passages import NEAR, PASSAGE, Passages
from captum_dynamics.topology._saddle import saddle
from captum_dynamics.topology._unstable import UnstableFrame

STEPS = 12  # of Newton's method
# Between unit vectors, from the border's first direction, which is known to 1e-5, to
# that of the orbit: one that leaves by another is that of another border.
STRAYED = 1e-4


@dataclass(frozen=True, eq=False)
class BorderShots:
    """What is needed to solve for orbits on the borders of basins.

    Attributes:
        flow: the map.
        linearization: of all points.
        frames: the unstable axes of points that borders lead away from.
        saddles: rows (m,) of points with one unstable direction.
        sides: the attractors that both ways from each of them lead to.
    """

    flow: Flow
    linearization: Linearization
    frames: Mapping[int, UnstableFrame]
    saddles: Counts
    sides: Mapping[int, Sequence[int]]

    @property
    def states(self) -> OtherStates:
        """The saddles (m, d)."""
        return self.linearization.points.states[self.saddles]

    def lie_between(self, borders: Borders) -> Bool[Tensor, "n m"]:
        """Which saddles lie between the two attractors of each border."""
        sides = [sorted(self.sides.get(row, (-1, -1))) for row in self.saddles.tolist()]
        ends = self.saddles.new_tensor(sides).reshape(-1, 2)
        own = torch.stack([borders.left_basins, borders.right_basins], 1).sort(1).values
        between: Tensor = (own[:, None] == ends).all(2)
        return between

    @torch.no_grad()
    def shoot(
        self,
        borders: Borders,
        paths: Sequence[Float[Tensor, "_ d"]],
        targets: Counts,
    ) -> Passages:
        """Orbits along borders; distances are infinite where there is none.

        Args:
            borders: neighbours on unstable spheres.
            paths: trajectories (n,) that begin between them.
            targets: saddles (n,) between their attractors, rows of those known.
        """
        pairs = zip(borders.owners.tolist(), borders.left, borders.right, strict=True)
        planes = [
            _plane(self.frames[owner], left, right, path[0])
            for (owner, left, right), path in zip(pairs, paths, strict=True)
        ]
        bundles = []
        for target in torch.unique(targets).tolist():
            goal = saddle(self.linearization, int(self.saddles[target]))
            rows = torch.nonzero(targets == target)[:, 0]
            own = rows.tolist()
            ways = first_ways(goal, [planes[r] for r in own], [paths[r] for r in own])
            bundles.append(Bundle(target, goal, rows, torch.ones_like(rows), ways))
        directions = borders.left.new_zeros(len(borders), 2)
        for bundle in bundles:
            directions[bundle.labels] = bundle.aims.directions
        bundles = [bundle.arriving(NEAR / 2) for bundle in bundles]
        arrived = arrive(self.flow, shoot_bundles(self.flow, bundles, STEPS))
        found = Passages.none(borders.left)
        for bundle in arrived:
            turns = bundle.aims.directions - directions[bundle.labels]
            kept = bundle[turns.norm(dim=1) <= STRAYED]
            found = found.put(kept.labels, _passages(kept))
        return found


def _plane(
    frame: UnstableFrame,
    left: Float[Tensor, " d"],
    right: Float[Tensor, " d"],
    start: Float[Tensor, " d"],
) -> UnstableFrame:
    """The plane through a point and two neighbours, and in it the circle of a start."""
    axes = torch.linalg.qr(frame.coordinates(torch.stack([left, right])).T).Q.T
    plane = replace(frame, axes=axes @ frame.axes)
    return replace(plane, axes=plane.axes * plane.coordinates(start[None]).norm())


def _passages(bundle: Bundle) -> Passages:
    """Where orbits come to."""
    orbits = bundle.aims.orbits
    away = (orbits - bundle.goal.state).norm(dim=2)
    steps = (away <= PASSAGE).long().argmax(0)
    targets = torch.full_like(bundle.labels, bundle.row)
    return Passages(orbits[0], targets, away[-1], steps, orbits[-1], orbits[-1])
