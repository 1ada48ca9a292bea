"""Bounded memory, visible progress, other workers: how long work is cut and done."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, as_completed
from typing import Any, TypeVar

from tqdm import tqdm

BUDGET = 512 * 2**20  # bytes a batched step may hold at once
LARGEST_UNIT = 1024  # rows a worker is given at once, so that there is work for several
Item = TypeVar("Item")
Result = TypeVar("Result")


def row_chunks(rows: int, bytes_per_row: int, budget: int = BUDGET) -> Iterator[slice]:
    """Cut `rows` into slices that fit the budget; boundaries depend on nothing else."""
    size = max(1, budget // max(1, bytes_per_row))
    for start in range(0, rows, size):
        yield slice(start, min(start + size, rows))


def work_units(rows: int, bytes_per_row: int, budget: int = BUDGET) -> list[slice]:
    """Cut `rows` into what one worker does at once; nothing else decides where."""
    return list(row_chunks(rows, max(bytes_per_row, budget // LARGEST_UNIT), budget))


def run_units(
    task: Callable[..., Result],
    units: Sequence[tuple[Any, ...]],
    executor: Executor | None,
    *,
    show: bool,
    desc: str,
) -> list[Result]:
    """Call `task` on the arguments of every unit, here or by an executor's workers.

    Results come in the order of the units. What a pool could not do because one of its
    workers died is done here instead.
    """
    if executor is None:
        return [task(*unit) for unit in progress(units, show=show, desc=desc)]
    futures = [executor.submit(task, *unit) for unit in units]
    try:
        done = as_completed(futures)
        for _ in progress(done, show=show, desc=desc, total=len(units)):
            pass
        pairs = zip(futures, units, strict=True)
        return [_result(future, task, unit) for future, unit in pairs]
    finally:
        for future in futures:
            future.cancel()


def _result(future: Any, task: Callable[..., Result], unit: tuple[Any, ...]) -> Result:
    try:
        done: Result = future.result()
    except BrokenExecutor:
        return task(*unit)
    return done


def progress(
    items: Iterable[Item], *, show: bool, desc: str, total: int | None = None
) -> Iterable[Item]:
    """Return `items` behind a progress bar where `show` is set."""
    bar: Iterable[Item] = tqdm(
        items, desc=desc, total=total, disable=not show, leave=False
    )
    return bar
