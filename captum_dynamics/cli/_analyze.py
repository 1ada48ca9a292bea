"""`captum-dynamics analyze`: the whole chain on a user's own model."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from captum_dynamics.analysis import analyze
from captum_dynamics.attr import captum_method
from captum_dynamics.cli._load import (
    check_call,
    load_arrays,
    load_model,
    load_weights,
    prepare,
    take_lengths,
)
from captum_dynamics.cli._output import check_folder, write_all

DESCRIPTION = """\
Analyse a recurrent layer of your own model.

MODULE:FACTORY names a function without arguments (or a class, or a model) that gives
the trained torch.nn.Module, in evaluation mode; the current folder is searched first.
FILE.npz holds what the model is called with: one array as its only argument, or several
arrays under the names of its arguments. Arrays of whole numbers stay token ids; others
take the precision of the model's parameters.

  captum-dynamics analyze mymodel:build --layer encoder.gru --inputs batch.npz \\
      --out results --compare IntegratedGradients Saliency
"""


def add_analyze(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "analyze",
        help="analyse a recurrent layer of your own model",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("factory", metavar="MODULE:FACTORY")
    parser.add_argument("--layer", metavar="PATH", help="dotted path of the layer")
    parser.add_argument(
        "--inputs", metavar="FILE.npz", type=Path, required=True, help="model inputs"
    )
    parser.add_argument(
        "--out", metavar="DIR", type=Path, required=True, help="folder for the results"
    )
    parser.add_argument(
        "--weights", metavar="FILE.safetensors", type=Path, help="weights to load first"
    )
    parser.add_argument(
        "--target", metavar="COLUMN", type=int, help="column of the output to explain"
    )
    parser.add_argument(
        "--direction",
        choices=("forward", "backward"),
        help="which system of a bidirectional layer to analyse",
    )
    parser.add_argument(
        "--lengths",
        metavar="NAME",
        help="array of FILE.npz with the length of each sequence; the model does not "
        "get it",
    )
    parser.add_argument(
        "--compare",
        metavar="CLASS",
        nargs="+",
        default=["IntegratedGradients"],
        help="classes of captum.attr that attribute to inputs, such as Saliency or "
        "ShapleyValueSampling, to set beside ours; `none` for none",
    )
    for name, default, what in (
        ("explained", 8, "sequences to attribute, from the first"),
        ("starts", 256, "visited states to search fixed points from"),
        ("seed", 0, "seed of all random choices"),
    ):
        text = f"{what} (default: %(default)s)"
        parser.add_argument(
            f"--{name}", metavar="N", type=int, default=default, help=text
        )
    parser.set_defaults(run=run_analyze)


def run_analyze(arguments: argparse.Namespace) -> str:
    """Run the chain and write its results."""
    model = load_model(arguments.factory)
    if arguments.weights is not None:
        load_weights(model, arguments.weights)
    arrays = load_arrays(arguments.inputs)
    lengths = None
    if arguments.lengths is not None:
        lengths = take_lengths(arrays, arguments.lengths, arguments.inputs)
    inputs = prepare(model, arrays)
    check_call(model, inputs, arguments.inputs)
    compare = [captum_method(n) for n in arguments.compare if n != "none"]
    folder = check_folder(arguments.out)
    result = analyze(
        model,
        arguments.layer,
        next(iter(inputs.values())) if len(inputs) == 1 else inputs,
        target=arguments.target,
        direction=arguments.direction,
        compare=compare,
        lengths=lengths,
        explained=arguments.explained,
        starts=arguments.starts,
        seed=arguments.seed,
        show_progress=sys.stderr.isatty(),
    )
    return write_all(result, folder)
