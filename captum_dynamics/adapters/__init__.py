"""Recurrent layers as dynamics maps; importing this registers the torch layers."""

from __future__ import annotations

from captum_dynamics.adapters._base import Call, CallConvention, RecurrentAdapter
from captum_dynamics.adapters._calls import CellCalls, SequenceCalls
from captum_dynamics.adapters._registry import (
    adapt,
    adapt_all,
    find_layer,
    list_adapters,
    recurrent_layers,
    register_adapter,
)
from captum_dynamics.adapters.function import FunctionAdapter
from captum_dynamics.adapters.gru import GRULayer
from captum_dynamics.adapters.lstm import LSTMLayer
from captum_dynamics.adapters.rnn import RNNLayer

__all__ = [
    "Call",
    "CallConvention",
    "CellCalls",
    "FunctionAdapter",
    "GRULayer",
    "LSTMLayer",
    "RNNLayer",
    "RecurrentAdapter",
    "SequenceCalls",
    "adapt",
    "adapt_all",
    "find_layer",
    "list_adapters",
    "recurrent_layers",
    "register_adapter",
]
