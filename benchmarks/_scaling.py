"""How our time grows with the number of starts, and with the width of the layer."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from _compare import Settings
from _measure import PeakMemory, Stopwatch, counted_rows, time_limit
from _nets import Net, flipflop_net, random_net

import captum_dynamics as cd

STARTS = tuple(2**power for power in range(8, 17))
WIDTHS = tuple(2**power for power in range(4, 12))
WIDTH_STARTS = 16
# Recurrent weights in units of torch's: a random layer has one point, and no search
# fails, so that widths differ by their cost alone.
WIDTH_GAINS = {"tanh": 1.5, "gru": 3.0}
REPEATED_SECONDS = 2.0  # within which a size is measured again


@dataclass
class Size:
    """One size on a curve."""

    size: int
    seconds: float
    mebibytes: float
    steps: float
    points: int
    starts: int


@dataclass
class Curve:
    """Sizes measured so far, and the power law through them."""

    name: str
    axis: str
    about: str
    sizes: list[Size] = field(default_factory=list)
    failure: str = ""

    def exponent(self, sizes: Sequence[Size]) -> float:
        """Slope of log seconds over log size; NaN for fewer than two sizes."""
        if len(sizes) < 2:
            return math.nan
        logs = np.log([[s.size, s.seconds] for s in sizes])
        return float(np.polyfit(logs[:, 0], logs[:, 1], 1)[0])

    def lines(self) -> list[str]:
        """A heading, a table, and the exponents."""
        columns = "seconds | ms / start | peak MiB | steps / start | fixed points"
        lines = [f"### {self.name}", "", self.about, ""]
        lines.append(f"| {self.axis} | {columns} |")
        lines.append("|" + " --- |" * 6)
        for s in self.sizes:
            lines.append(
                f"| {s.size} | {s.seconds:.3g} | {1000 * s.seconds / s.starts:.3g} | "
                f"{s.mebibytes:.0f} | {s.steps:.1f} | {s.points} |"
            )
        half = self.sizes[len(self.sizes) // 2 :]
        lines += [
            "",
            f"seconds ~ {self.axis} ^ {self.exponent(self.sizes):.2f}; "
            f"^ {self.exponent(half):.2f} over the larger half",
        ]
        return [*lines, "", self.failure] if self.failure else lines


@dataclass(frozen=True)
class CurveRecipe:
    """A curve that is measured when its turn comes: sizes, and the net of each."""

    name: str
    axis: str
    about: str
    sizes: tuple[int, ...]
    build: Callable[[int], tuple[Net, int]]


def curve_recipes(cache: Path) -> list[CurveRecipe]:
    """Starts on two trained GRUs; widths of random layers."""
    recipes = []
    for width in (16, 64):
        more = partial(_more, width, cache)
        about = f"Our default search of a flip-flop GRU of {width} units."
        name = f"scaling-starts-gru-{width}"
        recipes.append(CurveRecipe(name, "starts", about, STARTS, more))
    for cell, gain in WIDTH_GAINS.items():
        wider = partial(_wider, cell, gain)
        about = (
            f"Our default search of a random {cell} layer from {WIDTH_STARTS} starts; "
            f"recurrent weights {gain:g} times torch's."
        )
        name = f"scaling-width-{cell}"
        recipes.append(CurveRecipe(name, "width", about, WIDTHS, wider))
    return recipes


def measure_curve(
    recipe: CurveRecipe,
    settings: Settings,
    along: Callable[[Iterable[int]], Iterable[int]],
) -> Curve:
    """Measure size after size, until one takes longer than the limit.

    Args:
        recipe: the curve.
        settings: repeats, and the limit of one run.
        along: shows progress over the sizes it is given.
    """
    curve = Curve(recipe.name, recipe.axis, recipe.about)
    for size in along(recipe.sizes):
        try:
            net, starts = recipe.build(size)
            with time_limit(settings.limit):
                curve.sizes.append(_measured(net, starts, size, settings.repeats))
        except Exception as error:
            curve.failure = f"Ended at {size}: {type(error).__name__}: {error}"
            break
    return curve


def _more(width: int, cache: Path, starts: int) -> tuple[Net, int]:
    return flipflop_net("gru", width, 0, cache), starts


def _wider(cell: str, gain: float, width: int) -> tuple[Net, int]:
    return random_net(cell, width, gain, WIDTH_STARTS), WIDTH_STARTS


def _measured(net: Net, count: int, size: int, repeats: int) -> Size:
    starts = net.draw_starts(count, seed=0)

    def search() -> cd.FixedPoints:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", cd.ConvergenceWarning)
            found = cd.find_fixed_points(net.dynamics, starts, net.inputs)
        return found.unique()

    began = time.perf_counter()
    with PeakMemory() as memory, counted_rows() as rows:
        points = search()
    first = time.perf_counter() - began
    watch = Stopwatch()
    for _ in range(min(repeats, int(REPEATED_SECONDS / first))):
        watch.time(search)
    return Size(
        size,
        float(np.median(watch.wall or [first])),
        memory.mebibytes,
        sum(rows) / count,
        int((points.kind == cd.Kind.FIXED).sum()),
        count,
    )
