"""Recurrent layers as dynamics maps; importing this registers the torch layers."""

from __future__ import annotations

from captum_dynamics.adapters._base import RecurrentAdapter
from captum_dynamics.adapters._calls import CellCalls, SequenceCalls
from captum_dynamics.adapters._convention import Call, CallConvention
from captum_dynamics.adapters._listing import (
    AdapterInfo,
    LayerReading,
    describe_adapters,
    inspect_layers,
)
from captum_dynamics.adapters._registry import (
    adapt,
    adapt_all,
    find_layer,
    list_adapters,
    recurrent_layers,
    register_adapter,
)
from captum_dynamics.adapters.closed_loop import ClosedLoop
from captum_dynamics.adapters.continuous import (
    ContinuousAdapter,
    Euler,
    Integrator,
    RungeKutta4,
)
from captum_dynamics.adapters.feedback import (
    Feedback,
    GreedyFeedback,
    SoftFeedback,
    TokenFeedback,
    greedy_feedback,
    soft_feedback,
)
from captum_dynamics.adapters.function import FunctionAdapter
from captum_dynamics.adapters.generation import GenerationLoop
from captum_dynamics.adapters.gru import GRULayer
from captum_dynamics.adapters.huggingface import CachedLayer, CachedModel
from captum_dynamics.adapters.linear import LinearAdapter
from captum_dynamics.adapters.lstm import LSTMLayer
from captum_dynamics.adapters.mean_map import MeanMap
from captum_dynamics.adapters.ncps import NCPAdapter
from captum_dynamics.adapters.rnn import RNNLayer
from captum_dynamics.adapters.ugrnn import UGRNNLayer
from captum_dynamics.adapters.xlstm import MLSTMCellAdapter, SLSTMCellAdapter

__all__ = [
    "AdapterInfo",
    "CachedLayer",
    "CachedModel",
    "Call",
    "CallConvention",
    "CellCalls",
    "ClosedLoop",
    "ContinuousAdapter",
    "Euler",
    "Feedback",
    "FunctionAdapter",
    "GRULayer",
    "GenerationLoop",
    "GreedyFeedback",
    "Integrator",
    "LSTMLayer",
    "LinearAdapter",
    "LayerReading",
    "NCPAdapter",
    "RNNLayer",
    "MLSTMCellAdapter",
    "MeanMap",
    "RecurrentAdapter",
    "RungeKutta4",
    "SLSTMCellAdapter",
    "SequenceCalls",
    "SoftFeedback",
    "TokenFeedback",
    "UGRNNLayer",
    "adapt",
    "describe_adapters",
    "adapt_all",
    "find_layer",
    "greedy_feedback",
    "inspect_layers",
    "list_adapters",
    "recurrent_layers",
    "register_adapter",
    "soft_feedback",
]
