"""Time, memory, steps, and the speed of the machine's LU."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar
from unittest import mock

import torch
from _nets import Net
from torch import Tensor

from captum_dynamics._linalg import LARGEST_SAFE_BATCHED_LU
from captum_dynamics.solvers import (
    Dogleg,
    IterativeSolver,
    LevenbergMarquardt,
    NewtonKrylov,
)

# Seconds between two looks at the memory: at first, and when a run lasts, so that
# looking costs nothing that counts.
SHORTEST, LONGEST = 1e-3, 2e-2
LOOKS = 200  # in the time so far
LU_BYTES = 32 * 2**20  # of the matrices factored at once, as in a search
LU_SECONDS = 0.2
Result = TypeVar("Result")


@dataclass
class Stopwatch:
    """Seconds of every timed run, by the wall and by the processor."""

    wall: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)

    def time(self, run: Callable[[], Result]) -> Result:
        """Run once; a run that raises is not counted."""
        gc.collect()
        wall, processor = time.perf_counter(), time.process_time()
        result = run()
        self.processor.append(time.process_time() - processor)
        self.wall.append(time.perf_counter() - wall)
        return result


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in the block after some seconds, where signals allow it."""
    if not hasattr(signal, "SIGALRM"):
        yield
        return

    def stop(*_: Any) -> None:
        raise TimeoutError(f"> {seconds:g} s")

    before = signal.signal(signal.SIGALRM, stop)
    # Again every second: an exception may be lost, as in the middle of a destructor.
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class PeakMemory:
    """Largest resident memory in the block above that before it, by a thread.

    A thread costs a little time: only what runs for seconds is timed in this block.
    """

    def __init__(self) -> None:
        self.mebibytes = float("nan")
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._before = self._most = 0

    def __enter__(self) -> PeakMemory:
        _return_free_memory()
        self._before = self._most = resident_bytes()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        if self._before:
            self.mebibytes = (self._most - self._before) / 2**20

    def _watch(self) -> None:
        began, pause = time.perf_counter(), SHORTEST
        while not self._ended.wait(pause):
            self._most = max(self._most, resident_bytes())
            lasted = time.perf_counter() - began
            pause = min(max(SHORTEST, lasted / LOOKS), LONGEST)


def resident_bytes() -> int:
    """Resident memory of this process; 0 where the system does not say."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


@contextlib.contextmanager
def counted_rows() -> Iterator[list[int]]:
    """Collect the rows of every update of our trust-region solvers in the block.

    `steps` of a result counts a shared polish once a start; this counts what was done.
    """
    rows: list[int] = []
    with contextlib.ExitStack() as stack:
        for solver in (Dogleg, NewtonKrylov, LevenbergMarquardt):
            patch = mock.patch.object(solver, "update", _counting(solver, rows))
            stack.enter_context(patch)
        yield rows


def lu_seconds(net: Net, starts: Tensor) -> float:
    """Seconds of one float32 LU of J - I at the starts, in batches as a search's.

    An LSTM is searched in h alone, so that its matrices are of half the state's width.
    """
    dynamics, states = net.dynamics, starts
    if dynamics.reduction is not None:
        states = dynamics.reduction.restrict(states)
        dynamics = dynamics.reduction.dynamics
    width = dynamics.state_dim
    states = states[: max(1, LU_BYTES // (4 * width**2))].float()
    inputs = net.inputs.float().expand(len(states), -1)
    with torch.no_grad():
        slopes = dynamics.tangent(states, inputs).jacobians()
    slopes.diagonal(dim1=-2, dim2=-1).sub_(1)
    # The batched form is broken above this width where there are threads.
    alone = width > LARGEST_SAFE_BATCHED_LU and torch.get_num_threads() > 1
    batches = list(slopes.mT) if alone else [slopes.mT]
    return best_seconds(lambda: _factor(batches)) / len(states)


def best_seconds(run: Callable[[], object]) -> float:
    """Least time of repeated runs, after one that warms up."""
    run()
    best, ends = float("inf"), time.perf_counter() + LU_SECONDS
    while True:
        began = time.perf_counter()
        run()
        now = time.perf_counter()
        best = min(best, now - began)
        if now > ends:
            return best


def _factor(batches: list[Tensor]) -> None:
    for batch in batches:
        torch.linalg.lu_factor_ex(batch)


def _counting(solver: type[IterativeSolver], rows: list[int]) -> Callable[..., Any]:
    update = solver.update

    def counted(own: IterativeSolver, at: Any, states: Tensor, *rest: Any) -> Any:
        rows.append(len(states))
        return update(own, at, states, *rest)

    return counted


def _return_free_memory() -> None:
    """Let freed memory go, or a later method would seem to need none."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
