"""Following one branch, step by step, until it ends."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from captum_dynamics.continuation._arclength import Place, correct, place_at
from captum_dynamics.continuation._branches import BranchEnd, EventKind
from captum_dynamics.continuation._kinks import turn_at_kink
from captum_dynamics.continuation._locate import Located, locate
from captum_dynamics.continuation._path import OnePlace, Path

# A step is refused where the curve bends by more than acos 0.9 = 26 degrees in it, or
# leaves the prediction by more than 0.3 of it: it may have come to another curve. It is
# made longer where the curve bends by less than 8 degrees.
BENT, STRAIGHT = 0.9, 0.99
STRAYED = 0.3
SHORTER, LONGER = 0.5, 1.5
# A step may still turn by a right angle when it is this much above the shortest one:
# such a short one is at a kink of the map.
KINK = 10.0
SAME = 1e-6  # distance within which two branch points are one


@dataclass(frozen=True)
class Pace:
    """How a branch is followed."""

    min_step: float
    max_step: float
    max_steps: int
    max_norm: float
    atol: float


@dataclass(frozen=True, eq=False)
class Trace:
    """A branch as it was followed, with where and how it left another one."""

    places: tuple[Place, ...]
    located: tuple[Located, ...]
    end: BranchEnd
    origin: Place | None = None  # a branch point, with the tangent taken there
    parent: int = -1


def same_place(a: OnePlace, b: OnePlace) -> bool:
    """Whether two solutions are one."""
    return bool((a - b).norm() <= SAME * (1 + a.norm()))


def follow(
    path: Path, first: Place, pace: Pace, *, origin: Place | None = None
) -> Trace:
    """Follow the curve from one place on, along its tangent; no tangent, no curve."""
    if not bool(first.tangent.any()):
        return Trace((first,), (), BranchEnd.STEP_UNDERFLOW)
    places, located = [first], list[Located]()
    step, end = pace.max_step, BranchEnd.MAX_STEPS
    for _ in range(pace.max_steps):
        last, row = places[-1], len(places) - 1
        size = 1 + float(last.z.norm())
        if size > pace.max_norm:
            end = BranchEnd.DIVERGED
            break
        step = min(step, pace.max_step * size)
        ahead = _advance(path, last, step, pace)
        events = None if ahead is None else _between(path, last, ahead, row, pace)
        if ahead is None or events is None:
            step *= SHORTER
            if step >= pace.min_step:
                continue
            turned = turn_at_kink(path, last, row, pace.min_step, pace.atol)
            if turned is None:
                end = BranchEnd.STEP_UNDERFLOW
                break
            ahead, events, step = turned[0], [turned[1]], pace.max_step
        located += events
        if origin is not None and _closes(events, origin):
            places.append(origin)
            end = BranchEnd.CLOSED
            break
        places.append(ahead)
        if ahead.s in (0.0, 1.0):
            end = BranchEnd.REACHED if ahead.s == 1.0 else BranchEnd.RETURNED
            break
        if float(ahead.tangent @ last.tangent) > STRAIGHT:
            step *= LONGER
    return Trace(tuple(places), tuple(located), end, origin)


def _between(
    path: Path, last: Place, ahead: Place, row: int, pace: Pace
) -> list[Located] | None:
    """The events of one step; a start that is at a fold itself is none."""
    if row == 0 and last.heading == 0:
        return []
    return locate(path, last, ahead, row, pace.atol)


def _closes(events: list[Located], origin: Place) -> bool:
    return any(
        at.event.kind == EventKind.BRANCH_POINT and same_place(at.z, origin.z)
        for at in events
    )


def _advance(path: Path, last: Place, step: float, pace: Pace) -> Place | None:
    """Predict and correct once; None where the result may be on another curve."""
    guess = last.z + step * last.tangent
    normal = last.tangent
    if not 0 < float(guess[-1]) < 1:
        guess, normal = _at_the_border(last.z, guess)
    z = correct(path, guess, normal, pace.atol)
    if z is not None and not 0 <= float(z[-1]) <= 1:
        guess, normal = _at_the_border(last.z, z)
        z = correct(path, guess, normal, pace.atol)
    if z is None:
        return None
    if normal is not last.tangent:
        z[-1] = guess[-1]  # the border itself, which rounding may miss
    kink = step < KINK * pace.min_step
    length = float((guess - last.z).norm())
    if not kink and float((z - guess).norm()) > STRAYED * max(length, pace.min_step):
        return None
    ahead = place_at(path, z, last.tangent)
    if ahead is None or kink:
        return ahead
    bent = float(ahead.tangent @ last.tangent) < BENT
    return None if bent else ahead


def _at_the_border(last: OnePlace, beyond: OnePlace) -> tuple[OnePlace, OnePlace]:
    """Where the way to `beyond` leaves the path, and the direction across s."""
    border = 1.0 if float(beyond[-1]) >= 1 else 0.0
    whole = float(beyond[-1] - last[-1])
    share = (border - float(last[-1])) / whole if whole else 0.0
    guess = last + share * (beyond - last)
    guess[-1] = border
    across = torch.zeros_like(last)
    across[-1] = 1
    return guess, across
