"""Which of Captum's own methods work on which recurrent layer, found by running them.

    python -m benchmarks.captum_support

Prints tables in Markdown. Every answer is compared with one worked out without Captum.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from contextlib import nullcontext

import captum
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_sequence, pad_packed_sequence

from benchmarks._captum_calls import (
    CASES,
    INPUT,
    LAYER,
    NEURON,
    attribute,
    known,
    verdict,
)
from benchmarks._captum_truth import UNITS, WIDTH, Problem, problem
from captum_dynamics.attr import tap_hidden


class Model(nn.Module):
    """The host of a problem's layer and head; its inputs may be time first."""

    def __init__(self, p: Problem, *, time_first: bool = False) -> None:
        super().__init__()
        self.layer, self.head = p.layer, p.head
        self._states, self._time_first = p.states, time_first

    def forward(self, inputs: Tensor) -> Tensor:
        """Give one number a row."""
        ordered = inputs.transpose(0, 1) if self._time_first else inputs
        return self.head(self._states(ordered))


class Packed(nn.Module):
    """A model whose input is a PackedSequence."""

    def __init__(self, p: Problem) -> None:
        super().__init__()
        self.layer, self.head = p.layer, p.head

    def forward(self, sequences: PackedSequence) -> Tensor:
        """Give one number a row."""
        states = pad_packed_sequence(self.layer(sequences)[0], batch_first=True)[0]
        return self.head(states)


LAYERS: dict[str, Callable[[], nn.Module]] = {
    "nn.RNN": lambda: nn.RNN(WIDTH, UNITS, batch_first=True),
    "nn.GRU": lambda: nn.GRU(WIDTH, UNITS, batch_first=True),
    "nn.LSTM": lambda: nn.LSTM(WIDTH, UNITS, batch_first=True),
}
TABLES = (
    (INPUT, (*LAYERS, "loop of cells", "time first", "packed")),
    ({**LAYER, **NEURON}, (*LAYERS, "loop of cells", "tapped")),
)


def cell(name: str, column: str) -> str:
    """One cell of a table: the verdict on one method."""
    if column in LAYERS:
        return run(name, LAYERS[column]())
    if column == "loop of cells":
        return run(name, nn.GRUCell(WIDTH, UNITS))
    if column == "time first":
        return run(name, LAYERS["nn.GRU"](), time_first=True)
    if column == "packed":
        return packed(name)
    verdicts = {run(name, layer(), tapped=True): None for layer in LAYERS.values()}
    return " / ".join(verdicts)


def run(
    name: str, layer: nn.Module, *, tapped: bool = False, time_first: bool = False
) -> str:
    """Run a method on a model around a layer, and judge what it gives."""
    p = problem(layer)
    model = Model(p, time_first=time_first)
    _seed()
    with tap_hidden(layer) if tapped else nullcontext() as tap:
        place = layer if tap is None else tap.layer
        try:
            found = attribute(name, model, p, place, time_first=time_first)
        except Exception:  # whatever it is: Captum refuses
            return "refuses"
    return verdict(found, name, p)


def packed(name: str) -> str:
    """Give an input method a PackedSequence in the place of a tensor."""
    p = problem(LAYERS["nn.GRU"]())
    model, sequences = Packed(p), pack_sequence(list(p.inputs))
    model(sequences)
    settings = CASES[name].settings
    _seed()
    try:
        if CASES[name].baselines:
            settings = {**settings, "baselines": pack_sequence(list(p.inputs))}
        getattr(captum.attr, name)(model).attribute(sequences, **settings)
    except Exception:
        return "refuses"
    return "accepts"


def _seed() -> None:
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 - Captum draws from it


def main() -> None:
    """Print the tables."""
    warnings.simplefilter("ignore")
    logging.disable()
    print(f"captum {captum.__version__}, torch {torch.__version__}")
    for cases, columns in TABLES:
        print(f"\n| method | {' | '.join(columns)} |")
        print(f"|{' --- |' * (1 + len(columns))}")
        for name in known(cases):
            cells = [cell(name, column) for column in columns]
            print(f"| {' | '.join([name, *cells])} |", flush=True)


if __name__ == "__main__":
    main()
