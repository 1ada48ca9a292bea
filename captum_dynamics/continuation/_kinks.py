"""Where a branch turns back at a kink of the map: a fold without a multiplier at 1."""

from __future__ import annotations

from captum_dynamics.continuation._arclength import Place, correct, place_at
from captum_dynamics.continuation._branches import Event
from captum_dynamics.continuation._locate import Located, corner_kind, crossing
from captum_dynamics.continuation._path import Path

BEYOND = 100.0  # shortest steps from the kink to where the other side is looked at
JUMP = 1e-4  # relative change of J over such a distance that shows a kink


def turn_at_kink(
    path: Path, last: Place, row: int, min_step: float, atol: float
) -> tuple[Place, Located] | None:
    """Go on along the tangent that the map has on the other side of a kink.

    That way leads back where both pieces of the branch lie on the same side of s. None
    where there is no kink just ahead of `last`, or the way on is not clear.
    """
    reach = BEYOND * min_step * (1 + float(last.z.norm()))
    other = last.z + reach * last.tangent
    here, there = path.jacobian(last.z), path.jacobian(other)
    smallest = JUMP * float(here.norm() + 1)
    if not float((there - here).norm()) > smallest:
        return None
    beyond = place_at(path, other, last.tangent)
    if beyond is None:
        return None
    for tangent in (beyond.tangent, -beyond.tangent):
        z = correct(path, last.z + reach * tangent, tangent, atol)
        if z is None or float((path.jacobian(z) - there).norm()) > smallest:
            continue  # this way lies on the near side of the kink
        place = place_at(path, z, tangent)
        if place is None:
            continue
        kink = crossing(last, place)
        event = Event(
            kind=corner_kind(last, place),
            row=row,
            state=path.states(kink[None])[0],
            parameter=path.parameter(float(kink[-1])),
            multiplier=complex(last.multipliers[0]),
            multiplicity=0,
            residual_norm=float(path.residuals(kink[None]).norm()),
        )
        return place, Located(event, kink)
    return None
