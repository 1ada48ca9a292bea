"""Rows of a comparison as a table of text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

COLUMNS = {
    "method": "",
    "seconds": ".2f",
    "calls": ",d",
    "examples": ",d",
    "delta": ".1e",
    "infidelity": ".3g",
    "sensitivity": ".2g",
    "deletion": ".3f",
    "insertion": ".3f",
    "agreement": ".3f",
}
"""Columns, and how their numbers are written."""


def write_table(rows: Sequence[dict[str, Any]], notes: Sequence[str]) -> str:
    """Columns under their names, then a line for each error and each note."""
    complete = [row for row in rows if "error" not in row]
    cells = [
        list(COLUMNS),
        *([_cell(row, name) for name in COLUMNS] for row in complete),
    ]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in cells
    ]
    errors = [
        f"{row['method']} failed: {row['error']}" for row in rows if "error" in row
    ]
    return "\n".join([*lines, *errors, *notes])


def _cell(row: dict[str, Any], name: str) -> str:
    value = row[name]
    missing = isinstance(value, float) and math.isnan(value)
    return "-" if missing else format(value, COLUMNS[name])
