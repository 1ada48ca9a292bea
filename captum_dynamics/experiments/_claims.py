"""What a paper says, what we find, and whether that is the same."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import Enum


class Verdict(Enum):
    """Whether a number of ours supports the claim.

    `REPORTED` judges nothing: no bound was set before the run. `HOLDS` and `FAILS` are
    of checks of our own, which no paper claims.
    """

    REPRODUCED = "reproduced"
    NOT_REPRODUCED = "not reproduced"
    REPORTED = "reported"
    HOLDS = "check holds"
    FAILS = "check fails"


@dataclass(frozen=True)
class Claim:
    """One row of a table: the paper's number, ours, and the verdict.

    Attributes:
        what: the quantity, with the net it is of.
        paper: the paper's number as text, empty where it has none.
        ours: our number, as it is shown.
        wanted: the bound that was set before the run, empty where none was.
        verdict: whether ours is within the bound.
        note: what a reader must know, such as the likely reason of a failure.
        value: our number in full; NaN where it is no number.
    """

    what: str
    paper: str
    ours: str
    wanted: str
    verdict: Verdict
    note: str = ""
    value: float = math.nan


def at_least(
    what: str,
    ours: float,
    bound: float,
    *,
    paper: str = "",
    form: str = ".3g",
    note: str = "",
) -> Claim:
    """Claim that a number reaches a bound; NaN does not.

    Args:
        what: the quantity.
        ours: our number.
        bound: smallest number that counts.
        paper: the paper's number.
        form: how numbers are written, as in `format(number, form)`.
        note: what a reader must know.
    """
    return _bounded(what, ours, f"≥ {bound:{form}}", ours >= bound, paper, form, note)


def at_most(
    what: str,
    ours: float,
    bound: float,
    *,
    paper: str = "",
    form: str = ".3g",
    note: str = "",
) -> Claim:
    """Claim that a number stays below a bound; NaN does not. See `at_least`."""
    return _bounded(what, ours, f"≤ {bound:{form}}", ours <= bound, paper, form, note)


def within(
    what: str,
    ours: float,
    low: float,
    high: float,
    *,
    paper: str = "",
    form: str = ".3g",
    note: str = "",
) -> Claim:
    """Claim that a number lies between two bounds; NaN does not. See `at_least`."""
    wanted = f"{low:{form}} to {high:{form}}"
    return _bounded(what, ours, wanted, low <= ours <= high, paper, form, note)


def holds(
    what: str, ours: str, is_so: bool, *, wanted: str, paper: str = "", note: str = ""
) -> Claim:
    """Claim something that is no number.

    Args:
        what: what is looked at.
        ours: what we find.
        is_so: whether that is what was wanted.
        wanted: what was wanted.
        paper: what the paper finds.
        note: what a reader must know.
    """
    return Claim(what, paper, ours, wanted, _verdict(is_so), note)


def check(claim: Claim) -> Claim:
    """Make a claim a check of ours, which does not count as one of the paper."""
    holding = claim.verdict is Verdict.REPRODUCED
    return replace(claim, verdict=Verdict.HOLDS if holding else Verdict.FAILS)


def reported(
    what: str, ours: float | str, *, paper: str = "", form: str = ".3g", note: str = ""
) -> Claim:
    """Set a number beside the paper's, without a bound. See `at_least`."""
    if isinstance(ours, str):
        return Claim(what, paper, ours, "", Verdict.REPORTED, note)
    return Claim(what, paper, _shown(ours, form), "", Verdict.REPORTED, note, ours)


def _bounded(
    what: str,
    ours: float,
    wanted: str,
    is_so: bool,
    paper: str,
    form: str,
    note: str,
) -> Claim:
    return Claim(what, paper, _shown(ours, form), wanted, _verdict(is_so), note, ours)


def _shown(number: float, form: str) -> str:
    return "none" if math.isnan(number) else f"{number:{form}}"


def _verdict(is_so: bool) -> Verdict:
    return Verdict.REPRODUCED if is_so else Verdict.NOT_REPRODUCED
