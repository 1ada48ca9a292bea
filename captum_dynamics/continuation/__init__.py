"""Continuation: fixed points followed over an input or a parameter, with events."""

from __future__ import annotations

from captum_dynamics.continuation._branches import (
    Branch,
    BranchEnd,
    Branches,
    Event,
    EventKind,
)
from captum_dynamics.continuation._follow import continue_parameter, continue_points

__all__ = [
    "Branch",
    "BranchEnd",
    "Branches",
    "Event",
    "EventKind",
    "continue_parameter",
    "continue_points",
]
