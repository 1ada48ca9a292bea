"""Deciding what shape points form: measure first, then one rule a dimension."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

from captum_dynamics import _checks
from captum_dynamics._typing import States
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
from captum_dynamics.topology.shapes import LOOP_RATIO, Shape, ShapeEvidence, nothing

Numbers = NDArray[np.float64]
Rows = NDArray[np.int64]
Verdict = tuple[Shape, str]

LEAST_POINTS = 20  # below these a claim would rest on too little
LANDMARKS = 60
MOST_LANDMARKS = 300  # of a surface: loops of a torus show from 200 on
LEAST_FOR_TORUS = 200
TORUS_RATIO = 2.5  # loops of a torus 3 to 5, holes between points of a disc 1.4 to 2.3
# A loop that is born long after the points have joined is a gap that closes: an arc.
LATEST_BIRTH = 2.0  # times the longest edge of the landmarks' tree
NO_LOOP = 2.0
CAVITY = 1.6  # death / birth: spheres 2 to 3, curved sheets below 1.3
APART = 3.0  # a gap between places is this much longer than any within them
MOST_PLACES = 30
TORN = 0.3  # of the diameter: a gap longer than that between long parts
MANY_DIMS = 2.4  # both counts of local dimensions from here on: surely more than two
KEPT_LOOPS = 64
SURFACE_REACH = 4.0  # longest edges at which loops of surfaces are cut off, for speed
OPEN_ENDS = 3.0  # a line's ends are farther apart than this many longest edges
EXTRA = "install the `topology` extra (gudhi) to look for loops"


@dataclass(frozen=True, eq=False)
class _Measured:
    """What rules look at: points in their main components, and the landmarks."""

    reduced: Reduced
    rows: Rows
    distances: Numbers
    local: LocalDimension
    loops: Numbers | None
    edges: Numbers
    leaves: int
    ends: float
    places: int
    gap: float
    width: float


def find_shape(states: States) -> ShapeEvidence:
    """Decide what shape points form: line, ring, plane, simplex, torus, or none.

    Components as thin as isotropic noise are left out; local dimensions are counted in
    two ways; loops are looked for by persistent homology among up to 60 landmarks, 300
    for surfaces. Where numbers contradict each other the verdict is 'undecided'.
    Rotations, shifts and scales change nothing.

    Args:
        states: points (n, d), some hundreds: of a surface 400 or more, of a torus with
            noise 1,000.

    Returns:
        The verdict with its numbers. Without gudhi, a ring, a surface or a torus is
        'undecided', and a line is one only where its ends are far apart.

    Raises:
        ValueError: when the states are no finite matrix.

    References:
        Carlsson (2009), Topology and data, Bulletin of the AMS 46.
        Aitken et al. (2020), The geometry of integration in text classification RNNs,
        arXiv 2010.15114: simplices.

    Example:
        >>> import torch
        >>> angles = torch.linspace(0, 6.2, 80, dtype=torch.float64)
        >>> arc = torch.stack([angles.cos(), angles.sin()], dim=1)[:60]
        >>> find_shape(arc).shape.value
        'line'
    """
    _checks.check_floating("states", states)
    if states.ndim != 2:
        raise ValueError(
            f"Expected `states` to have shape (n, d), got {tuple(states.shape)}."
        )
    _checks.check_finite("states", states)
    if len(states) < LEAST_POINTS:
        return nothing(f"{len(states)} points are too few", states)
    points = states.detach().cpu().double().numpy()
    size = float(np.abs(points - points.mean(0)).max())
    if size <= 1e-12 * (1 + float(np.abs(points).max())):
        reason = "all points are in one place"
        return replace(nothing(reason, states), shape=Shape.PLACES, places=1)
    measured = _measure(reduce_noise(points / size))
    simplex = _inscribed(measured)
    shape, reason = _decide(measured, simplex)
    return _evidence(states, measured, simplex, shape, reason, size)


def _measure(reduced: Reduced) -> _Measured:
    rows = _landmarks(reduced.points, LANDMARKS)
    distances = distances_of(reduced.points[rows])
    tree = spanning_tree(distances)
    edges, way = edge_lengths(tree), longest_way(tree)
    local = local_dimension(reduced, rows)
    places, gap, width = _split(edges, distances)
    loops = None
    if can_find_holes():
        if places == 1 and local.agreed == 2:
            loops = _surface_loops(reduced.points)
        else:
            loops = find_bars(distances)
    return _Measured(
        reduced,
        rows,
        distances,
        local,
        loops,
        edges,
        count_leaves(tree),
        float(distances[way[0], way[-1]]),
        places,
        gap,
        width,
    )


def _landmarks(points: Numbers, count: int) -> Rows:
    chosen: Rows = farthest_points(torch.from_numpy(points), count).numpy()
    return chosen


def _surface_loops(points: Numbers) -> Numbers:
    # Half of the points: holes between random ones are filled by then.
    count = int(np.clip(len(points) // 2, LANDMARKS, MOST_LANDMARKS))
    distances = distances_of(points[_landmarks(points, count)])
    longest = float(edge_lengths(spanning_tree(distances))[0])
    return find_bars(distances, reach=SURFACE_REACH * longest)


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


def _inscribed(measured: _Measured) -> Inscribed | None:
    """The largest simplex of flat surfaces and bodies; None for all else."""
    dim = measured.local.agreed
    if measured.places > 1 or dim < 2:
        return None
    return inscribe_simplex(measured.reduced.points[:, :dim])


def _decide(measured: _Measured, simplex: Inscribed | None) -> Verdict:
    if measured.places > 1:
        return _places(measured)
    dim, local = measured.local.agreed, measured.local
    if dim == 0 and min(local.participation, local.axes) >= MANY_DIMS:
        return _body(local, None)
    if dim == 0:
        return Shape.UNDECIDED, (
            f"its local dimension is {local.participation:.1f} by participation and "
            f"{local.axes:g} by wide axes"
        )
    if dim == 1:
        return _curve(measured)
    if simplex is not None and simplex.fits and not _has_loop(measured):
        return _simplex(measured, dim, simplex)
    return _surface(measured, simplex) if dim == 2 else _body(local, simplex)


def _places(measured: _Measured) -> Verdict:
    """Separate places are small beside the gaps between them; else a line is torn."""
    count, gap, width = measured.places, measured.gap, measured.width
    if width <= gap:
        return Shape.PLACES, (
            f"they lie in {count} places, {gap / width:.3g} times farther apart than "
            f"the widest is wide"
        )
    return Shape.UNDECIDED, (
        f"they fall into {count} parts, at least one wider than the gaps between them"
    )


def _curve(measured: _Measured) -> Verdict:
    leaves, longest = measured.leaves, float(measured.edges[0])
    if leaves != 2:
        return Shape.UNDECIDED, f"it has one dimension but {leaves} ends"
    if measured.loops is None:
        if measured.ends > OPEN_ENDS * longest:
            return Shape.LINE, (
                "it has one dimension and two ends, far apart (loops were not looked "
                "for)"
            )
        return Shape.UNDECIDED, f"its two ends are close: {EXTRA}"
    births, ratios = _loops(measured)
    early = births <= LATEST_BIRTH * longest
    lasting = int(((ratios > LOOP_RATIO) & early).sum())
    doubtful = int(((ratios > NO_LOOP) & early).sum())
    if lasting == 1 and doubtful == 1:
        return Shape.RING, (
            f"it has one dimension and one loop, which lasts {ratios[0]:.1f} times its "
            f"birth"
        )
    if doubtful == 0 and measured.ends > longest:
        return Shape.LINE, "it has one dimension, two ends and no loop"
    return Shape.UNDECIDED, (
        f"it has one dimension and {doubtful} loops, the strongest of which lasts "
        f"{ratios.max(initial=1.0):.1f} times its birth"
    )


def _loops(measured: _Measured) -> tuple[Numbers, Numbers]:
    loops = measured.loops if measured.loops is not None else np.zeros((0, 2))
    births: Numbers = loops[:, 0]
    ratios: Numbers = loops[:, 1] / loops[:, 0]
    return births, ratios


def _has_loop(measured: _Measured) -> bool:
    return bool(_loops(measured)[1].max(initial=1.0) > TORUS_RATIO)


def _simplex(measured: _Measured, dim: int, simplex: Inscribed) -> Verdict:
    if measured.loops is None:
        return Shape.UNDECIDED, f"it has {dim} dimensions: {EXTRA}"
    return Shape.SIMPLEX, (
        f"it has {dim} dimensions, no loop, and {dim + 1} corners: their simplex fills "
        f"{simplex.filled:.0%} of the hull and holds {simplex.held:.0%} of the points"
    )


def _surface(measured: _Measured, simplex: Inscribed | None) -> Verdict:
    if measured.loops is None:
        return Shape.UNDECIDED, f"it has two dimensions: {EXTRA}"
    ratios = _loops(measured)[1]
    strong = int((ratios > TORUS_RATIO).sum())
    many = len(measured.reduced.points) // 2 >= LEAST_FOR_TORUS
    if strong == 2 and many:
        return Shape.TORUS, (
            f"it has two dimensions and two loops, which last at least "
            f"{ratios[0]:.1f} and {ratios[1]:.1f} times their births"
        )
    if strong:
        return Shape.UNDECIDED, f"it has two dimensions and {strong} loops"
    if measured.reduced.width > 2:
        if not many:
            return Shape.UNDECIDED, (
                f"it is a curved surface, of which {len(measured.reduced.points)} "
                f"points are too few to tell whether it is closed"
            )
        cavity = _cavity(measured.distances)
        if cavity > CAVITY:
            return Shape.UNDECIDED, (
                f"it has two dimensions and encloses a cavity, which lasts "
                f"{cavity:.1f} times its birth"
            )
    if simplex is not None and not simplex.is_far:
        return Shape.UNDECIDED, (
            f"it has two dimensions and no loop, but lies between a triangle and a "
            f"round plane: the largest triangle fills {simplex.filled:.0%} of it"
        )
    return Shape.PLANE, "it has two dimensions and no loop"


def _cavity(distances: Numbers) -> float:
    bars = find_bars(distances, dim=2)
    return float((bars[:, 1] / bars[:, 0]).max(initial=1.0))


def _body(local: LocalDimension, simplex: Inscribed | None) -> Verdict:
    said = f"it has {local.participation:.1f} local dimensions"
    if simplex is not None and simplex.fits:
        return Shape.UNDECIDED, f"{said} and corners, but also loops"
    return Shape.CLOUD, f"{said} and no corners to speak of"


def _evidence(
    states: States,
    measured: _Measured,
    simplex: Inscribed | None,
    shape: Shape,
    reason: str,
    size: float,
) -> ShapeEvidence:
    loops = _loops_of(measured)[:KEPT_LOOPS] * size
    corners = simplex.corners if simplex is not None else []
    return ShapeEvidence(
        shape,
        reason,
        points=len(states),
        landmarks=len(measured.rows),
        dimension=measured.local.agreed,
        participation=measured.local.participation,
        local_axes=measured.local.axes,
        gap=float("nan"),
        slow_modes=0,
        angle=float("nan"),
        loops=torch.from_numpy(loops),
        longest_edge=float(measured.edges[0]) * size,
        leaves=measured.leaves,
        places=measured.places,
        filled=simplex.filled if simplex is not None else float("nan"),
        held=simplex.held if simplex is not None else float("nan"),
        corners=states[corners].detach(),
        homology=measured.loops is not None,
    )


def _loops_of(measured: _Measured) -> Numbers:
    return np.zeros((0, 2)) if measured.loops is None else measured.loops.copy()
