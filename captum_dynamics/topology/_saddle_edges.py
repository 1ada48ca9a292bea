"""Connections between saddles: where to look for them, and which are one and the same.

A point with two unstable directions leads to the saddles on the borders that its circle
of directions crosses: edge tracking finds them. One with u > 2 leads to points with
u - 1 by single orbits, which are shot at, and to saddles with one unstable direction by
whole families of orbits, of which edge tracking meets some.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from captum_dynamics._typing import Counts, OtherStates, States
from captum_dynamics.linearization import Linearization
from captum_dynamics.topology._edge_tracking import (
    PASSAGE,
    Borders,
    Passages,
    split,
    track,
)
from captum_dynamics.topology._flow import Flow
from captum_dynamics.topology._shooting import Aims, Shots, shoot, unstable_left
from captum_dynamics.topology._unstable import UnstableFrame, sphere

NEIGHBOURS = 6  # of a direction, among which closest approaches are compared
MOST_BORDERS = 64  # tracked from one point with more than two unstable directions
SHOTS = 12  # at one goal from one point, at most
AIMS_A_DIRECTION = 4  # directions tried for shooting, for each that is followed
LONGEST_APPROACH = 2000  # steps in which an approach to a goal is looked for
NEARER = 0.9  # share of the distance of two points that an approach must come within
SAME_ORBIT = 1e-3  # distance of two directions of shots along one and the same orbit
SAME_START = 1e-6  # and of two borders, which differ by rounding alone if they are one


@dataclass(frozen=True, eq=False)
class Branches:
    """Trajectories that left one point along its unstable directions.

    Attributes:
        source: row of the point.
        frame: its unstable axes.
        directions: unit vectors (m, u).
        basins: attractor (m,) that each trajectory reached, or -1.
    """

    source: int
    frame: UnstableFrame
    directions: Tensor
    basins: Counts


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


@torch.no_grad()
def saddle_edges(
    flow: Flow,
    linearization: Linearization,
    fixed: Tensor,
    branches: Sequence[Branches],
    generator: torch.Generator | None,
) -> list[SaddleEdge]:
    """Find connections from points with two or more unstable directions to saddles.

    Args:
        flow: the map.
        linearization: of all points.
        fixed: which of them (n,) are fixed points.
        branches: what is known of the points with two or more unstable directions.
        generator: source of randomness.
    """
    dims = torch.where(fixed, linearization.unstable_dims, -1)
    tracked = _tracked(flow, linearization, dims, branches)
    found = [orbit.edge for orbit in tracked]
    for dim in sorted({branch.frame.dim for branch in branches}):
        group = [branch for branch in branches if branch.frame.dim == dim]
        goals = torch.nonzero(dims == dim - 1)[:, 0]
        known = tracked if dim == 2 else []
        found += _shot(flow, linearization, goals, group, known, generator)
    return found


@dataclass(frozen=True, eq=False)
class _Orbit:
    """An edge with the direction (u,) in which it leaves its source."""

    edge: SaddleEdge
    direction: Tensor


def _tracked(
    flow: Flow,
    linearization: Linearization,
    dims: Counts,
    branches: Sequence[Branches],
) -> list[_Orbit]:
    """Follow borders of basins: single orbits from u = 2, families from u > 2."""
    saddles = torch.nonzero(dims == 1)[:, 0]
    if not branches:
        return []
    circles = [_borders(b) for b in branches if b.frame.dim == 2]
    spheres = [_borders(b) for b in branches if b.frame.dim > 2]
    borders = _joined([*([split(flow, _joined(circles))] if circles else []), *spheres])
    passages = track(flow, borders, linearization.points.states[saddles])
    named = torch.cat([saddles, saddles.new_tensor([-1])])
    found: list[_Orbit] = []
    for branch in branches:
        rows = torch.nonzero(borders.owners == branch.source)[:, 0]
        directions = branch.frame.directions(passages.starts[rows])
        near = passages.distances[rows] < PASSAGE
        targets = named[torch.where(near, passages.targets[rows], -1)]
        for target in torch.unique(targets).tolist():
            own = torch.nonzero(targets == target)[:, 0]
            single = branch.frame.dim == 2 and target >= 0
            groups = _orbits(directions[own], SAME_START) if single else [own]
            for group in groups:
                members = own[group] if single else own
                edge = _edge(branch.source, target, passages, rows[members], len(rows))
                found.append(_Orbit(edge, directions[members[0]]))
    return found


def _edge(
    source: int, target: int, passages: Passages | Shots, rows: Tensor, tried: int
) -> SaddleEdge:
    return SaddleEdge(
        source,
        target,
        len(rows),
        tried,
        float(passages.distances[rows].max()),
        int(passages.steps[rows].double().median()),
    )


def _borders(branch: Branches) -> Borders:
    """Neighbours among directions that went to different attractors."""
    count = len(branch.directions)
    order = torch.arange(count, device=branch.basins.device)
    if branch.frame.dim == 2:
        pairs = torch.stack([order, order.roll(-1)], 1)
    else:
        gaps = _gaps(branch.directions, branch.directions)
        near = gaps.topk(min(NEIGHBOURS + 1, count), largest=False).indices[:, 1:]
        pairs = torch.stack([order[:, None].expand_as(near), near], 2).flatten(0, 1)
        pairs = torch.unique(pairs.sort(1).values, dim=0)
    basins = branch.basins[pairs]
    # Two directions leave no circle to go round; ends that are unknown mark no border.
    apart = (basins[:, 0] != basins[:, 1]) & (basins >= 0).all(1) & (count > 2)
    pairs = pairs[apart]
    if branch.frame.dim > 2 and len(pairs) > MOST_BORDERS:
        pairs = pairs[:: -(-len(pairs) // MOST_BORDERS)]
    starts = branch.frame.starts(branch.directions)
    left, right = pairs.unbind(1)
    owners = torch.full_like(left, branch.source)
    return Borders(
        owners, starts[left], starts[right], branch.basins[left], branch.basins[right]
    )


def _joined(parts: Sequence[Borders]) -> Borders:
    names = Borders.__dataclass_fields__
    return Borders(*(torch.cat([getattr(p, name) for p in parts]) for name in names))


def _orbits(directions: Tensor, tolerance: float) -> list[Tensor]:
    """Rows (of each orbit) of directions that are the same within a tolerance."""
    groups: list[list[int]] = []
    gaps = _gaps(directions, directions)
    for row in range(len(directions)):
        for group in groups:
            if float(gaps[row, group[0]]) <= tolerance:
                group.append(row)
                break
        else:
            groups.append([row])
    return [torch.tensor(group, device=directions.device) for group in groups]


def _shot(
    flow: Flow,
    linearization: Linearization,
    goals: Counts,
    branches: Sequence[Branches],
    known: Sequence[_Orbit],
    generator: torch.Generator | None,
) -> list[SaddleEdge]:
    """Shoot from points with u unstable dimensions at those with one less."""
    left = {int(goal): unstable_left(linearization, int(goal)) for goal in goals}
    # Without left modes there is no equation to solve.
    left = {goal: b for goal, b in left.items() if bool(torch.isfinite(b).all())}
    if not left:
        return []
    goals = torch.tensor(list(left), device=goals.device)
    bases, states = torch.stack(list(left.values())), linearization.points.states[goals]
    parts, sources, targets = [], [], []
    for branch in branches:
        count = AIMS_A_DIRECTION * len(branch.directions)
        directions = sphere(branch.frame.dim, count, generator).to(states)
        away, when = _approaches(flow, branch.frame.starts(directions), states)
        away = _new_ground(branch, goals, states, directions, away, known)
        which, goal = _candidates(directions, away)
        parts.append(
            _aims(
                branch, states[goal], bases[goal], directions[which], when[which, goal]
            )
        )
        sources.append(torch.full_like(which, branch.source))
        targets.append(goals[goal])
    names = Aims.__dataclass_fields__
    aims = Aims(*(torch.cat([getattr(p, name) for p in parts]) for name in names))
    shots = shoot(flow, aims)
    return _hits(shots, torch.cat(sources), torch.cat(targets), known)


def _aims(
    branch: Branches, goals: States, left: Tensor, directions: Tensor, times: Counts
) -> Aims:
    size, frame = len(goals), branch.frame
    return Aims(
        frame.centre.expand(size, -1),
        frame.axes.expand(size, -1, -1),
        goals,
        left,
        directions,
        times,
    )


def _new_ground(
    branch: Branches,
    goals: Counts,
    states: OtherStates,
    directions: Tensor,
    away: Float[Tensor, "n m"],
    known: Sequence[_Orbit],
) -> Float[Tensor, "n m"]:
    """Approaches worth a shot: others become infinite.

    Not those that come no nearer than the source is, nor any that lie beside an orbit
    to the same goal that is known already.
    """
    apart = (states - branch.frame.centre).norm(dim=1)
    worth = torch.where(away < NEARER * apart, away, torch.inf)
    # A circle of n directions has a step of 2 pi / n.
    beside = 2 * math.pi / len(directions)
    for orbit in known:
        if orbit.edge.source == branch.source and orbit.edge.target >= 0:
            close = (directions - orbit.direction).norm(dim=1) <= beside
            column = int(torch.nonzero(goals == orbit.edge.target)[0, 0])
            worth[close, column] = torch.inf
    return worth


def _hits(
    shots: Shots, sources: Counts, targets: Counts, known: Sequence[_Orbit]
) -> list[SaddleEdge]:
    """One edge for each orbit that was hit and is not known."""
    found = []
    pairs = torch.stack([sources, targets], 1)
    for source, target in torch.unique(pairs[shots.hit], dim=0).tolist():
        aimed = (sources == source) & (targets == target)
        rows = torch.nonzero(aimed & shots.hit)[:, 0]
        same = [
            orbit.direction
            for orbit in known
            if (orbit.edge.source, orbit.edge.target) == (source, target)
        ]
        for group in _orbits(shots.directions[rows], SAME_ORBIT):
            first = shots.directions[rows[group[0]]]
            if all(float((first - other).norm()) > SAME_ORBIT for other in same):
                found.append(
                    _edge(source, target, shots, rows[group], int(aimed.sum()))
                )
    return found


def _approaches(
    flow: Flow, starts: States, goals: OtherStates
) -> tuple[Float[Tensor, "n m"], Int[Tensor, "n m"]]:
    """Closest approach of each trajectory to each goal, and its time."""
    states = starts
    away = _gaps(states, goals)
    when = torch.zeros_like(away, dtype=torch.long)
    last = min(LONGEST_APPROACH, int(flow.follow(starts, "Aims").steps.max()))
    for time in range(1, last + 1):
        states = flow.step(states)
        gaps = _gaps(states, goals)
        when = torch.where(gaps < away, time, when)
        away = torch.minimum(gaps, away)
    return away, when


def _candidates(
    directions: Tensor, away: Float[Tensor, "n m"]
) -> tuple[Int[Tensor, " c"], Int[Tensor, " c"]]:
    """Directions, each with a goal that it passes nearer by than its neighbours do."""
    count = len(directions)
    near = _gaps(directions, directions).topk(min(NEIGHBOURS + 1, count), largest=False)
    best = away <= away[near.indices].amin(1)
    ranked = torch.where(best, away, torch.inf).sort(0)
    shown = torch.isfinite(ranked.values[:SHOTS])
    return ranked.indices[:SHOTS][shown], torch.nonzero(shown)[:, 1]


def _gaps(states: States, others: OtherStates) -> Float[Tensor, "n m"]:
    return torch.cdist(states, others, compute_mode="donot_use_mm_for_euclid_dist")
