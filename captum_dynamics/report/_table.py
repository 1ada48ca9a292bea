"""Numbers as text, and tables of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

LIMIT = 200  # rows of a table: a page is to be read


@dataclass(frozen=True)
class Table:
    """The numbers behind a picture, ready to be shown.

    Attributes:
        columns: headings.
        rows: texts of the cells.
        left_out: number of further rows that are not shown.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left_out: int = 0


def table(
    columns: Sequence[str], *values: Sequence[object], limit: int = LIMIT
) -> Table:
    """Build a table from its columns, and leave out what is beyond the limit."""
    count = min(map(len, values), default=0)
    shown = zip(*(column[:limit] for column in values), strict=False)
    rows = tuple(tuple(cell(value) for value in row) for row in shown)
    return Table(tuple(columns), rows, max(0, count - limit))


def cell(value: object) -> str:
    """Write a value as a reader expects it."""
    return number(value) if isinstance(value, float) else str(value)


def number(value: float) -> str:
    """Write a number to four digits; say in words what is no number.

    Example:
        >>> [number(v) for v in (0.0, 12.0, 0.123456, 1.5e-9, float("inf"))]
        ['0', '12', '0.1235', '1.5e-09', 'infinite']
        >>> number(float("nan"))
        'not defined'
    """
    if math.isnan(value):
        return "not defined"
    if math.isinf(value):
        return "infinite" if value > 0 else "-infinite"
    return f"{value:.4g}"


def decay(steps: float) -> str:
    """Write how long the slowest mode lasts, or say that it or all do not decay.

    Example:
        >>> [decay(v) for v in (9.5, float("inf"), float("nan"))]
        ['9.5', 'does not decay', 'none decays']
    """
    if math.isnan(steps):
        return "none decays"
    return "does not decay" if math.isinf(steps) else number(steps)


def share(value: float) -> str:
    """Write a share in percent."""
    return f"{value:.0%}" if math.isfinite(value) else number(value)
