"""The order of points along a curve: the longest way through their spanning tree."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from captum_dynamics.topology._neighbours import (
    distances_of,
    longest_way,
    spanning_tree,
)

Numbers = NDArray[np.float64]


def find_backbone(points: Numbers) -> list[int]:
    """Rows of the points along the longest way; points on twigs are left out.

    The tree of a ring lacks its longest edge, so that the way begins and ends there.
    """
    return longest_way(spanning_tree(distances_of(points)))


def place_along(points: Numbers, corners: Numbers, *, closed: bool) -> Numbers:
    """Arc length (n,) at which each point is closest to a line through corners (p, d).

    Args:
        points: (n, d).
        corners: where the line turns, in order.
        closed: whether the line goes back from its last corner to the first.
    """
    ends = np.vstack([corners[1:], corners[:1]]) if closed else corners[1:]
    starts = corners[: len(ends)]
    sides = ends - starts
    lengths = np.linalg.norm(sides, axis=1)
    offsets = points[:, None] - starts
    shares = (offsets * sides).sum(2) / np.maximum(lengths**2, 1e-300)
    shares = shares.clip(0, 1)
    gaps = np.linalg.norm(offsets - shares[..., None] * sides, axis=2)
    nearest = gaps.argmin(1)
    before = np.concatenate([[0.0], np.cumsum(lengths)[:-1]])
    rows = np.arange(len(points))
    along: Numbers = before[nearest] + shares[rows, nearest] * lengths[nearest]
    return along
