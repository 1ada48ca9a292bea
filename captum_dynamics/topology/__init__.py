"""How fixed points hang together: a graph of unstable branches and basins."""

from __future__ import annotations

from captum_dynamics.topology.graph import FixedPointGraph
from captum_dynamics.topology.heteroclinic import connect

__all__ = ["FixedPointGraph", "connect"]
