"""ModeAttributions: a token's contribution, divided among the modes of a point."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from captum_dynamics._typing import States, StateSequences
from captum_dynamics.linearization import Linearization
from captum_dynamics.subspaces import LARGEST_CONDITION


@dataclass(frozen=True, eq=False)
class ModeAttributions:
    """Contributions by token and mode: a_t = sum_k (v_t . r_k)(l_k . u_t).

    Attributes:
        contributions: (n, t, d), in float64; they sum over modes to the tokens'
            contributions. Of a conjugate pair the first member carries both, the
            second is zero.
        nearest: the point (n, t) whose modes divide each step, the one nearest to the
            state before it.
        linearization: the points and their modes.
    """

    contributions: Float[Tensor, "n t d"]
    nearest: Int[Tensor, "n t"]
    linearization: Linearization

    @property
    def tokens(self) -> Float[Tensor, "n t"]:
        """Contributions of tokens, all modes together."""
        return self.contributions.sum(-1)

    @property
    def time_constants(self) -> Float[Tensor, "p d"]:
        """Steps in which each mode of each point decays; NaN where it grows."""
        return self.linearization.time_constants


def divide_by_modes(
    previous_states: StateSequences,
    adjoints: StateSequences,
    drives: StateSequences,
    linearization: Linearization,
) -> ModeAttributions:
    """Divide v_t . u_t among the modes of the point nearest to h_{t-1}."""
    worst = float(linearization.condition.max())
    if not worst <= LARGEST_CONDITION:
        raise ValueError(
            f"Expected `linearization` of points whose modes are independent, got a "
            f"condition of {worst:.1e} (at most {LARGEST_CONDITION:.0e}); select "
            f"points by `linearization.condition`."
        )
    states = previous_states.flatten(0, 1)
    v, u = adjoints.flatten(0, 1), drives.flatten(0, 1)
    nearest = torch.cdist(states, linearization.points.states.to(states)).argmin(-1)
    contributions = torch.zeros_like(states)
    for point in torch.unique(nearest).tolist():
        rows = nearest == point
        contributions[rows] = _at_point(v[rows], u[rows], linearization, point)
    shape = adjoints.shape
    return ModeAttributions(
        contributions.view(shape), nearest.view(shape[:2]), linearization
    )


def _at_point(
    adjoints: States, drives: States, linearization: Linearization, point: int
) -> States:
    right = linearization.right_eigenvectors[point]
    left = linearization.left_eigenvectors[point]
    by_mode = (adjoints.to(right) @ right) * (drives.to(left) @ left.mT)
    parts = by_mode.real
    # Of a pair, the member with the positive imaginary part comes first.
    second = linearization.eigenvalues[point].imag < 0
    first = second.roll(-1)
    parts[:, first] += parts[:, second]
    parts[:, second] = 0
    return parts
