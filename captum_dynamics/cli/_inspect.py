"""`captum-dynamics inspect`: how the recurrent layers of a user's model are read."""

from __future__ import annotations

import argparse
import textwrap
from typing import Any

from captum_dynamics.adapters import LayerReading, inspect_layers
from captum_dynamics.cli._adapters import columns
from captum_dynamics.cli._load import load_model
from captum_dynamics.cli._output import WIDTH

DESCRIPTION = """\
List the recurrent layers of your own model: the path to give as --layer, the adapter
that reads each, its state and input, or the reason why it is refused and what to do.

MODULE:FACTORY names a function without arguments (or a class, or a model) that gives
the torch.nn.Module; the current folder is searched first. The model is not called.

  captum-dynamics inspect mymodel:build
  captum-dynamics analyze mymodel:build --layer encoder.gru --inputs batch.npz --out dir
"""
HEAD = ("PATH", "LAYER", "ADAPTER", "STATE", "INPUT", "TRAITS")
NOTHING = (
    "No recurrent layer was found in this {}. If one of its modules takes a state, "
    "wrap its step with captum_dynamics.FunctionAdapter(step, state, input_dim)."
)


def add_inspect(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "inspect",
        help="list the recurrent layers of your own model",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("factory", metavar="MODULE:FACTORY")
    parser.set_defaults(run=run_inspect)


def run_inspect(arguments: argparse.Namespace) -> str:
    """Say how each recurrent layer of the model is read."""
    model = load_model(arguments.factory)
    readings = inspect_layers(model)
    if not readings:
        return textwrap.fill(NOTHING.format(type(model).__name__), WIDTH)
    notes = [_note(reading) for reading in readings]
    return "\n".join([columns([HEAD, *map(_row, readings)]), *filter(None, notes)])


def _row(reading: LayerReading) -> tuple[str, ...]:
    path = reading.path or "(the model)"
    if reading.reason:
        return path, reading.kind, "refused", "-", "-", "-"
    blocks = reading.layout.blocks
    return (
        path,
        reading.kind,
        reading.adapter,
        " + ".join(f"{block.name} {block.size}" for block in blocks),
        str(reading.input_dim),
        ", ".join(reading.traits),
    )


def _note(reading: LayerReading) -> str:
    """What the table cannot hold: a reason, or what to ask for."""
    path = reading.path or "(the model)"
    if reading.reason:
        text = f"{path}: {reading.reason}"
    elif reading.arguments:
        text = (
            f"{path}: has several systems, of which one is shown: "
            f"adapt(model, {reading.path!r}, {reading.arguments})."
        )
    else:
        return ""
    return "\n" + textwrap.fill(text, WIDTH, subsequent_indent="  ")
