"""Which layers relevance goes through, and how their calls are read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from captum_dynamics._typing import Inputs, States
from captum_dynamics.adapters import (
    GRULayer,
    LSTMLayer,
    RecurrentAdapter,
    RNNLayer,
    SequenceCalls,
    adapt,
)
from captum_dynamics.adapters._weights import Weights, cell_weights, layer_weights
from captum_dynamics.attr._relevance import CellRelevance
from captum_dynamics.attr._relevance_cells import (
    GRURelevance,
    LSTMRelevance,
    RNNRelevance,
)
from captum_dynamics.exceptions import UnsupportedLayerError
from captum_dynamics.layout import Block, StateLayout

Levels = tuple[tuple[CellRelevance, ...], ...]
"""Each level's directions: forward, and backward where there are two."""

Build = Callable[[Any, Weights], CellRelevance]


def _rnn(layer: Any, weights: Weights) -> CellRelevance:
    return RNNRelevance(RNNLayer(weights, layer.nonlinearity), weights)


def _gru(_: Any, weights: Weights) -> CellRelevance:
    return GRURelevance(GRULayer(weights), weights)


def _lstm(_: Any, weights: Weights) -> CellRelevance:
    return LSTMRelevance(LSTMLayer(weights), weights)


_BUILDS: dict[type[nn.Module], Build] = {
    nn.RNN: _rnn,
    nn.RNNCell: _rnn,
    nn.GRU: _gru,
    nn.GRUCell: _gru,
    nn.LSTM: _lstm,
    nn.LSTMCell: _lstm,
}


def find_levels(layer: nn.Module) -> Levels:
    """Find the rules for each level and direction, with the present weights.

    Raises:
        UnsupportedLayerError: if no rules are known for the layer's equations.
    """
    build = next((_BUILDS[t] for t in type(layer).__mro__ if t in _BUILDS), None)
    if build is None:
        raise UnsupportedLayerError(
            f"Expected `layer` to be nn.RNN, nn.GRU, nn.LSTM or one of their cells, "
            f"whose equations tell gates from signals, got {type(layer).__name__}."
        )
    if isinstance(layer, nn.RNNCellBase):
        return ((build(layer, cell_weights(layer)),),)
    return _sequence_levels(layer, build)


def _sequence_levels(layer: Any, build: Build) -> Levels:
    directions = (False, True) if layer.bidirectional else (False,)
    return tuple(
        tuple(
            build(layer, layer_weights(layer, index, backward=backward))
            for backward in directions
        )
        for index in range(layer.num_layers)
    )


def adapt_both_ways(layer: nn.Module, levels: Levels) -> RecurrentAdapter:
    """The layer's map, or, where it is bidirectional and has none, its states."""
    if len(levels[0]) == 2:
        return _TwoWay(layer, levels)
    return adapt(layer)


class _TwoWay(RecurrentAdapter):
    """The states of a bidirectional layer, to read and to write its calls."""

    def __init__(self, layer: Any, levels: Levels) -> None:
        """Keep how the layer is called, and how wide its states are."""
        self.calls = SequenceCalls(layer)
        self._levels = levels

    @property
    def layout(self) -> StateLayout:
        """Blocks level by level, forward before backward."""
        return StateLayout(
            tuple(
                Block(f"{block.name}{level}{suffix}", block.size)
                for level, cells in enumerate(self._levels)
                for suffix, cell in zip(("", "_reverse"), cells, strict=True)
                for block in cell.layer.layout.blocks
            )
        )

    @property
    def input_dim(self) -> int:
        """Width of what the first level reads."""
        return self._levels[0][0].layer.input_dim

    @property
    def device(self) -> torch.device | None:
        """Where the layer's weights are."""
        return self._levels[0][0].layer.device

    def step(self, states: States, inputs: Inputs) -> States:
        """Refuse: one direction is at another step than the other.

        Raises:
            UnsupportedLayerError: always.
        """
        raise UnsupportedLayerError(
            "Expected a layer that reads its sequence in one direction, got a "
            "bidirectional one, whose two systems share no step."
        )
