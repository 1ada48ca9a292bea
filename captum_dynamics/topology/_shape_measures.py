"""What rules about shapes look at: dimensions, gaps, ends and loops of points."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

from captum_dynamics.spreading import farthest_points
from captum_dynamics.topology._dimension import (
    LocalDimension,
    Reduced,
    local_dimension,
    reduce_noise,
)
from captum_dynamics.topology._neighbours import (
    count_leaves,
    distances_of,
    edge_lengths,
    longest_way,
    spanning_tree,
)
from captum_dynamics.topology._persistence import can_find_holes, find_bars
from captum_dynamics.topology._simplex import Inscribed, inscribe_simplex

Numbers = NDArray[np.float64]
Rows = NDArray[np.int64]

LANDMARKS = 60
MOST_LANDMARKS = 300  # of a surface: loops of a torus show from 200 on
APART = 3.0  # a gap between places is this much longer than any within them
MOST_PLACES = 30
TORN = 0.3  # of the diameter: a gap longer than that between long parts
SURFACE_REACH = 4.0  # longest edges at which loops of surfaces are cut off, for speed


@dataclass(frozen=True, eq=False)
class Measured:
    """What rules look at: points in their main components, spread rows, landmarks.

    Landmarks are the first of the spread rows: distances, edges, leaves, ends, places,
    gap and width are theirs. Loops are those of the spread rows where the points form
    a surface, else of the landmarks, as is the longest edge; None where they cannot be
    looked for.
    """

    reduced: Reduced
    spread: Rows
    distances: Numbers
    local: LocalDimension
    loops: Numbers | None
    longest: float
    edges: Numbers
    leaves: int
    ends: float
    places: int
    gap: float
    width: float
    simplex: Inscribed | None


def measure(points: Numbers) -> Measured:
    """Measure points (n, d) whose size is about one."""
    reduced = reduce_noise(points)
    # Half of the points: holes between random ones are filled by then.
    half = int(np.clip(len(reduced.points) // 2, LANDMARKS, MOST_LANDMARKS))
    spread = _landmarks(reduced.points, half)
    distances = distances_of(reduced.points[spread[:LANDMARKS]])
    tree = spanning_tree(distances)
    edges, way = edge_lengths(tree), longest_way(tree)
    local = local_dimension(reduced, spread, LANDMARKS)
    places, gap, width = _split(edges, distances)
    loops, longest = None, float(edges[0])
    if can_find_holes():
        if places == 1 and local.agreed == 2:
            loops, longest = _surface_loops(reduced.points[spread])
        else:
            loops = find_bars(distances)
    return Measured(
        reduced,
        spread,
        distances,
        local,
        loops,
        longest,
        edges,
        count_leaves(tree),
        float(distances[way[0], way[-1]]),
        places,
        gap,
        width,
        _inscribed(reduced, spread, places, local.agreed),
    )


def _landmarks(points: Numbers, count: int) -> Rows:
    chosen: Rows = farthest_points(torch.from_numpy(points), count).numpy()
    return chosen


def _surface_loops(points: Numbers) -> tuple[Numbers, float]:
    """Loops among many points, and the longest edge of their tree."""
    distances = distances_of(points)
    longest = float(edge_lengths(spanning_tree(distances))[0])
    return find_bars(distances, reach=SURFACE_REACH * longest), longest


def _split(edges: Numbers, distances: Numbers) -> tuple[int, float, float]:
    """Groups of the landmarks, the least gap between them, and the widest's width.

    Groups are where the lengths of edges drop most. A gap that is short beside all of
    the points is a place where few were sampled, and splits nothing.
    """
    floor = 1e-9 * edges[0]
    first = edges[: min(MOST_PLACES, len(edges) - 1)]
    drops = np.maximum(first, floor) / np.maximum(edges[1 : len(first) + 1], floor)
    place = int(drops.argmax())
    gap, within = float(first[place]), float(max(edges[place + 1], floor))
    width = _width_of_groups(distances, np.sqrt(gap * within))
    short = width > gap and gap < TORN * float(distances.max())
    if drops[place] <= APART or short:
        return 1, 0.0, float(distances.max())
    return place + 2, gap, max(width, floor)


def _width_of_groups(distances: Numbers, reach: float) -> float:
    """Largest distance between two landmarks that a chain of near ones joins."""
    labels = connected_components(distances <= reach, directed=False)[1]
    return float(distances[labels[:, None] == labels].max())


def _inscribed(
    reduced: Reduced, spread: Rows, places: int, dim: int
) -> Inscribed | None:
    """The largest simplex of flat surfaces and bodies; None for all else."""
    if places > 1 or dim < 2:
        return None
    found = inscribe_simplex(reduced.points[spread][:, :dim])
    return replace(found, corners=spread[found.corners].tolist())
