"""Which layers relevance goes through, level by level and in each direction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from captum_dynamics.adapters import GRULayer, LSTMLayer, RNNLayer
from captum_dynamics.adapters._weights import Weights, cell_weights, layer_weights
from captum_dynamics.attr._relevance import CellRelevance
from captum_dynamics.attr._relevance_cells import (
    GRURelevance,
    LSTMRelevance,
    RNNRelevance,
)
from captum_dynamics.exceptions import UnsupportedLayerError

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
