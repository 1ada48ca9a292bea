"""Our search for fixed points, plain gradient descent, and a peer, on the same starts.

    python benchmarks/fixed_points.py --out table.md
    python benchmarks/fixed_points.py --peer PATH_TO_FixedPointFinder --scaling

Without a peer the nets take less than 5 minutes on a quiet core, with one less than
20; the first run trains its flip-flop nets before, and keeps them (--cache). Give the
machine nothing else to do: the table says how busy it was.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from _compare import Comparison, Settings, compare, warm_up
from _methods import Method, Peer, our_methods
from _nets import Recipe, default_recipes, folder_recipes, random_net
from _scaling import Curve, CurveRecipe, curve_recipes, measure_curve
from _table import load_line, machine_lines, page, rows, table
from tqdm import tqdm


def main() -> None:
    """Measure, say each net when it is done, and write the page again after each."""
    given = parser().parse_args()
    torch.set_num_threads(given.threads)
    settings = Settings(given.starts, given.repeats, given.limit)
    recipes = default_recipes(given.cache, given.seeds) + folder_recipes(given.nets)
    curves = curve_recipes(given.cache) if given.scaling else []
    recipes, curves = chosen(recipes, curves, given.only)
    methods: list[Method] = our_methods()
    if given.peer is not None:
        methods.append(Peer.at(given.peer))
    machine = [*machine_lines(), load_line("before")]
    compared: list[Comparison] = []
    measured: list[Curve] = []

    def document() -> str:
        return page(compared, measured, settings, [*machine, load_line("after")])

    warm_up(methods, random_net("gru", 4, 1.0, 8))
    _say(table([]) if recipes else [])
    bar: tqdm[Any]
    with tqdm(recipes, desc="Nets", dynamic_ncols=True) as bar:
        for recipe in bar:
            report = partial(_report, bar, recipe.name)
            compared.append(compare(recipe, methods, settings, report))
            _say(rows(compared[-1]))
            _write(given.out, document())
    for curve in curves:
        measured.append(measure_curve(curve, settings, partial(_along, curve.name)))
        _say(measured[-1].lines())
        _write(given.out, document())
    print(document())


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = made.add_argument
    add("--peer", type=Path, help="folder that holds FixedPointFinderTorch.py")
    add("--nets", type=Path, nargs="+", default=[], help="folders of safetensors files")
    add("--starts", type=int, default=256, help="starts of a search (%(default)s)")
    add("--repeats", type=int, default=5, help="timed runs of a method (%(default)s)")
    add("--threads", type=int, default=1, help="of torch (%(default)s)")
    add("--seeds", type=int, default=3, help="flip-flop nets a size (%(default)s)")
    limit = "seconds after which one run is cut off (%(default)s)"
    add("--limit", type=float, default=120.0, help=limit)
    add("--only", nargs="+", default=[], metavar="NAME", help="names, or parts of them")
    add("--scaling", action="store_true", help="time over starts and widths as well")
    add("--cache", type=Path, default=user_cache(), help="folder of trained nets")
    add("--out", type=Path, help="Markdown file to write")
    return made


def user_cache() -> Path:
    """Where trained nets wait for the next run."""
    folder = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(folder) / "captum_dynamics" / "benchmarks"


def chosen(
    recipes: list[Recipe], curves: list[CurveRecipe], parts: list[str]
) -> tuple[list[Recipe], list[CurveRecipe]]:
    """Nets and curves with any of the parts in their names; all without parts."""
    if not parts:
        return recipes, curves
    names = [r.name for r in recipes] + [c.name for c in curves]
    if not any(part in name for part in parts for name in names):
        raise SystemExit(f"Expected `--only` to name some of {', '.join(names)}.")
    return (
        [r for r in recipes if any(part in r.name for part in parts)],
        [c for c in curves if any(part in c.name for part in parts)],
    )


def _report(bar: tqdm[Any], net: str, what: str) -> None:
    bar.set_postfix_str(f"{net}: {what}")


def _along(name: str, sizes: Iterable[int]) -> Iterable[int]:
    bar: Iterable[int] = tqdm(sizes, desc=name, dynamic_ncols=True)
    return bar


def _say(lines: list[str]) -> None:
    """Beside the bars: what is printed in the end is the page alone."""
    tqdm.write("\n".join(lines), file=sys.stderr)


def _write(path: Path | None, text: str) -> None:
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
