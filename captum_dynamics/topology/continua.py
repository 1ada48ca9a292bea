"""Fixed points that are no points: lines, rings and sheets on which the map rests.

A search puts down one degenerate point after another on them. Two of those hang
together where the map also rests between them.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree
from torch import Tensor

from captum_dynamics import _linalg
from captum_dynamics._typing import Mask, OtherStates, PerPoint, States
from captum_dynamics.dynamics import DynamicsMap
from captum_dynamics.exceptions import ConvergenceWarning
from captum_dynamics.fixed_points import FixedPoints, Kind, find_fixed_points
from captum_dynamics.linearization import Linearization, linearize
from captum_dynamics.spreading import farthest_points

# Multipliers so close to the unit circle are those along a continuum: where J - I is
# singular to 1e-4, they are known to little more than that.
CENTRE = 1e-3
LARGEST_SAMPLE = 256
FILLED = 48  # points from which a shape can be told
REFINEMENTS = 6
PROBE = 0.05  # how far from a single point its neighbours are sought, times 1 + |h|


@dataclass(frozen=True, eq=False)
class Continuum:
    """A connected set of fixed points.

    Attributes:
        points: a sample (m) of them, all degenerate.
        gap: largest distance between neighbours in the sample.
        node: row of the linearization that stands for it.
    """

    points: FixedPoints
    gap: float
    node: int

    def unstable_dim(self, linearization: Linearization) -> int:
        """Directions that leave the continuum, rather than run along it."""
        sizes = linearization.eigenvalues[self.node].abs()
        return int((sizes > 1 + CENTRE).sum())

    def centre_dim(self, linearization: Linearization) -> int:
        """Directions that run along it."""
        values = linearization.eigenvalues[self.node]
        return int(((values - 1).abs() <= CENTRE).sum())

    def holds(self, states: States) -> Mask:
        """Which states (n,), known to be at rest, lie on it."""
        near: Mask = distances_between(states, self.points.states).amin(1) <= self.gap
        return near


def gather_continua(
    dynamics: DynamicsMap, linearization: Linearization
) -> tuple[Linearization, tuple[Continuum, ...]]:
    """Put one point in the place of all that hang together.

    Returns:
        The other points in their order, and after them one for each continuum, the
        sample's nearest to its middle. Without one, the linearization as it is.
    """
    points = linearization.points
    loose = (points.kind == Kind.FIXED) & points.degenerate
    if not bool(loose.any()):
        return linearization, ()
    samples = _hanging_together(dynamics, points[loose])
    if not samples:
        return linearization, ()
    inside = torch.zeros_like(loose)
    for sample in samples:
        gaps = distances_between(points.states, sample.states).amin(1)
        inside |= loose & (gaps <= _gap(sample.states))
    kept = points[~inside]
    middles = [sample[_middle(sample.states)] for sample in samples]
    continua = tuple(
        Continuum(sample, _gap(sample.states), len(kept) + place)
        for place, sample in enumerate(samples)
    )
    merged = FixedPoints.concatenate([kept, *middles])
    return linearize(dynamics, merged, margin=linearization.margin), continua


def _hanging_together(dynamics: DynamicsMap, points: FixedPoints) -> list[FixedPoints]:
    """Samples of the continua that degenerate points lie on."""
    spread = points[farthest_points(points.states, LARGEST_SAMPLE)]
    groups = _refined(dynamics, _with_neighbours(dynamics, spread))
    for _ in range(REFINEMENTS):
        sparse = [group for group in groups if 1 < len(group) < FILLED]
        if not sparse:
            break
        groups = [group for group in groups if len(group) >= FILLED]
        groups += [part for group in sparse for part in _refined(dynamics, group)]
    return [group for group in groups if len(group) > 1]


def _with_neighbours(dynamics: DynamicsMap, points: FixedPoints) -> FixedPoints:
    """Add fixed points on either side of each, along the direction of rest."""
    if len(points) >= FILLED:
        return points
    slopes = dynamics.jacobians(points.states, points.inputs)
    slopes.diagonal(dim1=-2, dim2=-1).sub_(1)
    along = _linalg.smallest_singular(slopes)[1]
    reach = PROBE * (1 + points.states.norm(dim=1, keepdim=True))
    starts = torch.cat([points.states + reach * along, points.states - reach * along])
    beside = _rests_near(dynamics, points, starts, reach.repeat(2, 1)[:, 0] / 2)
    return FixedPoints.concatenate([points, beside[0]])


def _refined(dynamics: DynamicsMap, points: FixedPoints) -> list[FixedPoints]:
    """Cut a tree of points where the map does not rest halfway, and add the halves."""
    tree = minimum_spanning_tree(
        distances_between(points.states, points.states).cpu().numpy()
    )
    left, right = (torch.from_numpy(rows).long() for rows in tree.nonzero())
    first, second = points.states[left], points.states[right]
    halves, kept = _rests_near(
        dynamics, points, (first + second) / 2, (first - second).norm(dim=1) / 2
    )
    left, right = left[kept.cpu()], right[kept.cpu()]
    links = csr_matrix((np.ones(len(left)), (left, right)), shape=tree.shape)
    names = torch.from_numpy(connected_components(links, directed=False)[1])
    return [
        FixedPoints.concatenate([points[names == name], halves[names[left] == name]])
        for name in range(int(names.max()) + 1)
    ]


def _rests_near(
    dynamics: DynamicsMap, points: FixedPoints, starts: States, reach: PerPoint
) -> tuple[FixedPoints, Mask]:
    """Degenerate fixed points within reach of their start, and which starts had one."""
    if not len(starts):
        return points[:0], torch.zeros(0, dtype=torch.bool, device=starts.device)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = find_fixed_points(dynamics, starts, points.inputs[:1])
    near = (found.states - starts).norm(dim=1) <= reach
    kept = (found.kind == Kind.FIXED) & found.degenerate & near
    return found[kept], kept


def _middle(states: States) -> Tensor:
    """Index (1,) of the state nearest to the mean of all."""
    middle: Tensor = (states - states.mean(0)).norm(dim=1).argmin()[None]
    return middle


def _gap(states: States) -> float:
    """Longest link of the shortest tree that connects states."""
    return float(
        minimum_spanning_tree(distances_between(states, states).cpu().numpy()).max()
    )


def distances_between(states: States, others: OtherStates) -> Float[Tensor, "n m"]:
    """Distances between two sets, exact for small ones."""
    return torch.cdist(states, others, compute_mode="donot_use_mm_for_euclid_dist")
