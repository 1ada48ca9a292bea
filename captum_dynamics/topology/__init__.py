"""How fixed points hang together: graph, basins, and the slow manifold."""

from __future__ import annotations

from captum_dynamics.topology._find_shape import find_shape
from captum_dynamics.topology.audit import AuditVerdict, GraphAudit, audit_graph
from captum_dynamics.topology.automaton import Automaton
from captum_dynamics.topology.basin_map import BasinMap, Plane, map_basins
from captum_dynamics.topology.comparison import (
    GraphComparison,
    compare_graphs,
    graph_distances,
)
from captum_dynamics.topology.continua import Continuum
from captum_dynamics.topology.graph import FixedPointGraph
from captum_dynamics.topology.heteroclinic import connect
from captum_dynamics.topology.manifold import SlowManifold, trace_slow_manifold
from captum_dynamics.topology.selection import select_nodes
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
    "BasinMap",
    "FixedPointGraph",
    "GraphAudit",
    "GraphComparison",
    "Plane",
    "Shape",
    "ShapeEvidence",
    "SlowManifold",
    "SpeedProfile",
    "TransitionCounts",
    "TransitionGraph",
    "audit_graph",
    "compare_graphs",
    "connect",
    "find_shape",
    "count_transitions",
    "find_transitions",
    "graph_distances",
    "map_basins",
    "select_nodes",
    "trace_slow_manifold",
]
