"""Solvers for fixed points; each is a frozen set of settings with one `update`."""

from __future__ import annotations

from captum_dynamics.solvers._base import IterativeSolver, Solution, Solver, Status
from captum_dynamics.solvers.affine import Affine
from captum_dynamics.solvers.cascade import Cascade
from captum_dynamics.solvers.dogleg import Dogleg
from captum_dynamics.solvers.gradient import GradientDescent
from captum_dynamics.solvers.iteration import Iteration
from captum_dynamics.solvers.krylov import NewtonKrylov
from captum_dynamics.solvers.layer_by_layer import LayerByLayer
from captum_dynamics.solvers.levenberg_marquardt import LevenbergMarquardt
from captum_dynamics.solvers.mixed_precision import MixedPrecision
from captum_dynamics.solvers.newton import Newton
from captum_dynamics.solvers.piecewise_linear import PiecewiseLinear
from captum_dynamics.solvers.reduced import Reduced

__all__ = [
    "Cascade",
    "Dogleg",
    "Affine",
    "GradientDescent",
    "Iteration",
    "IterativeSolver",
    "LayerByLayer",
    "LevenbergMarquardt",
    "MixedPrecision",
    "Newton",
    "NewtonKrylov",
    "PiecewiseLinear",
    "Reduced",
    "Solution",
    "Solver",
    "Status",
]
