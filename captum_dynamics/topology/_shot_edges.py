"""Connections that lose one unstable dimension, by shooting from many directions."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import replace

import torch

from captum_dynamics._typing import Counts
from captum_dynamics.linearization import Linearization
from captum_dynamics.topology._arriving import Bundle, arrive, shoot_bundles
from captum_dynamics.topology._first_ways import first_ways, paths
from captum_dynamics.topology._flow import Flow
from captum_dynamics.topology._orbits import Branches, Orbit, SaddleEdge, orbits
from captum_dynamics.topology._passages import NEAR, PASSAGE
from captum_dynamics.topology._saddle import Saddle, saddle
from captum_dynamics.topology._tries import Tries, find_tries, worth_a_shot
from captum_dynamics.topology._unstable import UnstableFrame

# Newton steps: where borders have been tracked, and where shooting is all there is.
STEPS_ON_CIRCLE, STEPS_ON_SPHERE = 12, 40
SAME_ORBIT = 1e-3  # distance of two shots along one and the same orbit


@torch.no_grad()
def shot_edges(
    flow: Flow,
    linearization: Linearization,
    goals: Counts,
    branches: Sequence[Branches],
    tracked: Sequence[Orbit],
    closed: Set[int],
    generator: torch.Generator | None,
) -> list[SaddleEdge]:
    """Find orbits from points with u unstable dimensions to those with one less.

    Args:
        flow: the map.
        linearization: of all points.
        goals: rows (m,) of the points aimed at.
        branches: of the points to start from, all of one u.
        tracked: orbits found otherwise; those between these points are tried too.
        closed: rows of points of which all orbits seem to be tracked. They are not
            tried again, and other goals only where a trajectory comes close.
        generator: source of randomness.
    """
    ends = {int(goal): saddle(linearization, int(goal)) for goal in goals}
    # Without left modes there is no equation to solve.
    ends = {g: end for g, end in ends.items() if bool(torch.isfinite(end.left).all())}
    if not ends:
        return []
    goals = torch.tensor(list(ends), device=goals.device)
    states = linearization.points.states[goals]
    tries = find_tries(flow, branches, goals, states, tracked, generator)
    tries = worth_a_shot(tries, tracked, closed)
    frames = {branch.source: branch.frame.rounded() for branch in branches}
    bundles = [
        _bundle(flow, end, tries[tries.goals == row], frames)
        for row, end in ends.items()
        if bool((tries.goals == row).any())
    ]
    circles = branches[0].frame.dim == 2
    near = shoot_bundles(
        flow,
        [bundle.arriving(NEAR / 2) for bundle in bundles],
        STEPS_ON_CIRCLE if circles else STEPS_ON_SPHERE,
    )
    arrived = arrive(flow, [_distinct(bundle) for bundle in near])
    return [edge for bundle in arrived for edge in _edges(bundle, tries)]


def _bundle(
    flow: Flow, goal: Saddle, tries: Tries, frames: dict[int, UnstableFrame]
) -> Bundle:
    leaving = [frames[source] for source in tries.sources.tolist()]
    aims = first_ways(goal, leaving, paths(flow, tries.starts, tries.times))
    votes = torch.ones_like(tries.sources)
    return Bundle(int(tries.goals[0]), goal, tries.sources, votes, aims)


def _distinct(bundle: Bundle) -> Bundle:
    """One way for each orbit, with the number of ways that became it."""
    rows, votes = [], []
    for source in torch.unique(bundle.labels):
        own = torch.nonzero(bundle.labels == source)[:, 0]
        # First states lie on one sphere, so that one orbit is one sequence of states.
        sequences = bundle.aims.orbits[:, own].movedim(1, 0).flatten(1)
        for group in orbits(sequences, SAME_ORBIT):
            rows.append(int(own[group[0]]))
            votes.append(len(group))
    chosen = torch.tensor(rows, dtype=torch.long, device=bundle.labels.device)
    return replace(bundle[chosen], votes=chosen.new_tensor(votes))


def _edges(bundle: Bundle, tries: Tries) -> list[SaddleEdge]:
    away = (bundle.aims.orbits - bundle.goal.state).norm(dim=2)
    edges = []
    for row, source in enumerate(bundle.labels.tolist()):
        tried = int(tries.between(source, bundle.row).sum())
        steps = int(torch.nonzero(away[:, row] <= PASSAGE)[0, 0])
        votes, distance = int(bundle.votes[row]), float(away[-1, row])
        edges.append(SaddleEdge(source, bundle.row, votes, tried, distance, steps))
    return edges
