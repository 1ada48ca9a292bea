"""Which points of a linearization attract, checked to be points of one input."""

from __future__ import annotations

import torch

from captum_dynamics import _checks
from captum_dynamics._typing import Counts
from captum_dynamics.dynamics import DynamicsMap
from captum_dynamics.fixed_points import Kind
from captum_dynamics.linearization import Linearization


def check_one_input(dynamics: DynamicsMap, linearization: Linearization) -> None:
    """Refuse points that do not fit the map, or belong to several inputs."""
    points = linearization.points
    dynamics.check(points.states, points.inputs, "linearization.points.states")
    _checks.check_rows("linearization.points", points.states)
    if bool((points.inputs != points.inputs[:1]).any()):
        raise ValueError(
            "Expected `linearization` to hold points of one constant input, got "
            "several; take each input's points on their own."
        )


def attracting_rows(linearization: Linearization) -> Counts:
    """Rows of fixed points that no unstable direction leaves."""
    fixed = linearization.points.kind == Kind.FIXED
    rows: Counts = torch.nonzero(fixed & (linearization.unstable_dims == 0))[:, 0]
    return rows
