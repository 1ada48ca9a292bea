"""The whole chain in one call, and its result."""

from __future__ import annotations

from captum_dynamics.analysis._analysis import Analysis, load
from captum_dynamics.analysis._given import NamedInputs
from captum_dynamics.analysis._run import analyze

__all__ = [
    "Analysis",
    "NamedInputs",
    "analyze",
    "load",
]
