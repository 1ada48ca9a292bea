"""`captum-dynamics analyze`: the whole chain on a user's own model."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from captum_dynamics.analysis import analyze
from captum_dynamics.attr import captum_method
from captum_dynamics.cli._output import check_folder, write_all
from captum_dynamics.exceptions import FileFormatError

DESCRIPTION = """\
Analyse a recurrent layer of your own model.

MODULE:FACTORY names a function without arguments (or a class, or a model) that gives
the trained torch.nn.Module, in evaluation mode; the current folder is searched first.
FILE.npz holds what the model is called with: one array as its only argument, or several
arrays under the names of its arguments. Arrays of whole numbers stay token ids.

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
        help="classes of captum.attr to set beside ours; `none` for none",
    )
    parser.add_argument("--explained", metavar="N", type=int, default=8)
    parser.add_argument("--starts", metavar="N", type=int, default=256)
    parser.add_argument("--seed", metavar="N", type=int, default=0)
    parser.set_defaults(run=run_analyze)


def run_analyze(arguments: argparse.Namespace) -> str:
    """Run the chain and write its results."""
    model = _model(arguments.factory)
    if arguments.weights is not None:
        model.load_state_dict(load_file(arguments.weights))
    arrays = _arrays(arguments.inputs)
    lengths = None
    if arguments.lengths is not None:
        if arguments.lengths not in arrays:
            raise ValueError(
                f"Expected an array {arguments.lengths!r} in {arguments.inputs}, got "
                f"{sorted(arrays)}."
            )
        lengths = arrays.pop(arguments.lengths)
    folder = check_folder(arguments.out)
    result = analyze(
        model,
        arguments.layer,
        next(iter(arrays.values())) if len(arrays) == 1 else arrays,
        target=arguments.target,
        compare=_methods(arguments.compare),
        lengths=lengths,
        explained=arguments.explained,
        starts=arguments.starts,
        seed=arguments.seed,
        show_progress=True,
    )
    return write_all(result, folder)


def _model(name: str) -> nn.Module:
    module_name, separator, attribute = name.partition(":")
    if not separator or not attribute:
        raise ValueError(
            f"Expected MODULE:FACTORY, such as mymodel:build, got {name!r}."
        )
    sys.path.insert(0, os.getcwd())  # noqa: PTH109
    try:
        found = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"Cannot load {name!r}: {error}.") from error
    finally:
        sys.path.pop(0)
    model = found if isinstance(found, nn.Module) else found()
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"Expected {name!r} to give a torch.nn.Module, got {type(model).__name__}."
        )
    return model


def _arrays(path: Path) -> dict[str, Tensor]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: torch.from_numpy(archive[name]) for name in archive.files}
    except FileNotFoundError:
        raise FileNotFoundError(f"There is no file {path}.") from None
    except (OSError, ValueError, EOFError, AttributeError, TypeError) as error:
        raise FileFormatError(
            f"{path} is not an .npz of plain arrays: {error}."
        ) from error
    if not arrays:
        raise FileFormatError(f"Expected at least one array in {path}, got none.")
    # A model's parameters are float32 as a rule; numpy's default is float64.
    return {k: v.float() if v.dtype == torch.float64 else v for k, v in arrays.items()}


def _methods(names: list[str]) -> list[Any]:
    return [] if names == ["none"] else [captum_method(name) for name in names]
