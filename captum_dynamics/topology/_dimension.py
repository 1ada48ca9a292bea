"""How many dimensions a set of points has, seen from near, without its noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
Rows = NDArray[np.int64]
# A component below a hundredth of the first one's variance is a tenth as wide.
THIN = 0.01
# Noise of one size in all directions is the median variance, if most are noise.
LEAST_FOR_NOISE = 8
ABOVE_NOISE = 3.0
FLAT = 0.25  # of the widest local variance, half its width: below it is no dimension
FAR = 0.25  # for each dimension: near their border points have fewer


@dataclass(frozen=True, eq=False)
class Reduced:
    """Points in their main components, and the noise variance of each of these."""

    points: Numbers
    noise: float

    @property
    def width(self) -> int:
        """Number of components kept."""
        return int(self.points.shape[1])


@dataclass(frozen=True)
class LocalDimension:
    """Two counts of local dimensions: they must agree for a claim.

    Attributes:
        participation: median over places of (sum v)^2 / sum v^2, v the local variances.
        axes: median number of local variances above a quarter of the largest.
    """

    participation: float
    axes: float

    @property
    def agreed(self) -> int:
        """The dimension that both counts give; 0 where they do not agree."""
        near = abs(self.participation - self.axes) <= FAR * self.axes
        return int(self.axes) if near and self.axes == int(self.axes) else 0


def reduce_noise(points: Numbers) -> Reduced:
    """Keep components wider than a tenth of the widest and than isotropic noise."""
    left, sizes, _ = np.linalg.svd(points - points.mean(0), full_matrices=False)
    variances = sizes**2 / len(points)
    noisy = len(variances) >= LEAST_FOR_NOISE
    floor = ABOVE_NOISE * float(np.median(variances)) if noisy else 0.0
    kept = (variances > floor) & (variances > THIN * variances[0])
    if not kept.any():  # nothing stands out: all is one cloud
        kept[:] = True
    rest = variances[~kept]
    return Reduced((left * sizes)[:, kept], float(rest.mean()) if len(rest) else 0.0)


def local_dimension(reduced: Reduced, spread: Rows, places: int) -> LocalDimension:
    """Count dimensions among the nearest fifteenth of spread points, at some of them.

    Where all points are counted, a crowd of them hides in which directions the rest
    lie; among points that are far from each other all directions weigh the same.

    Args:
        reduced: the points without their noise.
        spread: rows of about half of them, each far from those before.
        places: how many of these to look around at.

    References:
        Gao et al. (2017), A theory of multineuronal dimensionality: participation.
    """
    points = reduced.points[spread]
    count = int(np.clip(len(points) // 15, 12, 40))
    shares, axes = [], []
    for place in range(min(places, len(points))):
        gaps = np.linalg.norm(points - points[place], axis=1)
        patch = points[np.argsort(gaps, kind="stable")[:count]]
        sizes = np.linalg.svd(patch - patch.mean(0), compute_uv=False)
        local = np.maximum(sizes**2 / len(patch) - reduced.noise, 0)
        largest = float(local.max())
        if largest > 0:
            shares.append(local.sum() ** 2 / (local**2).sum())
            axes.append(int((local > FLAT * largest).sum()))
    if not shares:
        return LocalDimension(0.0, 0.0)
    return LocalDimension(float(np.median(shares)), float(np.median(axes)))
