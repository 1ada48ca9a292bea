"""Events between two points of a branch: narrowed by bisection, then solved for."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from captum_dynamics import _linalg
from captum_dynamics._typing import OneState
from captum_dynamics.continuation._arclength import Place, correct, place_at
from captum_dynamics.continuation._branches import Event, EventKind
from captum_dynamics.continuation._extended import (
    branch_point,
    multiplier_at,
    pair_on_circle,
)
from captum_dynamics.continuation._path import OnePlace, Path

MOST_HALVINGS = 40
FEW_HALVINGS = 8
MOST_EVENTS = 8  # in one step
COARSE = 1e-5  # length of a bracket from where Newton's method may solve the rest
FINE = 1e-9  # length of a bracket where it could not: a corner, or several at once
APART = 1e-5  # events closer than this are taken for one
STRAYED = 0.5  # share of a step by which it may leave its prediction
# A bracket that stays wider than this has a jump to another curve in it.
WIDEST_JUMP = 1e-4
WIDEST_CORNER = 1e-6
# Distance of a multiplier from its value at an event that counts as being there.
NEAR = 1e-5


Solved = tuple[OnePlace, complex, OneState | None]


@dataclass(frozen=True, eq=False)
class Located:
    """An event at z; a branch point has the tangents of both curves through it."""

    event: Event
    z: OnePlace
    left: OneState | None = None  # of a branch point: w with w dg/dz = 0
    tangents: tuple[OnePlace, ...] = ()  # the followed curve's own, the other's


def locate(
    path: Path, left: Place, right: Place, row: int, atol: float
) -> list[Located] | None:
    """Find the events between two neighbours; None where no one curve joins them."""
    found: list[Located] = []
    along = left.tangent + right.tangent
    while left.label != right.label:
        before, after = _narrow(path, left, right, COARSE, atol)
        beyond = _beyond(path, after, right, atol)
        kind, corner = _kind(before, beyond), corner_kind(before, beyond)
        located = _refine(path, kind, corner, (before, after), row, atol)
        if located is None or len(found) == MOST_EVENTS:
            return None
        found.append(_with_tangents(path, located, along))
        left = beyond
    return found


def _narrow(
    path: Path, left: Place, right: Place, width: float, atol: float
) -> tuple[Place, Place]:
    """Halve the bracket in which the label changes first."""
    whole = (right.z - left.z).norm()
    for turn in range(MOST_HALVINGS):
        gap = (right.z - left.z).norm()
        # Halving that does not shorten the bracket shows a jump.
        jumps = turn >= FEW_HALVINGS and float(gap / whole) > 0.5 ** (turn / 2)
        if float(gap) <= width or jumps:
            break
        middle = _step(path, left, float(gap / 2), atol)
        if middle is None:
            break  # so close to a branch point that its neighbours are singular too
        if middle.label == left.label:
            left = middle
        else:
            right = middle
    return left, right


def _beyond(path: Path, after: Place, right: Place, atol: float) -> Place:
    """A little further on: what changes in one place is told together there."""
    for length in (APART, 10 * APART):
        if float((right.z - after.z).norm()) <= 2 * length:
            return right
        place = _step(path, after, length, atol)
        if place is not None:
            return place
    return after


def _step(path: Path, place: Place, length: float, atol: float) -> Place | None:
    """One step along the branch; None where it leaves it."""
    guess = place.z + length * place.tangent
    z = correct(path, guess, place.tangent, atol)
    if z is None or float((z - guess).norm()) > STRAYED * length:
        return None
    return place_at(path, z, place.tangent)


def _refine(
    path: Path,
    kind: EventKind,
    corner: EventKind,
    bracket: tuple[Place, Place],
    row: int,
    atol: float,
) -> Located | None:
    """Solve for the event in a narrow bracket; None where there is a jump instead."""
    size = 1 + float(bracket[0].z.norm())
    if _gap(*bracket) > WIDEST_JUMP * size:
        return None
    solved = _solve(path, kind, *bracket)
    if solved is None:
        bracket = _narrow(path, *bracket, FINE, atol)
        if _gap(*bracket) > WIDEST_CORNER * size:
            return None
        solved = bracket[0].z, _on_circle(kind, bracket[0]), None
    z, target, left = solved
    values = _linalg.sorted_eigen(path.jacobian(z)[None])[0][0]
    distances = (values - target).abs()
    multiplicity = int((distances <= NEAR).sum()) if kind != EventKind.CORNER else 0
    if multiplicity == 0:
        z = crossing(*bracket)
    event = Event(
        kind=kind if multiplicity else corner,
        row=row,
        state=path.states(z[None])[0],
        parameter=path.parameter(float(z[-1])),
        multiplier=complex(values[int(distances.argmin())]),
        multiplicity=multiplicity,
        residual_norm=float(path.residuals(z[None]).norm()),
    )
    return Located(event, z, left)


def _gap(before: Place, after: Place) -> float:
    return float((after.z - before.z).norm())


def _solve(path: Path, kind: EventKind, before: Place, after: Place) -> Solved | None:
    """Solve an extended system; None where the solution is not in the bracket."""
    middle = (before.z + after.z) / 2
    solved = _extended(path, kind, middle, _on_circle(kind, before))
    reach = NEAR * (1 + float(middle.norm())) + 10 * _gap(before, after)
    if solved is None or float((solved[0] - middle).norm()) > reach:
        return None
    return solved


def _extended(
    path: Path, kind: EventKind, near: OnePlace, target: complex
) -> Solved | None:
    """z of the event, its multiplier, and w of a branch point."""
    if kind == EventKind.CORNER:
        return None
    if kind == EventKind.BRANCH_POINT:
        both = branch_point(path, near)
        return None if both is None else (both[0], target, both[1])
    if kind == EventKind.NEIMARK_SACKER:
        pair = pair_on_circle(path, near, target)
        return None if pair is None else (*pair, None)
    z = multiplier_at(path, near, target.real)
    return None if z is None else (z, target, None)


def _on_circle(kind: EventKind, before: Place) -> complex:
    """The multiplier that an event is about, or a first guess of it."""
    if kind == EventKind.NEIMARK_SACKER:
        multiplier = _leaving(before)
        return multiplier / abs(multiplier)
    return -1 + 0j if kind == EventKind.FLIP else 1 + 0j


def _kind(before: Place, after: Place) -> EventKind:
    crossed_one = before.above_one % 2 != after.above_one % 2
    turned = before.heading != after.heading
    if turned and 0 in (before.heading, after.heading):
        return EventKind.CORNER  # no smooth curve becomes a straight one
    if crossed_one and turned:
        return EventKind.FOLD
    if crossed_one or turned:
        return EventKind.BRANCH_POINT
    if before.below_minus_one % 2 != after.below_minus_one % 2:
        return EventKind.FLIP
    multiplier = _leaving(before)
    if multiplier.imag:
        return EventKind.NEIMARK_SACKER
    # Two real ones at once, as in copies of one map side by side.
    return EventKind.BRANCH_POINT if multiplier.real > 0 else EventKind.FLIP


def corner_kind(before: Place, after: Place) -> EventKind:
    """What a kink of the map is to the branch: its end in s, or only a bend."""
    back = before.heading * after.heading < 0
    return EventKind.CORNER_FOLD if back else EventKind.CORNER


def crossing(last: Place, place: Place) -> OnePlace:
    """Where the tangents of both sides of a kink pass each other most closely."""
    between = place.z - last.z
    first, second = last.tangent, place.tangent
    cosine = first @ second
    ahead = (first @ between - cosine * (second @ between)) / (1 - cosine**2)
    near = bool(ahead.abs() <= between.norm())
    return last.z + ahead * first if near else last.z


def _leaving(place: Place) -> complex:
    """The multiplier nearest to the unit circle; of a pair the upper one."""
    row = int((place.multipliers.abs() - 1).abs().argmin())
    found = complex(place.multipliers[row])
    return complex(found.real, abs(found.imag))


def _with_tangents(path: Path, at: Located, along: OnePlace) -> Located:
    """Add the tangents of the two curves through a branch point, if there are two.

    They are the null directions of w D^2g [u, u] in the kernel of dg/dz (Keller 1977,
    in Rabinowitz, Applications of Bifurcation Theory). The one nearer to `along` is
    that of the followed curve: right at the point its tangent cannot be told.
    """
    simple = at.event.kind == EventKind.BRANCH_POINT and at.event.multiplicity == 1
    if at.left is None or not simple:
        return at
    basis = torch.linalg.svd(path.derivative(at.z))[2][-2:]
    form = _second_differences(path, at.z, at.left, basis)
    values, axes = torch.linalg.eigh(form)
    if not bool(values[0] < 0) or not bool(values[1] > 0):
        return at
    first, second = values[1].sqrt() * axes[:, 0], (-values[0]).sqrt() * axes[:, 1]
    pair = [side @ basis for side in (first + second, first - second)]
    pair = [side / side.norm() for side in pair]
    own, other = sorted(pair, key=lambda side: -abs(float(side @ along)))
    return replace(at, tangents=(own, other))


def _second_differences(
    path: Path, z: OnePlace, left: OneState, basis: torch.Tensor
) -> torch.Tensor:
    """w D^2g [u_i, u_j] (2, 2) for two directions u."""
    # The fourth root of eps balances the errors of a second difference.
    step = float(torch.finfo(z.dtype).eps) ** 0.25
    form = z.new_zeros(2, 2)
    for i in range(2):
        for j in range(2):
            sums, gaps = basis[i] + basis[j], basis[i] - basis[j]
            around = z + step / 2 * torch.stack([sums, -sums, gaps, -gaps])
            signs = z.new_tensor([1.0, 1.0, -1.0, -1.0])
            form[i, j] = signs @ (path.residuals(around) @ left) / step**2
    return (form + form.T) / 2
