"""One net, all methods: interleaved runs on the same starts, and what they found."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from _measure import PeakMemory, Stopwatch, counted_rows, lu_seconds, time_limit
from _methods import Found, Method, Ours
from _nets import Net, Recipe
from _truth import Score, known_points, score
from torch import Tensor

import captum_dynamics as cd

REPEATED_SECONDS = 3.0  # of one method on one net, within which it is run again
MOST_DECOMPOSED = 16  # points, when an eigendecomposition is timed


@dataclass(frozen=True)
class Settings:
    """How often, from where, and for how long at most."""

    starts: int
    repeats: int
    limit: float


@dataclass
class Run:
    """What one method did on one net.

    Attributes:
        watch: the timed runs.
        mebibytes: peak of resident memory above what was there before.
        point_steps: rows that all updates of our trust-region solvers were given.
        found: what it returned, until it has been scored.
        score: what it found, or None where it failed.
        failure: why it failed.
        notes: what else was measured, by name.
    """

    method: str
    watch: Stopwatch = field(default_factory=Stopwatch)
    mebibytes: float = float("nan")
    point_steps: int = 0
    found: Found | None = None
    score: Score | None = None
    failure: str = ""
    notes: dict[str, float] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """Median time."""
        return statistics.median(self.watch.wall)


@dataclass
class Comparison:
    """All methods on one net."""

    net: str
    width: int = 0
    starts: int = 0
    known: int = 0
    runs: list[Run] = field(default_factory=list)
    failure: str = ""


def compare(
    recipe: Recipe,
    methods: Sequence[Method],
    settings: Settings,
    report: Callable[[str], None],
) -> Comparison:
    """Measure a net; what fails says why in its place, and the rest goes on."""
    result = Comparison(recipe.name)
    try:
        report("build")
        net = recipe.build()
        starts = net.draw_starts(settings.starts, seed=0)
        result.width, result.starts = net.dynamics.state_dim, len(starts)
        result.runs = _run_all(net, starts, methods, settings, report)
        report("known points")
        found = [run.found for run in result.runs if run.found is not None]
        known = known_points(net, starts, found)
        result.known = len(known)
        for run in result.runs:
            if run.found is not None:
                run.score = score(net, run.found, known)
        _measure_ours(net, starts, result.runs, report)
        for run in result.runs:
            run.found = None  # not needed any more, and there are many nets
    except Exception as error:
        result.failure = _sentence(error)
    return result


def _run_all(
    net: Net,
    starts: Tensor,
    methods: Sequence[Method],
    settings: Settings,
    report: Callable[[str], None],
) -> list[Run]:
    runs = [Run(method.name) for method in methods]
    first = [0.0] * len(runs)
    for place, (method, run) in enumerate(zip(methods, runs, strict=True)):
        report(f"{method.name}, memory")
        first[place] = _first(net, starts, method, run, settings)
    spent = list(first)
    for turn in range(settings.repeats):
        for place, (method, run) in enumerate(zip(methods, runs, strict=True)):
            if run.failure or spent[place] + first[place] > REPEATED_SECONDS:
                continue
            report(f"{method.name}, {turn + 1} of {settings.repeats}")
            _again(net, starts, method, run, settings)
            spent[place] += first[place]
    for run, seconds in zip(runs, first, strict=True):
        if not run.failure and not run.watch.wall:
            run.watch.wall.append(seconds)
    return runs


def _first(
    net: Net, starts: Tensor, method: Method, run: Run, settings: Settings
) -> float:
    """Run once for the memory and the result; what is slow is timed by this run."""
    began = time.perf_counter()
    try:
        search = method.prepare(net, starts)
        with (
            PeakMemory() as memory,
            counted_rows() as counted,
            time_limit(settings.limit),
        ):
            began = time.perf_counter()
            run.found = search()
            seconds = time.perf_counter() - began
        run.mebibytes, run.point_steps = memory.mebibytes, sum(counted)
    except Exception as error:
        run.failure = _sentence(error)
        return time.perf_counter() - began
    return seconds


def _again(
    net: Net, starts: Tensor, method: Method, run: Run, settings: Settings
) -> None:
    try:
        search = method.prepare(net, starts)
        with time_limit(settings.limit):
            run.watch.time(search)
    except Exception as error:
        run.failure = _sentence(error)


def _measure_ours(
    net: Net, starts: Tensor, runs: Sequence[Run], report: Callable[[str], None]
) -> None:
    """Compare the default search with the machine's LU; time its spectra apart.

    Least time with least time, as other work on the machine only ever adds.
    """
    for run in runs:
        if run.method != Ours().name or run.failure or run.found is None:
            continue
        report("LU and spectra")
        run.notes["steps"] = run.point_steps / len(starts)
        factoring = run.point_steps * lu_seconds(net, starts)
        run.notes["lu"] = factoring / min(run.watch.wall)
        fixed = run.found.states[run.found.claimed][:MOST_DECOMPOSED]
        if len(fixed):
            points = cd.find_fixed_points(net.dynamics, fixed, net.inputs)
            began = time.perf_counter()
            cd.linearize(net.dynamics, points)
            run.notes["spectra"] = (time.perf_counter() - began) / len(fixed)


def _sentence(error: Exception) -> str:
    """An error on one line, short enough for a table."""
    text = " ".join(str(error).split()).replace("|", "/")
    if isinstance(error, TimeoutError):
        return text
    return f"{type(error).__name__}: {text}"[:120]


def warm_up(methods: Sequence[Method], net: Net) -> None:
    """Run every method once on little, so that no net pays for what loads late."""
    starts = net.draw_starts(8, seed=0)
    for method in methods:
        try:
            method.prepare(net, starts)()
        except Exception:
            continue  # it fails again, and says so, on every net
    torch.linalg.lu_factor_ex(torch.eye(8)[None])
