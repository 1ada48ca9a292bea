"""Bounded memory, visible progress, other workers: how long work is cut and done."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import (
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
)
from contextlib import closing, suppress
from queue import SimpleQueue
from typing import Any, TypeVar
from uuid import uuid4

from tqdm import tqdm

from captum_dynamics._parcels import call, owned, pack, unpack
from captum_dynamics.exceptions import ExecutionWarning

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

    Results come in the order of the units. The first error of a unit cancels those that
    wait. What a pool could not do because one of its workers died is done here instead.
    """
    if executor is None:
        return [task(*unit) for unit in progress(units, show=show, desc=desc)]
    results: dict[int, Result] = {}
    with (
        closing(_done_by_workers(task, units, executor)) as done,
        # Units are few and slow: each is shown, however soon after another it ends.
        tqdm(
            total=len(units),
            desc=desc,
            disable=not show,
            leave=False,
            mininterval=0,
            miniters=1,
        ) as bar,
    ):
        for row, result in done:
            results[row] = result
            bar.update()
        left = [row for row in range(len(units)) if row not in results]
        if left:
            _warn_broken(len(left), len(units))
        for row in left:
            results[row] = task(*units[row])
            bar.update()
    return [results[row] for row in range(len(units))]


def _done_by_workers(
    task: Callable[..., Result], units: Sequence[tuple[Any, ...]], executor: Executor
) -> Generator[tuple[int, Result], None, None]:
    """Place and result of each unit as it ends; a pool that breaks leaves some out."""
    send, receive = _post(task, executor)
    sent: dict[Future[Any], int] = {}
    # `as_completed` would wait for ever for what a shutdown cancels.
    ended: SimpleQueue[Future[Any]] = SimpleQueue()
    try:
        with suppress(BrokenExecutor):
            for row, unit in enumerate(units):
                sent[_sent(send, unit)] = row
        for future in sent:
            future.add_done_callback(ended.put)
        for _ in range(len(sent)):
            future = ended.get()
            with suppress(BrokenExecutor):
                yield sent[future], receive(future.result())
    except CancelledError as error:
        raise CancelledError(
            "Work was cancelled that `executor` was given: it was shut down, or its "
            "scheduler was lost. Nothing is kept of this call."
        ) from error
    finally:
        for future in sent:
            future.cancel()


def _sent(
    send: Callable[[tuple[Any, ...]], Future[Any]], unit: tuple[Any, ...]
) -> Future[Any]:
    """Send a unit; an executor that is shut down meanwhile takes none."""
    try:
        return send(owned(unit))
    except RuntimeError as error:
        if "after shutdown" not in str(error):
            raise
        raise CancelledError(str(error)) from error


def _post(
    task: Callable[..., Result], executor: Executor
) -> tuple[Callable[[tuple[Any, ...]], Future[Any]], Callable[[Any], Result]]:
    """How to send a unit to a worker, and how to read what comes back."""
    if isinstance(executor, ProcessPoolExecutor):
        parcel = pack(task)  # once, for all units
        return lambda unit: executor.submit(call, parcel, pack(unit)), unpack
    # dask takes equal work for the same, that of a call just cancelled included.
    name = uuid4().hex
    return lambda unit: executor.submit(_named, name, task, *unit), lambda done: done


def _named(_: str, task: Callable[..., Result], *unit: Any) -> Result:
    return task(*unit)


def _warn_broken(left: int, total: int) -> None:
    warnings.warn(
        f"The pool of workers broke: one of them was killed, or could not start. The "
        f"{left} of {total} units of work that it left are done in this process, with "
        f"the same results. If memory was short, a smaller `budget` needs less of it.",
        ExecutionWarning,
        stacklevel=5,
    )


def progress(
    items: Iterable[Item], *, show: bool, desc: str, total: int | None = None
) -> Iterable[Item]:
    """Return `items` behind a progress bar where `show` is set."""
    bar: Iterable[Item] = tqdm(
        items, desc=desc, total=total, disable=not show, leave=False
    )
    return bar
