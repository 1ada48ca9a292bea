"""Where to aim: trajectories that leave a point and pass by a saddle."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from captum_dynamics._typing import Counts, OtherStates, PerPoint, States
from captum_dynamics.topology._approaches import approaches
from captum_dynamics.topology._flow import Flow
from captum_dynamics.topology._orbits import Branches, Orbit
from captum_dynamics.topology._unstable import sphere
from captum_dynamics.topology.continua import distances_between

NEIGHBOURS = 6  # of a direction, among which closest approaches are compared
# Tries of one goal from one point, at most: where borders have been tracked, and where
# shooting is all there is.
TRIES_ON_CIRCLE, TRIES_ON_SPHERE = 2, 10
SPREAD = 0.2  # radians between two of them
AIMS = 4  # even directions tried, and flat ones, for each that is followed to its end
DECADES = 4  # over which components of the flat ones spread
NEARBY = 0.25  # share of it that is left of the way of one that nearly hits


@dataclass(frozen=True, eq=False)
class Tries:
    """Trajectories that come near goals, one a row.

    Attributes:
        sources: rows of the points that they leave (n,).
        goals: rows of the points that they come near (n,).
        starts: their first states (n, d).
        times: steps (n,) after which they are nearest.
        ratios: distances (n,) from the goals then, over those of the two points.
    """

    sources: Counts
    goals: Counts
    starts: States
    times: Counts
    ratios: PerPoint

    def __getitem__(self, rows: Tensor) -> Tries:
        """Trajectories by index or mask."""
        return Tries(*(getattr(self, name)[rows] for name in _NAMES))

    def between(self, source: int, goal: int) -> Tensor:
        """Which trajectories (n,) lead from one point to another."""
        return (self.sources == source) & (self.goals == goal)


_NAMES = tuple(Tries.__dataclass_fields__)


def find_tries(
    flow: Flow,
    branches: Sequence[Branches],
    goals: Int[Tensor, " m"],
    states: OtherStates,
    tracked: Sequence[Orbit],
    generator: torch.Generator | None,
) -> Tries:
    """Trajectories that pass by a goal, nearer than their neighbours, and tracked ones.

    A tracked one is tried at its own goal alone.
    """
    directions = [_directions(branch, generator).to(states) for branch in branches]
    starts = [b.frame.starts(own) for b, own in zip(branches, directions, strict=True)]
    centres = {branch.source: branch.frame.centre for branch in branches}
    aimed = [
        orbit
        for orbit in tracked
        if orbit.edge.source in centres and orbit.edge.target in goals.tolist()
    ]
    together = torch.cat([*starts, *(orbit.start[None] for orbit in aimed)])
    left = torch.cat(
        [
            *(
                centres[b.source].expand_as(s)
                for b, s in zip(branches, starts, strict=True)
            ),
            *(centres[orbit.edge.source][None] for orbit in aimed),
        ]
    )
    ratios, when = approaches(
        flow, together, left, states, max(b.frame.steps for b in branches)
    )
    parts, first = [], 0
    for branch, own in zip(branches, directions, strict=True):
        which, goal = _candidates(own, ratios[first : first + len(own)])
        parts.append((branch.source, first + which, goal))
        first += len(own)
    for row, orbit in enumerate(aimed, start=first):
        goal = torch.nonzero(goals == orbit.edge.target)[:, 0]
        parts.append((orbit.edge.source, torch.full_like(goal, row), goal))
    tries = []
    for source, rows, goal in parts:
        tries.append(
            Tries(
                torch.full_like(rows, source),
                goals[goal],
                together[rows],
                when[rows, goal],
                ratios[rows, goal],
            )
        )
    return Tries(*(torch.cat([getattr(t, name) for t in tries]) for name in _NAMES))


def worth_a_shot(tries: Tries, tracked: Sequence[Orbit], closed: Set[int]) -> Tries:
    """Tries that may add to what is known: from closed points only those nearby."""
    worth = torch.ones_like(tries.sources, dtype=torch.bool)
    for source in closed:
        worth &= (tries.sources != source) | (tries.ratios < NEARBY)
    for orbit in tracked:
        if orbit.edge.source in closed:
            worth &= ~tries.between(orbit.edge.source, orbit.edge.target)
    return tries[worth]


def _directions(branch: Branches, generator: torch.Generator | None) -> Tensor:
    """Directions (m, u) to try: even ones, ones close to a plane of axes, both tips.

    Where one direction grows faster than another, the way along the slow one starts in
    a thin wedge, which an even sample misses.
    """
    dim = branch.frame.dim
    even = sphere(dim, AIMS * len(branch.directions), generator)
    draws = torch.rand(even.shape, generator=generator, dtype=even.dtype)
    flat = even * 10 ** (-DECADES * draws)
    tips = torch.eye(dim, dtype=even.dtype)
    return torch.cat([even, flat / flat.norm(dim=1, keepdim=True), tips, -tips])


def _candidates(
    directions: Tensor, ratios: Float[Tensor, "n m"]
) -> tuple[Int[Tensor, " c"], Int[Tensor, " c"]]:
    """Directions, each with a goal that it passes nearer by than its neighbours do."""
    gaps = distances_between(directions, directions)
    near = gaps.topk(min(NEIGHBOURS + 1, len(directions)), largest=False)
    best = ratios <= ratios[near.indices].amin(1)
    most = TRIES_ON_CIRCLE if directions.shape[1] == 2 else TRIES_ON_SPHERE
    chosen: list[Tensor] = []
    tips = torch.arange(len(directions), device=gaps.device)[-2 * directions.shape[1] :]
    for goal in range(ratios.shape[1]):
        left = torch.where(best[:, goal], ratios[:, goal], torch.inf)
        # Of the tips, which come last, each is tried where shooting is all there is.
        for row in tips if most == TRIES_ON_SPHERE else tips[:0]:
            if bool(torch.isfinite(ratios[row, goal])):
                chosen.append(torch.stack([row, row.new_tensor(goal)]))
        for _ in range(most):
            row = left.argmin()
            if not bool(torch.isfinite(left[row])):
                break
            chosen.append(torch.stack([row, row.new_tensor(goal)]))
            left = torch.where(gaps[row] < SPREAD, torch.inf, left)
    pairs = torch.stack(chosen, 1) if chosen else near.indices.new_zeros(2, 0)
    return pairs[0], pairs[1]
