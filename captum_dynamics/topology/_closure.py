"""Searches for what a graph points at without knowing it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch

from captum_dynamics._typing import OneState, States
from captum_dynamics.dynamics import DynamicsMap
from captum_dynamics.exceptions import ConvergenceWarning
from captum_dynamics.fixed_points import FixedPoints, Kind, find_fixed_points
from captum_dynamics.linearization import linearize
from captum_dynamics.merging import connected_groups
from captum_dynamics.regimes import classify_runs
from captum_dynamics.spreading import farthest_points
from captum_dynamics.topology._attracting import are_one
from captum_dynamics.topology._known import Known
from captum_dynamics.topology._nodes import MOVING
from captum_dynamics.topology._saddle_cycles import find_saddle_cycles
from captum_dynamics.topology.audit import GraphAudit
from captum_dynamics.topology.continua import gather_continua

MOST_ENDS = 64  # loose ends searched from, well spread
MOST_RUNS = 16  # of them followed for long, where no search finds a point
MOST_PAIRS = 1024  # of points, between which searches start


def extended(dynamics: DynamicsMap, known: Known, fresh: FixedPoints) -> Known:
    """Add points, after those that are known."""
    linear = known.linearization
    nodes = {continuum.node for continuum in known.continua}
    single = [row for row in range(len(linear)) if row not in nodes]
    samples = [continuum.points for continuum in known.continua]
    alone = linear.points[torch.tensor(single, dtype=torch.long)]
    points = FixedPoints.concatenate([alone, *samples, fresh])
    gathered = gather_continua(
        dynamics, linearize(dynamics, points, margin=linear.margin)
    )
    return Known(*gathered, known.endings)


def follow_ends(dynamics: DynamicsMap, known: Known, ends: States) -> Known:
    """Solve for points near states where branches ended, or tell what these do.

    Returns:
        What is known then; the same object where nothing is new.
    """
    if not len(ends):
        return known
    ends = ends[farthest_points(ends, MOST_ENDS)]
    fresh = _fresh(dynamics, known, ends)
    if len(fresh):
        return extended(dynamics, known, fresh)
    inputs = known.linearization.points.inputs[:1]
    regimes = classify_runs(dynamics, ends[:MOST_RUNS], inputs)
    # Ends that had no time to be captured may belong to a set that is known.
    fresh_sets = [
        ending
        for ending in regimes.endings
        if ending.regime in MOVING
        and not any(are_one(ending, other) for other in known.endings)
    ]
    if not fresh_sets:
        return known
    return Known(known.linearization, known.continua, (*known.endings, *fresh_sets))


def search_between(
    dynamics: DynamicsMap,
    known: Known,
    borders: Sequence[OneState],
    audit: GraphAudit,
    generator: torch.Generator | None,
) -> Known:
    """Search where borders lead, and from midpoints of known points.

    The saddles between attractors are near the middle of them, and a point that is
    missing is near the middle of those that the audit names.
    """
    rows = torch.nonzero(known.fixed)[:, 0]
    pairs = torch.combinations(rows)
    if len(pairs) > MOST_PAIRS:
        pairs = pairs[torch.randperm(len(pairs), generator=generator)[:MOST_PAIRS]]
    named = torch.tensor(audit.gaps, dtype=torch.long).reshape(-1, 2).to(pairs)
    states = known.linearization.points.states
    middles = states[torch.cat([named, pairs])].mean(1)
    fresh = _fresh(dynamics, known, torch.cat([middles, *(s[None] for s in borders)]))
    if len(fresh):
        return extended(dynamics, known, fresh)
    inputs = known.linearization.points.inputs[:1]
    cycles = find_saddle_cycles(dynamics, borders, inputs)
    if not cycles:
        return known
    return Known(known.linearization, known.continua, (*known.endings, *cycles))


def _fresh(dynamics: DynamicsMap, known: Known, starts: States) -> FixedPoints:
    """Distinct fixed points that searches find and that are not known yet."""
    points = known.linearization.points
    if not len(starts):
        return points[:0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = find_fixed_points(dynamics, starts, points.inputs[:1])
    found = found[found.kind == Kind.FIXED].unique()
    for continuum in known.continua:
        found = found[~(found.degenerate & continuum.holds(found.states))]
    everything = FixedPoints.concatenate([points, found])
    groups = connected_groups(
        everything.states, everything.merge_radii, everything.inputs
    )
    return found[~torch.isin(groups[len(points) :], groups[: len(points)])]
