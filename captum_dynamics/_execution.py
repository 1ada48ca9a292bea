"""Bounded memory and visible progress: how long work is cut and shown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

BUDGET = 512 * 2**20  # bytes a batched step may hold at once
Item = TypeVar("Item")


def row_chunks(rows: int, bytes_per_row: int, budget: int = BUDGET) -> Iterator[slice]:
    """Cut `rows` into slices that fit the budget; boundaries depend on nothing else."""
    size = max(1, budget // max(1, bytes_per_row))
    for start in range(0, rows, size):
        yield slice(start, min(start + size, rows))


def progress(
    items: Iterable[Item], *, show: bool, desc: str, total: int | None = None
) -> Iterable[Item]:
    """Return `items` behind a progress bar where `show` is set."""
    bar: Iterable[Item] = tqdm(
        items, desc=desc, total=total, disable=not show, leave=False
    )
    return bar
