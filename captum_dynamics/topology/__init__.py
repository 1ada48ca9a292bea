"""How fixed points hang together: graph, basins, and the slow manifold."""

from __future__ import annotations

from captum_dynamics.topology.audit import AuditVerdict, GraphAudit, audit_graph
from captum_dynamics.topology.graph import FixedPointGraph
from captum_dynamics.topology.heteroclinic import connect
from captum_dynamics.topology.manifold import Shape, SlowManifold, trace_slow_manifold

__all__ = [
    "AuditVerdict",
    "FixedPointGraph",
    "GraphAudit",
    "Shape",
    "SlowManifold",
    "audit_graph",
    "connect",
    "trace_slow_manifold",
]
