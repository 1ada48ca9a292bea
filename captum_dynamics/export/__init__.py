"""Results as files others can read: pairs of `to_x` and `from_x`, no pickle."""

from __future__ import annotations

from captum_dynamics.export.gexf import from_gexf, to_gexf
from captum_dynamics.export.graph import (
    from_graphml,
    from_json,
    to_graphml,
    to_json,
)

__all__ = [
    "from_gexf",
    "from_graphml",
    "from_json",
    "to_gexf",
    "to_graphml",
    "to_json",
]
