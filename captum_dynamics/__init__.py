"""Reverse engineering of trained recurrent networks, as a plugin of Captum.

`adapt` turns a layer into a `DynamicsMap`, `record` keeps what it visits,
`find_fixed_points` and `linearize` say where and how it rests, `connect` how these
points hang together, and `analyze` does all of it. Attribution classes live in
`captum_dynamics.attr`.
"""

from __future__ import annotations

from captum_dynamics import solvers
from captum_dynamics.adapters import (
    FunctionAdapter,
    RecurrentAdapter,
    adapt,
    list_adapters,
    register_adapter,
)
from captum_dynamics.dynamics import Block, DynamicsMap, StateLayout, Traits
from captum_dynamics.exceptions import (
    AdapterNotFoundError,
    AttributionWarning,
    ConvergenceWarning,
    FileFormatError,
    LayerNotFoundError,
    UnsupportedLayerError,
)
from captum_dynamics.fixed_points import (
    FixedPoints,
    Kind,
    find_fixed_points,
    find_slow_points,
)
from captum_dynamics.linearization import Linearization, Stability, linearize
from captum_dynamics.recording import Trajectories, mean_input, record
from captum_dynamics.solvers import Status
from captum_dynamics.topology import FixedPointGraph, connect

__version__ = "0.1.0"

__all__ = [
    "AdapterNotFoundError",
    "AttributionWarning",
    "Block",
    "ConvergenceWarning",
    "DynamicsMap",
    "FileFormatError",
    "FixedPointGraph",
    "FixedPoints",
    "FunctionAdapter",
    "Kind",
    "LayerNotFoundError",
    "Linearization",
    "RecurrentAdapter",
    "Stability",
    "StateLayout",
    "Status",
    "Traits",
    "Trajectories",
    "UnsupportedLayerError",
    "adapt",
    "connect",
    "find_fixed_points",
    "find_slow_points",
    "linearize",
    "list_adapters",
    "mean_input",
    "record",
    "register_adapter",
    "solvers",
]
