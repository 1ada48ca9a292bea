"""`captum-dynamics adapters`: what is registered, for which versions."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from captum_dynamics.adapters import describe_adapters

DESCRIPTION = """\
List the layer types that a registered adapter reads, with the versions of the package
they come from (supported, and installed here) and the traits of their maps:

  affine_in_state   F(h, x) = A(x) h + b(x): a fixed point is one linear solve
  piecewise_linear  linear within regions (ReLU): all fixed points can be enumerated
  vmap_safe         derivatives of a batch are taken at once
  float64, float32  the precisions in which the map can be evaluated

A layer's settings may add traits: nn.RNN(nonlinearity="relu") is piecewise_linear. See
what your own model's layers are read as with

  captum-dynamics inspect mymodel:build

A package adds its own by an entry point in the group captum_dynamics.adapters.
"""
HEAD = ("LAYER", "ADAPTER", "SUPPORTED", "INSTALLED", "TRAITS")


def add_adapters(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "adapters",
        help="list the layers that can be read",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run_adapters)


def run_adapters(_: argparse.Namespace) -> str:
    """List what is registered as a table."""
    rows = [
        (
            info.layer,
            info.adapter,
            info.supported or "any",
            info.installed or "not installed",
            ", ".join(info.traits),
        )
        for info in describe_adapters()
    ]
    return columns([HEAD, *rows])


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Set rows in columns as wide as their widest entry."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(f"{v:{w}}" for v, w in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
