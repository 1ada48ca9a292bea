"""What a check found: one row for each claim, and whether it holds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby


@dataclass(frozen=True)
class CheckRow:
    """One claim: a number that must not exceed a limit.

    Attributes:
        name: what is claimed.
        value: what was measured; NaN where the check itself failed.
        limit: the largest value that is still right.
        note: what went wrong, in words, where a number cannot say it.
        check: the check that the claim belongs to, where a report has several.
    """

    name: str
    value: float
    limit: float
    note: str = ""
    check: str = ""

    @property
    def ok(self) -> bool:
        """Whether the claim holds; never for NaN."""
        return self.value <= self.limit


@dataclass(frozen=True)
class CheckReport:
    """The claims about one adapter or solver; `print` shows them as a table."""

    subject: str
    rows: tuple[CheckRow, ...]

    @property
    def passed(self) -> bool:
        """Whether there are claims, and all hold."""
        return bool(self.rows) and all(row.ok for row in self.rows)

    @property
    def failed(self) -> tuple[str, ...]:
        """Names of the checks, or of the claims of none, of which a claim fails."""
        names = [row.check or row.name for row in self.rows if not row.ok]
        return tuple(dict.fromkeys(names))

    def table(self) -> str:
        """One line a claim, failing ones marked, under the check it belongs to.

        Example:
            >>> rows = (CheckRow("one step", 2e-13, 1e-12), CheckRow("mode", 1.0, 0.0))
            >>> print(CheckReport("GRU", rows).table())
            GRU: 1 of 2 claims hold
              ok    one step  2.0e-13 <= 1.0e-12
              FAIL  mode      1.0e+00 <= 0.0e+00
        """
        held = sum(row.ok for row in self.rows)
        width = max((len(row.name) for row in self.rows), default=0)
        lines = [f"{self.subject}: {held} of {len(self.rows)} claims hold"]
        for check, rows in groupby(self.rows, key=lambda row: row.check):
            lines += [check] if check else []
            lines += _lines(list(rows), width)
        return "\n".join(lines)

    def __str__(self) -> str:
        """The table."""
        return self.table()


def _lines(rows: list[CheckRow], width: int) -> Iterator[str]:
    for row in rows:
        mark = "ok  " if row.ok else "FAIL"
        line = f"  {mark}  {row.name:{width}}  {row.value:.1e} <= {row.limit:.1e}"
        yield f"{line}  {row.note}".rstrip()
