"""Results as Markdown: a table a person can read, with all that led to it."""

from __future__ import annotations

import math
import os
import platform
import statistics
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from _compare import REPEATED_SECONDS, Comparison, Run, Settings
from _methods import PEER_STEPS, PEER_TOLERANCE
from _nets import RANDOM_STARTS, UPDATES
from _scaling import Curve
from _truth import APART, EXACT, LOOSE, SAME, TIGHT

import captum_dynamics as cd

HEAD = (
    "net",
    "d",
    "starts",
    "known",
    "method",
    "seconds (min-max)",
    "runs",
    "x ours",
    "returned",
    f"true, q < {LOOSE:.0e}",
    f"true, q < {TIGHT:.0e}",
    "spurious",
    "peak MiB",
    "steps / start",
    "LU share",
    "spectrum, ms",
)

MADE_BY = "Written by `python benchmarks/fixed_points.py`; see its `--help`."

LEGEND = f"""\
- **d**: width of the state (h and c of an LSTM). **known**: true points, from a search
  of ours with four times as many other starts, and from all that any method returned,
  where it polishes to q < {EXACT:.0e} and is not at rest through saturated gates alone.
- **seconds**: median of the timed runs. The methods take turns in one process; a first
  run of each warms up and tells the peak of memory (resident, above what was there
  before, seen by a thread that looks every 1 to 20 ms), and is the timed one where a
  method is too slow for more. Spectra are not part of it: **spectrum** is `linearize`
  for one point.
- **returned**: distinct states. **true**: known points within {SAME:g} of one of them
  whose q = |F(h) - h|^2 / 2, recomputed in float64, is below the bound. **spurious**:
  states that the method calls fixed, further than {APART:g} from every known point. A
  peer calls fixed what it reports at q < {PEER_TOLERANCE:.0e}; it marks no other.
- **LU share**: time of a float32 LU of the same Jacobians (batched as in a search; of
  half the width for an LSTM) over our time for one step of one start, all included;
  the least of either. Newton's method cannot pass 100 % unless it is spared solves.
- Flip-flops have 3 bits and are trained by {UPDATES} updates, a zero input; the IMDB
  classifiers are the shipped ones at their mean embedding; random GRUs have torch's
  initial weights, the recurrent ones times the x in their name, a zero input, and at
  most {RANDOM_STARTS} starts. UGRNN is a `FunctionAdapter`. Starts mix visited
  states (3/4) and uniform in their box (1/4), the same for every method.
"""

PEER = f"""\
- **peer**: FixedPointFinderTorch, unmodified, on a copy of the layer, float32: joint
  optimisation, learning rate 0.1 for gated layers and 1.0 (its default) for others,
  tol_q {PEER_TOLERANCE:.0e}, at most {PEER_STEPS} iterations, no Jacobians and
  nothing printed. It has no LSTM: a module of ours hands it h and c as one state.
"""


def page(
    comparisons: Sequence[Comparison],
    curves: Sequence[Curve],
    settings: Settings,
    machine: Sequence[str],
) -> str:
    """The whole document."""
    limits = (
        f"starts: up to {settings.starts}; timed runs of each method: up to "
        f"{settings.repeats}, within {REPEATED_SECONDS:g} s; one run is cut off after "
        f"{settings.limit:g} s"
    )
    settled = "\n".join(f"- {line}" for line in (*machine, limits))
    parts = ["# Benchmarks: fixed points", MADE_BY, settled]
    if comparisons:
        parts += ["## Methods", "\n".join(table(comparisons))]
        parts.append("\n".join(summary(comparisons)))
        peer = any(run.method == "peer" for c in comparisons for run in c.runs)
        parts.append(LEGEND + (PEER if peer else ""))
    if curves:
        parts.append("## Scaling")
        parts += ["\n".join(curve.lines()) for curve in curves]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def table(comparisons: Sequence[Comparison]) -> list[str]:
    """One line a net and method."""
    lines = [_line(HEAD), _line(["---"] * len(HEAD))]
    for comparison in comparisons:
        lines += rows(comparison)
    return lines


def rows(comparison: Comparison) -> list[str]:
    """The lines of one net; a failure stands where its numbers would."""
    c = comparison
    if c.failure:
        return [_line([c.net, "", "", "", c.failure, *[""] * (len(HEAD) - 5)])]
    lines = []
    for run in c.runs:
        about = [c.net, str(c.width), str(c.starts), str(c.known), run.method]
        lines.append(_line([*about, *_cells(run, _ours(c))]))
    return lines


