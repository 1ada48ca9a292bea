"""Fixed points and cycles of piecewise-linear maps, all of them, with proof."""

from __future__ import annotations

from captum_dynamics.enumeration._cycles import enumerate_cycles
from captum_dynamics.enumeration._fixed_points import enumerate_fixed_points

__all__ = ["enumerate_cycles", "enumerate_fixed_points"]
