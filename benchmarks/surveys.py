"""Surveys of trained nets with default settings: points, verdicts, certificates.

    python benchmarks/surveys.py --out surveys.md
    python benchmarks/surveys.py --nets FOLDER --only gru

A 3-bit flip-flop has 27 fixed points where it has learned a cube. Each net is surveyed
with several seeds; the first run trains the nets, and keeps them (--cache).
"""

from __future__ import annotations

import statistics
import time
import warnings
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import Path
from typing import Any

import torch
from _nets import Net, default_recipes, folder_recipes
from _table import machine_lines
from fixed_points import user_cache
from tqdm import tqdm

import captum_dynamics as cd

HEAD = "net d points attractors index_sum verdict starts certified spurious seconds"


def main() -> None:
    """Print one line a net, with a range where surveys differ from seed to seed."""
    parser = ArgumentParser(
        description=__doc__, formatter_class=RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--nets", type=Path, nargs="+", default=[], help="folders of safetensors files")
    add("--seeds", type=int, default=5, help="surveys of a net (%(default)s)")
    add("--nets-a-size", type=int, default=3, help="trained seeds (%(default)s)")
    add("--threads", type=int, default=1, help="of torch (%(default)s)")
    add("--only", nargs="+", default=[""], metavar="NAME", help="parts of names")
    add("--cache", type=Path, default=user_cache(), help="folder of trained nets")
    add("--out", type=Path, help="Markdown file to write")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    recipes = default_recipes(given.cache, given.nets_a_size)
    recipes += folder_recipes(given.nets)
    lines = [f"- {line}" for line in machine_lines()] + [""]
    columns = HEAD.replace("_", "-").split()
    lines += [row(columns), row(["---"] * len(columns))]
    # Nothing is known of what a random layer's points should be.
    trained = [r for r in recipes if "random" not in r.name]
    chosen = [r for r in trained if any(part in r.name for part in given.only)]
    for recipe in tqdm(chosen, desc="Nets"):
        lines.append(row(cells(recipe.name, recipe.build(), given.seeds)))
        tqdm.write(lines[-1])
    if given.out:
        given.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


def row(values: list[str]) -> str:
    """One line of the table."""
    return f"| {' | '.join(values)} |"


def cells(name: str, net: Net, seeds: int) -> list[str]:
    """The surveys of one net; a verdict with a star is one without the index rule."""
    surveys = [surveyed(net, seed) for seed in range(seeds)]
    together = [_together(list(column)) for column in zip(*surveys, strict=True)]
    return [name, str(net.dynamics.state_dim), *together]


def surveyed(net: Net, seed: int) -> list[Any]:
    """Points, attractors, index sum, verdict, starts, certified, spurious, seconds."""
    began = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", cd.ConvergenceWarning)
        survey = cd.survey_fixed_points(
            net.dynamics,
            net.visited,
            net.inputs,
            generator=torch.Generator().manual_seed(seed),
        )
    seconds = time.perf_counter() - began
    (report,) = survey.reports
    proofs = cd.certify(net.dynamics, survey.points)
    verdict = report.verdict.name.lower() + ("*" if report.objection else "")
    return [
        report.points,
        report.attractors,
        report.index_sum,
        verdict,
        survey.starts,
        int(proofs.certified.sum()),
        report.endings[cd.Kind.SPURIOUS],
        seconds,
    ]


def _together(values: list[Any]) -> str:
    """The one value, a range of numbers, several words, or the median of seconds."""
    if isinstance(values[0], float):
        return f"{statistics.median(values):.2g}"
    distinct = sorted(set(values))
    if len(distinct) == 1 or isinstance(values[0], str):
        return ", ".join(map(str, distinct))
    return f"{distinct[0]}-{distinct[-1]}"


if __name__ == "__main__":
    main()
