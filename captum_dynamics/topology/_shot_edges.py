"""Connections that lose one unstable dimension, by shooting from many directions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from captum_dynamics._typing import Counts, OtherStates, States
from captum_dynamics.linearization import Linearization
from captum_dynamics.topology._edge_tracking import NEAR, PASSAGE
from captum_dynamics.topology._flow import Flow
from captum_dynamics.topology._landing import Saddle, land, saddle
from captum_dynamics.topology._orbits import (
    Branches,
    Orbit,
    SaddleEdge,
    orbits,
    saddle_edge,
)
from captum_dynamics.topology._shooting import Aims, Shots, shoot
from captum_dynamics.topology._unstable import sphere
from captum_dynamics.topology.continua import distances_between

NEIGHBOURS = 6  # of a direction, among which closest approaches are compared
SHOTS = 12  # at one goal from one point, at most
AIMS_ON_CIRCLE = 4  # directions tried, for each that is followed to its attractor
AIMS_ON_SPHERE = 8  # and twice as many, even ones and flat ones
DECADES = 4  # over which components of the flat ones spread
LONGEST_APPROACH = 2000  # steps in which an approach to a goal is looked for
NEARER = 0.9  # share of the distance of two points that an approach must come within
SAME_ORBIT = 1e-3  # distance of two directions of shots along one and the same orbit


@torch.no_grad()
def shot_edges(
    flow: Flow,
    linearization: Linearization,
    goals: Counts,
    branches: Sequence[Branches],
    known: Sequence[Orbit],
    generator: torch.Generator | None,
) -> list[SaddleEdge]:
    """Find orbits from points with u unstable dimensions to those with one less.

    Args:
        flow: the map.
        linearization: of all points.
        goals: rows (m,) of the points aimed at.
        branches: of the points to start from, all of one u.
        known: orbits that were found before and shall not be found again.
        generator: source of randomness.
    """
    ends = {int(goal): saddle(linearization, int(goal)) for goal in goals}
    # Without left modes there is no equation to solve.
    ends = {g: end for g, end in ends.items() if bool(torch.isfinite(end.left).all())}
    if not ends:
        return []
    goals = torch.tensor(list(ends), device=goals.device)
    bases = torch.stack([end.left for end in ends.values()])
    states = linearization.points.states[goals]
    parts, sources, targets = [], [], []
    for branch in branches:
        directions = _directions(branch, generator).to(states)
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
    aimed = torch.cat(targets)
    shots = _landed(flow, shoot(flow, aims), [ends[int(goal)] for goal in aimed])
    return _hits(shots, torch.cat(sources), aimed, known)


def _directions(branch: Branches, generator: torch.Generator | None) -> Tensor:
    """Directions (m, u) to try; on a sphere, many of them close to a plane of axes.

    Where one direction grows faster than another, the way along the slow one starts in
    a thin wedge, which an even sample misses.
    """
    dim, count = branch.frame.dim, len(branch.directions)
    if dim == 2:
        return sphere(dim, AIMS_ON_CIRCLE * count, generator)
    even = sphere(dim, AIMS_ON_SPHERE * count, generator)
    draws = torch.rand(even.shape, generator=generator, dtype=even.dtype)
    flat = even * 10 ** (-DECADES * draws)
    return torch.cat([even, flat / flat.norm(dim=1, keepdim=True)])


def _landed(flow: Flow, shots: Shots, ends: list[Saddle]) -> Shots:
    """Take shots that came near their goal all the way to it."""
    rows = torch.nonzero(~shots.hit & (shots.distances < NEAR))[:, 0]
    near = [ends[row] for row in rows.tolist()]
    distances, steps = land(flow, shots.states[rows], near)
    hit = shots.hit.index_copy(0, rows, distances <= PASSAGE)
    return replace(
        shots,
        distances=shots.distances.index_copy(0, rows, distances),
        steps=shots.steps.index_add(0, rows, steps),
        hit=hit,
    )


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
    goals: Int[Tensor, " m"],
    states: OtherStates,
    directions: Tensor,
    away: Float[Tensor, "n m"],
    known: Sequence[Orbit],
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
        if orbit.edge.source == branch.source:
            close = (directions - orbit.direction).norm(dim=1) <= beside
            worth[close[:, None] & (goals == orbit.edge.target)] = torch.inf
    return worth


def _hits(
    shots: Shots, sources: Counts, targets: Counts, known: Sequence[Orbit]
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
        for group in orbits(shots.directions[rows], SAME_ORBIT):
            first = shots.directions[rows[group[0]]]
            if all(float((first - other).norm()) > SAME_ORBIT for other in same):
                at, tried = rows[group], int(aimed.sum())
                found.append(
                    saddle_edge(
                        source, target, shots.distances[at], shots.steps[at], tried
                    )
                )
    return found


def _approaches(
    flow: Flow, starts: States, goals: OtherStates
) -> tuple[Float[Tensor, "n m"], Int[Tensor, "n m"]]:
    """Closest approach of each trajectory to each goal, and its time."""
    states = starts
    away = distances_between(states, goals)
    when = torch.zeros_like(away, dtype=torch.long)
    last = min(LONGEST_APPROACH, int(flow.follow(starts, "Aims").steps.max()))
    for time in range(1, last + 1):
        states = flow.step(states)
        gaps = distances_between(states, goals)
        when = torch.where(gaps < away, time, when)
        away = torch.minimum(gaps, away)
    return away, when


def _candidates(
    directions: Tensor, away: Float[Tensor, "n m"]
) -> tuple[Int[Tensor, " c"], Int[Tensor, " c"]]:
    """Directions, each with a goal that it passes nearer by than its neighbours do."""
    count = len(directions)
    near = distances_between(directions, directions).topk(
        min(NEIGHBOURS + 1, count), largest=False
    )
    best = away <= away[near.indices].amin(1)
    ranked = torch.where(best, away, torch.inf).sort(0)
    shown = torch.isfinite(ranked.values[:SHOTS])
    return ranked.indices[:SHOTS][shown], torch.nonzero(shown)[:, 1]
