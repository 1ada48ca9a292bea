"""Layers whose gates read the state through one product U h: RNN and GRU.

Their Jacobians are sums over gates, J = sum_k diag(f_k) U_k + diag(e), and so are
products with them: one matrix product of the batch with the stacked U each.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from captum_dynamics._typing import InputJacobians, Inputs, Jacobians, States
from captum_dynamics.adapters._base import scaled_sum
from captum_dynamics.adapters._closed_form import ClosedTangent
from captum_dynamics.adapters._torch_layer import TorchLayer
from captum_dynamics.adapters._weights import Weights
from captum_dynamics.layout import Block, StateLayout


@dataclass(frozen=True, eq=False)
class GatedTangent(ClosedTangent):
    """Derivatives of the new state with respect to each gate's drive.

    Attributes:
        weights: of the layer.
        by_state: f (n, gates, d), on what a gate reads of the state.
        by_input: the same (n, gates, d) on what it reads of the input.
        kept: e (n, d), the share of the old state that is kept; None for none.
    """

    weights: Weights
    by_state: Tensor
    by_input: Tensor
    kept: States | None = None

    def select(self, rows: Tensor) -> GatedTangent:
        kept = None if self.kept is None else self.kept.index_select(0, rows)
        by_state = self.by_state.index_select(0, rows)
        by_input = self.by_input.index_select(0, rows)
        return GatedTangent(self.weights, by_state, by_input, kept)

    def jacobians(self) -> Jacobians:
        jacobians = scaled_sum(self.by_state, self.weights.recurrent)
        if self.kept is not None:
            jacobians.diagonal(dim1=-2, dim2=-1).add_(self.kept)
        return jacobians

    def input_jacobians(self) -> InputJacobians:
        return scaled_sum(self.by_input, self.weights.inputs)

    def push(
        self, state_tangents: States, input_tangents: Inputs | None = None
    ) -> States:
        drives = (state_tangents @ self.weights.recurrent.mT).view_as(self.by_state)
        pushed = (self.by_state * drives).sum(1)
        if self.kept is not None:
            pushed = pushed + self.kept * state_tangents
        if input_tangents is None:
            return pushed
        drives = (input_tangents @ self.weights.inputs.mT).view_as(self.by_input)
        return pushed + (self.by_input * drives).sum(1)

    def pull(self, cotangents: States) -> tuple[States, Inputs]:
        each = cotangents[:, None]
        by_state = (self.by_state * each).flatten(1) @ self.weights.recurrent
        if self.kept is not None:
            by_state = by_state + self.kept * cotangents
        by_input = (self.by_input * each).flatten(1) @ self.weights.inputs
        return by_state, by_input


class GatedLayer(TorchLayer):
    """A layer with one block of state, whose output it is."""

    @property
    def layout(self) -> StateLayout:
        return StateLayout((Block("h", self._weights.recurrent.shape[1]),))

    def state_box(
        self, lowest_inputs: Inputs, highest_inputs: Inputs
    ) -> tuple[States, States] | None:
        """Gates of slope at most one keep |h| <= 1, whatever they read."""
        ones = lowest_inputs.new_ones(len(lowest_inputs), self.state_dim)
        return -ones, ones
