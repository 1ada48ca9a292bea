"""Connections along the borders of basins, by edge tracking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from captum_dynamics._typing import Counts
from captum_dynamics.linearization import Linearization
from captum_dynamics.topology._border_shots import BorderShots
from captum_dynamics.topology._borders import Borders, narrowed, split
from captum_dynamics.topology._edge_tracking import track
from captum_dynamics.topology._flow import Flow
from captum_dynamics.topology._landing import land
from captum_dynamics.topology._orbits import (
    Branches,
    Orbit,
    orbits,
    saddle_edge,
)
from captum_dynamics.topology._passages import NEAR, PASSAGE, Passages
from captum_dynamics.topology._saddle import saddle
from captum_dynamics.topology.continua import distances_between

NEIGHBOURS = 6  # of a direction, to find those that went elsewhere
MOST_BORDERS = 64  # tried from one point with more than two unstable directions
ALIKE = 2  # of them tracked, among those between the same two attractors
# From a tenth of the sphere's radius or more apart, they bring neighbours to some 1e-6
# of it: their trajectories part only after a good share of the way.
HALVINGS = 16
SAME_START = 1e-6  # of two borders that differ by rounding alone: they are one


@torch.no_grad()
def border_edges(
    flow: Flow,
    linearization: Linearization,
    dims: Counts,
    branches: Sequence[Branches],
    sides: Mapping[int, Sequence[int]],
) -> list[Orbit]:
    """Find the saddles on the borders of basins that directions fall into.

    From a point with u = 2 a single orbit leads to each, from one with more a family.

    Args:
        flow: the map.
        linearization: of all points.
        dims: unstable dimensions (n,) of fixed points, -1 for other points.
        branches: what is known of points with two or more unstable directions.
        sides: the attractors that both ways from a point with one of them lead to.

    Returns:
        Orbits, or one of each family; the target is -1 where no known saddle came near.
    """
    saddles = torch.nonzero(dims == 1)[:, 0]
    if not branches:
        return []
    circles = [_borders(b) for b in branches if b.frame.dim == 2]
    spheres = [_borders(b) for b in branches if b.frame.dim > 2]
    parts = [split(flow, _joined(circles))] if circles else []
    if spheres:
        narrow = narrowed(flow, _joined(spheres), HALVINGS)
        parts.append(narrow.few_of_each(ALIKE))
    borders = _joined(parts)
    frames = {branch.source: branch.frame for branch in branches}
    shots = BorderShots(flow, linearization, frames, saddles, sides)
    passages = _landed(flow, linearization, saddles, track(flow, borders, shots))
    named = torch.cat([saddles, saddles.new_tensor([-1])])
    found: list[Orbit] = []
    for branch in branches:
        rows = torch.nonzero(borders.owners == branch.source)[:, 0]
        directions = branch.frame.directions(passages.starts[rows])
        near = passages.distances[rows] <= PASSAGE
        targets = named[torch.where(near, passages.targets[rows], -1)]
        for target in torch.unique(targets).tolist():
            own = torch.nonzero(targets == target)[:, 0]
            single = branch.frame.dim == 2 and target >= 0
            groups = orbits(directions[own], SAME_START) if single else [own]
            for group in groups:
                members = own[group] if single else own
                at = rows[members]
                edge = saddle_edge(
                    branch.source,
                    target,
                    passages.distances[at],
                    passages.steps[at],
                    len(rows),
                )
                first = at[0]
                found.append(Orbit(edge, passages.starts[first], passages.ends[first]))
    return found


def _landed(
    flow: Flow, linearization: Linearization, saddles: Counts, passages: Passages
) -> Passages:
    """Take trajectories that came near a saddle all the way to it."""
    rows = torch.nonzero(passages.distances < NEAR)[:, 0]
    goals = [saddle(linearization, row) for row in saddles.tolist()]
    aims = [goals[target] for target in passages.targets[rows].tolist()]
    distances, steps = land(flow, passages.states[rows], aims)
    return replace(
        passages,
        distances=passages.distances.index_copy(0, rows, distances),
        steps=passages.steps.index_add(0, rows, steps),
    )


def _borders(branch: Branches) -> Borders:
    """Neighbours among directions that went to different attractors."""
    count = len(branch.directions)
    order = torch.arange(count, device=branch.basins.device)
    if branch.frame.dim == 2:
        pairs = torch.stack([order, order.roll(-1)], 1)
    else:
        gaps = distances_between(branch.directions, branch.directions)
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
