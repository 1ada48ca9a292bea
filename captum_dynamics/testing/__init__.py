"""What a new adapter or solver is tested with: systems with known answers, checks."""

from __future__ import annotations

from captum_dynamics.testing._known import KnownSystem
from captum_dynamics.testing._tiny_model import TinyModel
from captum_dynamics.testing.adapters import check_adapter, verify
from captum_dynamics.testing.clouds import CLOUDS, sample_cloud
from captum_dynamics.testing.report import CheckReport, CheckRow
from captum_dynamics.testing.solvers import check_solver
from captum_dynamics.testing.systems import all_systems
from captum_dynamics.testing.tiny_models import TINY_MODELS

__all__ = [
    "CLOUDS",
    "CheckReport",
    "CheckRow",
    "KnownSystem",
    "TINY_MODELS",
    "TinyModel",
    "all_systems",
    "check_adapter",
    "check_solver",
    "sample_cloud",
    "verify",
]