def summary(comparisons: Sequence[Comparison]) -> list[str]:
    """What the table says, in one line a method and one about the machine's rest."""
    lines = []
    measured = [c for c in comparisons if not c.failure]
    names = {run.method: None for c in measured for run in c.runs}
    for name in names:
        pairs = [(c, run) for c in measured for run in c.runs if run.method == name]
        scored = [(c, run.score) for c, run in pairs if run.score is not None]
        complete = sum(score.tight == c.known for c, score in scored)
        met = sum(score.tight for _, score in scored)
        known = sum(c.known for c, _ in pairs)
        line = (
            f"- {name}: {met} of {known} known points at q < {TIGHT:.0e}, all of them "
            f"in {complete} of {len(pairs)} nets; "
            f"{sum(score.spurious for _, score in scored)} spurious; "
            f"{sum(bool(run.failure) for _, run in pairs)} failures"
        )
        lines.append(line)
        if name == "ours":
            continue
        ratios = {
            c.net: ratio
            for c, run in pairs
            if (ratio := _ratio(run, _ours(c))) is not None
        }
        flipflops = {net: r for net, r in ratios.items() if net.startswith("f")}
        for what, some in (("all nets", ratios), ("flip-flops", flipflops)):
            if some:
                middle = statistics.geometric_mean(some.values())
                lines.append(
                    f"- {name}: {middle:.3g} times our time, the geometric mean over "
                    f"{len(some)} {what} ({min(some.values()):.2g} to "
                    f"{max(some.values()):.2g})"
                )
    if len(measured) < len(comparisons):
        lines.append(f"- {len(comparisons) - len(measured)} nets failed altogether")
    watches = [run.watch for c in measured for run in c.runs]
    wall = sum(sum(w.wall) for w in watches if w.processor)
    if wall:
        share = sum(sum(w.processor) for w in watches) / wall
        lines.append(
            f"- timed runs had the processor for {100 * share:.0f} % of their time "
            f"(100 % on one thread of a quiet machine)"
        )
    return lines


def machine_lines() -> list[str]:
    """Processor, system, versions: what the times depend on."""
    blas = "MKL" if torch.backends.mkl.is_available() else "no MKL"
    return [
        f"{_processor()}, {os.cpu_count()} processors, {_memory()}",
        f"{platform.system()} {platform.release()}",
        f"Python {platform.python_version()}, torch {torch.__version__} ({blas}), "
        f"numpy {np.__version__}, captum_dynamics {cd.__version__}",
        f"{torch.get_num_threads()} thread" + "s" * (torch.get_num_threads() > 1),
    ]


def load_line(when: str) -> str:
    """How busy the machine was, others' work included."""
    if not hasattr(os, "getloadavg"):
        return f"load average {when}: unknown"
    return f"load average {when}: {os.getloadavg()[0]:.2f}"


def _cells(run: Run, ours: Run | None) -> list[str]:
    if run.failure or run.score is None:
        return [run.failure or "no result", *[""] * (len(HEAD) - 6)]
    wall = run.watch.wall
    ratio = _ratio(run, ours)
    score = run.score
    return [
        f"{run.seconds:.3g} ({min(wall):.3g}-{max(wall):.3g})",
        str(len(wall)),
        "" if ratio is None else f"{ratio:.3g}",
        str(score.returned),
        str(score.loose),
        str(score.tight),
        str(score.spurious),
        "" if math.isnan(run.mebibytes) else f"{run.mebibytes:.0f}",
        _note(run, "steps", 1, ".1f"),
        _note(run, "lu", 100, ".0f", " %"),
        _note(run, "spectra", 1000, ".3g"),
    ]


def _note(run: Run, name: str, unit: float, form: str, suffix: str = "") -> str:
    return f"{unit * run.notes[name]:{form}}{suffix}" if name in run.notes else ""


def _ours(comparison: Comparison) -> Run | None:
    return next((run for run in comparison.runs if run.method == "ours"), None)


def _ratio(run: Run, ours: Run | None) -> float | None:
    if ours is None or ours.failure or run.failure:
        return None
    if not (ours.watch.wall and run.watch.wall):
        return None
    return run.seconds / ours.seconds


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        text = ""
    names = [li.partition(":")[2] for li in text.splitlines() if "model name" in li]
    return names[0].strip() if names else platform.processor() or platform.machine()


def _memory() -> str:
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return "memory unknown"
    return f"{total / 2**30:.0f} GiB"
