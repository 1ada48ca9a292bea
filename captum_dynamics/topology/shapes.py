"""The shape of a set of points, with the numbers that speak for it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import torch
from jaxtyping import Float
from torch import Tensor

# Death over birth of loops that count. Of curves: circles have 6 to 9, arcs of 300
# degrees 1.7. Of surfaces: tori 3 to 5, holes between the points of a disc 1.4 to 2.3.
LOOP_RATIO = 3.0
TORUS_RATIO = 2.5


class Shape(Enum):
    """What points form."""

    LINE = "line"
    """A curve with two ends, straight or bent."""
    RING = "ring"
    """A closed curve."""
    PLANE = "plane"
    """A sheet: two dimensions, no hole."""
    SIMPLEX = "simplex"
    """A sheet with three corners, or the same in more dimensions: d + 1 corners."""
    TORUS = "torus"
    """Two dimensions with two loops, neither of which can shrink."""
    CLOUD = "cloud"
    """Three or more dimensions, and no corners to speak of."""
    PLACES = "places"
    """One or a few separate places."""
    NONE = "none"
    """Too few points for a shape."""
    UNDECIDED = "undecided"
    """The numbers contradict each other, or lie between two shapes."""


@dataclass(frozen=True, eq=False)
class ShapeEvidence:
    """A verdict on a shape, and all numbers that it rests on.

    Attributes:
        shape: the verdict.
        reason: why, in one sentence.
        points: number of points that were looked at.
        landmarks: number of points, far from each other, that stand for all.
        dimension: local dimensions that two counts agree on; 0 where they do not.
        participation: local dimensions by participation ratio, median over landmarks.
        local_axes: local dimensions by counting wide axes, median over landmarks.
        gap: how many times faster the first fast mode fades than the last slow one;
            NaN where points are all that is known.
        slow_modes: number of slow modes before that gap; 0 where there is none.
        angle: degrees between the manifold and its slow modes, median over points of
            the largest principal angle; NaN where points are all that is known.
        loops: births and deaths (b, 2) of loops, the largest ratio first, at most 64;
            empty where `homology` is False. Of surfaces they are looked for among up to
            300 points, and cut off at four of these points' longest edges.
        longest_edge: longest edge of the minimum spanning tree of the points that loops
            were looked for among.
        leaves: ends of the landmarks' tree, without twigs shorter than a tenth of its
            diameter.
        places: number of separate places; 1 where the points hang together.
        filled: share of the hull that the largest simplex among them fills.
        held: share of spread points in that simplex, or close to it.
        corners: corners (c, d) of that simplex; none where no simplex was tried.
        homology: whether loops could be looked for: it takes the `topology` extra.
    """

    shape: Shape
    reason: str
    points: int
    landmarks: int
    dimension: int
    participation: float
    local_axes: float
    gap: float
    slow_modes: int
    angle: float
    loops: Float[Tensor, "b 2"]
    longest_edge: float
    leaves: int
    places: int
    filled: float
    held: float
    corners: Float[Tensor, "c d"]
    homology: bool

    @property
    def ratios(self) -> Float[Tensor, " b"]:
        """Death over birth (b,) of every loop."""
        ratios: Tensor = self.loops[:, 1] / self.loops[:, 0]
        return ratios

    @property
    def loop_ratio(self) -> float:
        """Death over birth of the most lasting loop; 1 where there is none."""
        return float(self.ratios[0]) if len(self.loops) else 1.0

    @property
    def threshold(self) -> float:
        """Death over birth from which on a loop counts."""
        return TORUS_RATIO if self.dimension == 2 else LOOP_RATIO

    @property
    def is_curve(self) -> bool:
        """Whether the points have one order along which they lie."""
        return self.shape in (Shape.LINE, Shape.RING)


def nothing(reason: str, states: Float[Tensor, "n d"]) -> ShapeEvidence:
    """The verdict on too few points."""
    nan = float("nan")
    return ShapeEvidence(
        Shape.NONE,
        reason,
        points=len(states),
        landmarks=0,
        dimension=0,
        participation=nan,
        local_axes=nan,
        gap=nan,
        slow_modes=0,
        angle=nan,
        loops=torch.zeros(0, 2, dtype=torch.float64),
        longest_edge=nan,
        leaves=0,
        places=0,
        filled=nan,
        held=nan,
        corners=states[:0].detach(),
        homology=False,
    )
