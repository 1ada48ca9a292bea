"""ModeAttributions: a token's contribution, divided among invariant subspaces."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from captum_dynamics._execution import row_chunks
from captum_dynamics._typing import States, StateSequences
from captum_dynamics.linearization import Linearization

WORTH_A_FLAG = 3.0
"""Growth of a readout above which time constants say little of the first steps."""


@dataclass(frozen=True, eq=False)
class ModeAttributions:
    """Contributions by token and subspace: a_t = sum_s v_t P_s u_t.

    A subspace is a mode of the point nearest to the state before the step, or a
    conjugate pair, or modes that cannot be told apart; see
    `Linearization.subspaces`. The slowest comes first. Subspaces of different points
    share a number, not a meaning: their time constants tell.

    Attributes:
        contributions: (n, t, s), in float64; they sum over subspaces to the tokens'
            contributions. Zero where a point has fewer than s subspaces.
        nearest: the point (n, t) whose subspaces divide each step, the one nearest to
            the state before it.
        readouts: how each output reads the states, summed over steps, (n, d).
        linearization: the points and their modes.
    """

    contributions: Float[Tensor, "n t s"]
    nearest: Int[Tensor, "n t"]
    readouts: States
    linearization: Linearization

    @property
    def tokens(self) -> Float[Tensor, "n t"]:
        """Contributions of tokens, all subspaces together."""
        return self.contributions.sum(-1)

    @property
    def time_constants(self) -> Float[Tensor, "p s"]:
        """Steps in which each subspace of each point decays; NaN where it grows."""
        return self.linearization.subspaces.time_constants

    @property
    def token_time_constants(self) -> Float[Tensor, "n t s"]:
        """Those of the subspaces that divide each step, for each contribution."""
        return self.time_constants[self.nearest]

    def slowest(self, count: int) -> Float[Tensor, "n t c"]:
        """Contributions of the `count` slowest subspaces, then of all others together.

        Where there are no more than `count`, the last of these is zero.
        """
        parts = self.contributions
        first, rest = parts[..., :count], parts[..., count:]
        return torch.cat([first, rest.sum(-1, keepdim=True)], dim=-1)

    @cached_property
    def transient_growth(self) -> Float[Tensor, "n p"]:
        """max_k |w J^k| / |w| of each output's readout w at each point.

        k goes up to the number of steps; see `Linearization.transient_growth`. NaN
        for an output that reads no state.
        """
        steps = self.contributions.shape[1]
        return self.linearization.transient_growth(self.readouts, steps=steps).mT

    @property
    def non_normal(self) -> Bool[Tensor, "n p"]:
        """Where a readout grows more than threefold before it decays.

        Contributions of modes are then large, of opposite signs, and say less than
        their sum.
        """
        return self.transient_growth > WORTH_A_FLAG


def find_nearest(states: StateSequences, linearization: Linearization) -> Tensor:
    """The point (n, t) nearest to each state."""
    flat, points = states.flatten(0, 1), linearization.points.states.to(states)
    nearest = [
        torch.cdist(flat[rows], points).argmin(-1)
        for rows in row_chunks(len(flat), 8 * len(points))
    ]
    return torch.cat(nearest).view(states.shape[:2])


def divide_by_subspaces(
    nearest: Tensor,
    cotangents: StateSequences,
    drives: StateSequences,
    linearization: Linearization,
) -> Float[Tensor, "n t s"]:
    """Divide v_t . u_t among the subspaces of each step's point."""
    subspaces = linearization.subspaces
    parts = subspaces.right.new_zeros(*nearest.shape, subspaces.most)
    for point in torch.unique(nearest).tolist():
        rows = nearest == point
        v, u = cotangents[rows].to(parts), drives[rows].to(parts)
        parts[rows] = subspaces.divide(point, v, u)
    return parts


def restrict_to_subspace(
    nearest: Tensor,
    cotangents: StateSequences,
    linearization: Linearization,
    subspace: int,
) -> StateSequences:
    """v_t P of one subspace of each step's point; zero where there is none."""
    subspaces = linearization.subspaces
    restricted = torch.zeros_like(cotangents)
    for point in torch.unique(nearest).tolist():
        rows = nearest == point
        v = cotangents[rows].to(subspaces.right)
        restricted[rows] = subspaces.restrict(point, v, subspace).to(restricted)
    return restricted
