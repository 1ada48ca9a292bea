"""The rules by which measured points are a line, a ring, a surface, or undecided."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from captum_dynamics.topology._persistence import find_bars
from captum_dynamics.topology._shape_measures import Measured
from captum_dynamics.topology._simplex import Inscribed
from captum_dynamics.topology.shapes import LOOP_RATIO, TORUS_RATIO, Shape

Numbers = NDArray[np.float64]
Verdict = tuple[Shape, str]

LEAST_FOR_TORUS = 200
# A loop that is born long after the points have joined is a gap that closes: an arc.
LATEST_BIRTH = 2.0  # times the longest edge of the landmarks' tree
NO_LOOP = 2.0
CAVITY = 1.6  # death / birth: spheres 2 to 3, curved sheets below 1.3
LEAST_FOR_BODY = 200
MANY_DIMS = 2.5  # both counts of local dimensions from here on: surely more than two
OPEN_ENDS = 3.0  # a line's ends are farther apart than this many longest edges
EXTRA = "install the `topology` extra (gudhi) to look for loops"


def decide(measured: Measured) -> Verdict:
    """The shape and the reason for it, in words that follow 'because'."""
    simplex = measured.simplex
    if measured.places > 1:
        return _places(measured)
    dim, local = measured.local.agreed, measured.local
    if dim == 0 and min(local.participation, local.axes) >= MANY_DIMS:
        return _body(measured)
    if dim == 0:
        return Shape.UNDECIDED, (
            f"their local dimension is {local.participation:.1f} by participation and "
            f"{local.axes:g} by wide axes"
        )
    if dim == 1:
        return _curve(measured)
    if simplex is not None and simplex.fits and not _has_loop(measured):
        return _simplex(measured, dim, simplex)
    return _surface(measured, simplex) if dim == 2 else _body(measured)


def _places(measured: Measured) -> Verdict:
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


def _curve(measured: Measured) -> Verdict:
    leaves, longest = measured.leaves, float(measured.edges[0])
    if leaves != 2:
        return Shape.UNDECIDED, f"they have one dimension but {leaves} ends"
    if measured.loops is None:
        if measured.ends > OPEN_ENDS * longest:
            return Shape.LINE, (
                "they have one dimension and two ends, far apart; loops were not "
                "looked for"
            )
        return Shape.UNDECIDED, f"their two ends are close: {EXTRA}"
    births, ratios = _loops(measured)
    early = births <= LATEST_BIRTH * longest
    lasting = int(((ratios > LOOP_RATIO) & early).sum())
    doubtful = int(((ratios > NO_LOOP) & early).sum())
    if lasting == 1 and doubtful == 1:
        return Shape.RING, (
            f"they have one dimension and one loop, which lasts {ratios[0]:.1f} times "
            f"its birth"
        )
    if doubtful == 0 and measured.ends > longest:
        return Shape.LINE, "they have one dimension, two ends and no loop"
    return Shape.UNDECIDED, (
        f"they have one dimension and {doubtful} loops, the strongest of which lasts "
        f"{ratios.max(initial=1.0):.1f} times its birth"
    )


def _loops(measured: Measured) -> tuple[Numbers, Numbers]:
    loops = measured.loops if measured.loops is not None else np.zeros((0, 2))
    births: Numbers = loops[:, 0]
    ratios: Numbers = loops[:, 1] / loops[:, 0]
    return births, ratios


def _has_loop(measured: Measured) -> bool:
    return bool(_loops(measured)[1].max(initial=1.0) > TORUS_RATIO)


def _simplex(measured: Measured, dim: int, simplex: Inscribed) -> Verdict:
    if measured.loops is None:
        return Shape.UNDECIDED, f"they have {dim} dimensions: {EXTRA}"
    return Shape.SIMPLEX, (
        f"they have {dim} dimensions, no loop and {dim + 1} corners, whose simplex "
        f"fills {simplex.filled:.0%} of the hull and holds {simplex.held:.0%} of the "
        f"points"
    )


def _surface(measured: Measured, simplex: Inscribed | None) -> Verdict:
    if measured.loops is None:
        return Shape.UNDECIDED, f"they have two dimensions: {EXTRA}"
    ratios = _loops(measured)[1]
    strong = int((ratios > TORUS_RATIO).sum())
    many = len(measured.reduced.points) // 2 >= LEAST_FOR_TORUS
    if strong == 2 and many:
        return Shape.TORUS, (
            f"they have two dimensions and two loops, which last at least "
            f"{ratios[0]:.1f} and {ratios[1]:.1f} times their births"
        )
    if strong:
        return Shape.UNDECIDED, f"they have two dimensions and {strong} loops"
    if measured.reduced.width > 2:
        if not many:
            return Shape.UNDECIDED, (
                f"they lie on a curved surface, and {len(measured.reduced.points)} "
                f"points are too few to tell whether it is closed"
            )
        cavity = _cavity(measured.distances)
        if cavity > CAVITY:
            return Shape.UNDECIDED, (
                f"they have two dimensions and enclose a cavity, which lasts "
                f"{cavity:.1f} times its birth"
            )
    if simplex is not None and not simplex.is_far:
        return Shape.UNDECIDED, (
            f"they have two dimensions and no loop, but lie between a triangle and a "
            f"round plane: the largest triangle fills {simplex.filled:.0%} of them"
        )
    return Shape.PLANE, "they have two dimensions and no loop"


def _cavity(distances: Numbers) -> float:
    bars = find_bars(distances, dim=2)
    return float((bars[:, 1] / bars[:, 0]).max(initial=1.0))


def _body(measured: Measured) -> Verdict:
    simplex, count = measured.simplex, len(measured.reduced.points)
    said = f"they have {measured.local.participation:.1f} local dimensions"
    if count < LEAST_FOR_BODY:
        return Shape.UNDECIDED, (
            f"{said}, but {count} points are too few to tell a cloud from a surface"
        )
    if simplex is not None and simplex.fits:
        return Shape.UNDECIDED, f"{said} and corners, but also loops"
    if simplex is not None and not simplex.is_far:
        return Shape.UNDECIDED, f"{said}, and corners that are not clear"
    return Shape.CLOUD, f"{said} and no corners to speak of"
