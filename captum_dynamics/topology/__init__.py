"""How fixed points hang together: graph, basins, and the slow manifold."""

from __future__ import annotations

from captum_dynamics.topology._find_shape import find_shape
from captum_dynamics.topology.audit import AuditVerdict, GraphAudit, audit_graph
from captum_dynamics.topology.automaton import Automaton
from captum_dynamics.topology.continua import Continuum
from captum_dynamics.topology.graph import FixedPointGraph
from captum_dynamics.topology.heteroclinic import connect
from captum_dynamics.topology.manifold import SlowManifold, trace_slow_manifold
from captum_dynamics.topology.shapes import Shape, ShapeEvidence
from captum_dynamics.topology.speed_profile import SpeedProfile
from captum_dynamics.topology.transition_counts import (
    TransitionCounts,
    count_transitions,
)
from captum_dynamics.topology.transitions import TransitionGraph, find_transitions

__all__ = [
    "Automaton",
    "AuditVerdict",
    "Continuum",
    "FixedPointGraph",
    "GraphAudit",
    "Shape",
    "ShapeEvidence",
    "SlowManifold",
    "SpeedProfile",
    "TransitionCounts",
    "TransitionGraph",
    "audit_graph",
    "connect",
    "find_shape",
    "count_transitions",
    "find_transitions",
    "trace_slow_manifold",
]
