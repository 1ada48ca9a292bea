"""The whole chain in one call, and its result."""

from __future__ import annotations

from captum_dynamics.analysis._files import load
from captum_dynamics.analysis._result import (
    Analysis,
    Documents,
    Explanation,
    Setting,
    Visits,
    Words,
)
from captum_dynamics.analysis._run import NamedInputs, analyze

__all__ = [
    "Analysis",
    "Documents",
    "Explanation",
    "NamedInputs",
    "Setting",
    "Visits",
    "Words",
    "analyze",
    "load",
]
