"""Reverse engineering of trained recurrent networks, as a plugin of Captum.

`adapt` turns a layer into a `DynamicsMap`, `record` keeps what it visits,
`find_fixed_points` and `linearize` say where and how it rests, `connect` how these
points hang together, and `analyze` does all of it. Attribution classes live in
`captum_dynamics.attr`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from captum_dynamics import solvers
from captum_dynamics.activation_form import ActivationForm
from captum_dynamics.adapters import (
    ClosedLoop,
    ContinuousAdapter,
    FunctionAdapter,
    GenerationLoop,
    MeanMap,
    RecurrentAdapter,
    adapt,
    adapt_all,
    greedy_feedback,
    list_adapters,
    register_adapter,
    soft_feedback,
)
from captum_dynamics.certificates import Certificates, certify
from captum_dynamics.completeness import CompletenessReport, Verdict
from captum_dynamics.continuation import (
    Branch,
    BranchEnd,
    Branches,
    Event,
    EventKind,
    continue_parameter,
    continue_points,
)
from captum_dynamics.cycles import Cycles, find_cycles
from captum_dynamics.dynamics import DynamicsMap, Traits
from captum_dynamics.enumeration import enumerate_cycles, enumerate_fixed_points
from captum_dynamics.exceptions import (
    AdapterNotFoundError,
    AdapterWarning,
    AttributionWarning,
    ConvergenceWarning,
    ExecutionWarning,
    FileFormatError,
    LayerNotFoundError,
    RecordingWarning,
    SurrogateWarning,
    UnsupportedLayerError,
)
from captum_dynamics.fixed_points import (
    FixedPoints,
    Kind,
    Orbits,
    find_fixed_points,
    find_orbits,
    find_slow_points,
)
from captum_dynamics.flow import FlowLinearization, linearize_flow
from captum_dynamics.layout import Block, StateLayout
from captum_dynamics.leading import (
    LeadingModes,
    leading_modes,
    leading_modes_by_section,
)
from captum_dynamics.linearization import Linearization, Stability, linearize
from captum_dynamics.lyapunov import LyapunovSpectrum, lyapunov_exponents
from captum_dynamics.matching import Matching, Tracks, link_matchings, match_points
from captum_dynamics.recording import Trajectories, mean_input, record
from captum_dynamics.regimes import Ending, Growth, Regime, Regimes, classify_runs
from captum_dynamics.solvers import Status
from captum_dynamics.subspaces import InvariantSubspaces
from captum_dynamics.survey import Survey, survey_fixed_points
from captum_dynamics.symmetry import (
    PermutationSymmetry,
    SlotSymmetry,
    Symmetry,
    check_symmetry,
)
from captum_dynamics.token_points import TokenPoints, find_token_points
from captum_dynamics.topology import (
    Automaton,
    FixedPointGraph,
    TransitionCounts,
    TransitionGraph,
    connect,
    count_transitions,
    find_transitions,
)
from captum_dynamics.unitwise import UnitwiseForm

if TYPE_CHECKING:
    from captum_dynamics.analysis import Analysis, NamedInputs, analyze, load

__version__ = "0.1.0"

# These need captum, which takes seconds to import: they load when first used.
_LATE = ("Analysis", "NamedInputs", "analyze", "load")

__all__ = [
    "ActivationForm",
    "MeanMap",
    "UnitwiseForm",
    "AdapterNotFoundError",
    "AdapterWarning",
    "Analysis",
    "AttributionWarning",
    "Automaton",
    "Block",
    "Branch",
    "BranchEnd",
    "Branches",
    "Certificates",
    "ClosedLoop",
    "CompletenessReport",
    "ContinuousAdapter",
    "ConvergenceWarning",
    "Cycles",
    "DynamicsMap",
    "Ending",
    "Event",
    "EventKind",
    "ExecutionWarning",
    "FileFormatError",
    "FixedPointGraph",
    "FixedPoints",
    "FlowLinearization",
    "FunctionAdapter",
    "GenerationLoop",
    "Growth",
    "InvariantSubspaces",
    "Kind",
    "LayerNotFoundError",
    "LeadingModes",
    "Linearization",
    "LyapunovSpectrum",
    "Matching",
    "NamedInputs",
    "Orbits",
    "PermutationSymmetry",
    "RecordingWarning",
    "RecurrentAdapter",
    "Regime",
    "Regimes",
    "SlotSymmetry",
    "Stability",
    "StateLayout",
    "Status",
    "SurrogateWarning",
    "Survey",
    "Symmetry",
    "TokenPoints",
    "Tracks",
    "Traits",
    "Trajectories",
    "TransitionCounts",
    "TransitionGraph",
    "UnsupportedLayerError",
    "Verdict",
    "adapt",
    "adapt_all",
    "analyze",
    "certify",
    "check_symmetry",
    "classify_runs",
    "connect",
    "continue_parameter",
    "continue_points",
    "count_transitions",
    "enumerate_cycles",
    "enumerate_fixed_points",
    "find_cycles",
    "find_fixed_points",
    "find_orbits",
    "find_slow_points",
    "find_token_points",
    "find_transitions",
    "greedy_feedback",
    "leading_modes",
    "leading_modes_by_section",
    "linearize",
    "linearize_flow",
    "link_matchings",
    "list_adapters",
    "load",
    "lyapunov_exponents",
    "match_points",
    "mean_input",
    "record",
    "register_adapter",
    "soft_feedback",
    "solvers",
    "survey_fixed_points",
]


def __getattr__(name: str) -> Any:
    """Load the parts that need captum when they are first asked for."""
    if name not in _LATE:
        raise AttributeError(f"module 'captum_dynamics' has no attribute {name!r}")
    return getattr(importlib.import_module("captum_dynamics.analysis"), name)


def __dir__() -> list[str]:
    """List the late parts too."""
    return sorted({*globals(), *__all__})
