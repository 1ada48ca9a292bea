"""What long runs do in the end: rest, repeat, turn, wander, or leave every bound."""

from __future__ import annotations

from captum_dynamics.regimes._classify import classify_runs
from captum_dynamics.regimes._endings import Ending, Growth, Regime, Regimes

__all__ = ["Ending", "Growth", "Regime", "Regimes", "classify_runs"]
