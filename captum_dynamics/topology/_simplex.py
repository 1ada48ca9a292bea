"""The largest simplex among points, and how much of them it holds."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull, QhullError

Numbers = NDArray[np.float64]
MOST_DIMS = 5  # hulls of more take too long
STARTS = 12
OUTSIDE = 0.15  # barycentric coordinate by which a point may lie outside
# Filled and held, of spread points: a disc .44 and .7, a square .5 and .8, half a disc
# .6 and .95, a Gaussian .5 and .94, a triangle .8 and 1. Corners of trained nets are
# blunt: .64 to .7 and .98 to 1.
LEAST_FILLED = 0.62
LEAST_HELD = 0.94
# Two dimensions, and more: a ball .15, a cube .33, a tetrahedron .5 to .7.
MOST_OF_ROUND = 0.56, 0.4


@dataclass(frozen=True, eq=False)
class Inscribed:
    """The largest simplex with corners among points.

    Attributes:
        corners: rows (d + 1,) of the points.
        filled: its volume as a share of that of the convex hull.
        held: share of the points inside, or outside by less than .15 of it.
    """

    corners: list[int]
    filled: float
    held: float

    @property
    def fits(self) -> bool:
        """Whether the points form a simplex."""
        return self.filled >= LEAST_FILLED and self.held >= LEAST_HELD

    @property
    def is_far(self) -> bool:
        """Whether the points are clearly no simplex."""
        return self.filled <= MOST_OF_ROUND[len(self.corners) > 3]


def inscribe_simplex(points: Numbers) -> Inscribed:
    """Find the largest simplex with corners among points (n, d), d at least 2.

    Corners are exchanged one at a time as long as the volume grows, from several
    starts.

    References:
        Winter (1999), N-FINDR: an algorithm for fast autonomous spectral endmember
        determination, Proc. SPIE 3753.
    """
    dim = points.shape[1]
    if dim > MOST_DIMS or len(points) <= dim + 1:
        return Inscribed([], 0.0, 0.0)
    try:
        hull = ConvexHull(points)
    except QhullError:  # all on a flat of fewer dimensions
        return Inscribed([], 0.0, 0.0)
    rows = hull.vertices.astype(np.int64)
    spread = np.linspace(0, len(rows) - 1, min(STARTS, len(rows))).astype(int)
    found = [_exchange(points, rows, int(rows[start])) for start in spread]
    volume, corners = max(found, key=lambda pair: pair[0])
    weights = _barycentric(points, points[corners])
    held = float((weights.min(1) >= -OUTSIDE).mean())
    return Inscribed(corners, volume / float(hull.volume), held)


def _exchange(
    points: Numbers, rows: NDArray[np.int64], start: int
) -> tuple[float, list[int]]:
    dim = points.shape[1]
    corners = [start]
    while len(corners) <= dim:  # each next one farthest from the flat of the others
        _, _, axes = np.linalg.svd(points[corners] - points[corners[0]])
        rank = len(corners) - 1
        away = (points[rows] - points[corners[0]]) @ axes[rank:].T
        corners.append(int(rows[np.linalg.norm(away, axis=1).argmax()]))
    largest = -1.0
    while True:
        for place in range(dim + 1):
            others = [c for i, c in enumerate(corners) if i != place]
            sides = points[others] - points[rows][:, None]
            volumes = np.abs(np.linalg.det(sides)) / math.factorial(dim)
            corners[place] = int(rows[volumes.argmax()])
        volume = float(volumes.max())
        if volume <= largest * (1 + 1e-12):
            return volume, corners
        largest = volume


def _barycentric(points: Numbers, corners: Numbers) -> Numbers:
    """Weights (n, d + 1) of the corners that give each point, with sum 1."""
    system = np.vstack([corners.T, np.ones(len(corners))])
    given = np.vstack([points.T, np.ones(len(points))])
    weights: Numbers = np.linalg.solve(system, given).T
    return weights
