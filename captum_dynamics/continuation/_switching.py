"""From a branch point onto the curve that crosses there."""

from __future__ import annotations

from captum_dynamics.continuation._arclength import Place, correct, place_at
from captum_dynamics.continuation._path import OnePlace, Path

SMALLEST_START = 1e-5
LARGEST_ANGLE_COSINE = 0.9


def switch(
    path: Path, z: OnePlace, direction: OnePlace, step: float, atol: float
) -> Place | None:
    """First point beside a branch point, in one direction of the other curve.

    None where no step leads there: two curves are hard to tell apart too close to
    where they cross, and the other one may turn away too soon for a longer step.
    """
    while step >= SMALLEST_START:
        guess = z + step * direction
        found = correct(path, guess, direction, atol)
        if found is not None and float((found - guess).norm()) <= 0.3 * step:
            place = place_at(path, found, direction)
            if place is not None and (
                float(place.tangent @ direction) > LARGEST_ANGLE_COSINE
            ):
                return place
        step /= 2
    return None
