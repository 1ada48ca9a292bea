"""`captum-dynamics reproduce`: the papers' experiments, with verdicts."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import Any

from captum_dynamics.cli._output import check_folder
from captum_dynamics.experiments import EXPERIMENTS, Options, reproduce

DESCRIPTION = """\
Train networks, analyse them, and set the numbers of a paper beside ours:

{experiments}

Every row has the paper's number, ours, the bound that was set before the run, and a
verdict. Written to DIR/NAME: index.md with tables and pictures, result.json with all
numbers, and the trained nets, which a second run uses; a run that was killed goes on.

  captum-dynamics reproduce geometry --quick
  captum-dynamics reproduce line-attractor --data imdb_train.jsonl.gz
"""


def add_reproduce(commands: Any) -> None:
    """Add the command to the parser."""
    lines = (
        f"  {name:15} {one.title}\n{'':18}{one.minutes} minutes on two cores, "
        f"{one.quick_minutes} with --quick"
        for name, one in EXPERIMENTS.items()
    )
    parser = commands.add_parser(
        "reproduce",
        help="repeat the experiments of a paper, with verdicts",
        description=DESCRIPTION.format(experiments="\n".join(lines)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", metavar="NAME", choices=tuple(EXPERIMENTS))
    parser.add_argument(
        "--quick", action="store_true", help="small nets and few data, in minutes"
    )
    parser.add_argument(
        "--data",
        metavar="FILE",
        type=Path,
        help='film reviews, .jsonl or .jsonl.gz, one {"text": "...", "label": 0 or 1} '
        "per line; without it, stanfordnlp/imdb is fetched by the package `datasets`, "
        "and what needs it is left out where that fails",
    )
    parser.add_argument(
        "--out",
        metavar="DIR",
        type=Path,
        default=Path("reproductions"),
        help="where to write (default: %(default)s)",
    )
    parser.add_argument("--seed", metavar="N", type=int, default=0)
    parser.add_argument("--quiet", action="store_true", help="say only the result")
    parser.set_defaults(run=run_reproduce)


def run_reproduce(arguments: argparse.Namespace) -> str:
    """Run the experiment and say what it found."""
    if arguments.data is not None and not arguments.data.is_file():
        raise FileNotFoundError(f"There is no file {arguments.data} for --data.")
    # Quick nets are other nets: both versions may stand side by side.
    name = arguments.name + ("-quick" if arguments.quick else "")
    folder = check_folder(arguments.out / name)
    if not arguments.quiet:
        logging.getLogger("captum_dynamics").setLevel(logging.INFO)
    options = Options(
        folder,
        quick=arguments.quick,
        seed=arguments.seed,
        data=arguments.data,
        show_progress=not arguments.quiet,
    )
    found = reproduce(arguments.name, options)
    return (
        f"{found.summary()}\n\nWRITTEN  {folder / 'index.md'} (tables and pictures), "
        f"{folder / 'result.json'}"
    )
