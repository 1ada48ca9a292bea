"""nn.GRU and nn.GRUCell, in PyTorch's form: r gates the recurrent drive of n.

r = sigma(W_r x + U_r h + b_r), z = sigma(W_z x + U_z h + b_z),
n = tanh(W_n x + b_in + r (U_n h + b_hn)), h' = (1 - z) n + z h
(Cho et al. 2014, with the reset gate after the product).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from captum_dynamics import _intervals
from captum_dynamics._intervals import Ball, Interval
from captum_dynamics._typing import InputJacobians, Inputs, Jacobians, States
from captum_dynamics.adapters._base import (
    RecurrentAdapter,
    add_diagonal,
    scaled_sum,
)
from captum_dynamics.adapters._calls import CellCalls
from captum_dynamics.adapters._registry import register_adapter
from captum_dynamics.adapters._stack import adapt_stack
from captum_dynamics.adapters._torch_layer import TorchLayer
from captum_dynamics.adapters._weights import cell_weights, layer_weights
from captum_dynamics.dynamics import Block, StateLayout


class GRULayer(TorchLayer):
    """One layer of gated recurrent units."""

    @property
    def layout(self) -> StateLayout:
        return StateLayout((Block("h", self._weights.recurrent.shape[1]),))

    def step(self, states: States, inputs: Inputs) -> States:
        _, z, n, _ = self._gates(states, inputs)
        return (1 - z) * n + z * states

    def ungated_residual(self, states: States, inputs: Inputs) -> States:
        """n - h: what F(h) - h = (1 - z)(n - h) hides where z saturates."""
        return self._gates(states, inputs)[2] - states

    def jacobians(self, states: States, inputs: Inputs) -> Jacobians:
        by_r, by_z, by_n, _, z, r = self._slopes(states, inputs)
        u_r, u_z, u_n = self._weights.like(states).recurrent.chunk(3)
        through_gates = scaled_sum((by_r, u_r), (by_z, u_z), (by_n * r, u_n))
        return add_diagonal(through_gates, z)

    def input_jacobians(self, states: States, inputs: Inputs) -> InputJacobians:
        by_r, by_z, by_n, _, _, _ = self._slopes(states, inputs)
        w_r, w_z, w_n = self._weights.like(states).inputs.chunk(3)
        return scaled_sum((by_r, w_r), (by_z, w_z), (by_n, w_n))

    def state_box(
        self, lowest_inputs: Inputs, highest_inputs: Inputs
    ) -> tuple[States, States]:
        ones = lowest_inputs.new_ones(len(lowest_inputs), self.state_dim)
        return -ones, ones

    def enclose(self, states: Interval, inputs: Interval) -> Interval:
        _, z, n, _ = self._enclose_drives(states, inputs)
        n, keep, write = n.tanh(), z.sigmoid(), (-z).sigmoid()
        # One sum forgets less where h and n differ, the other where they agree.
        return (write * n + keep * states) & (n + keep * (states - n))

    def enclose_jacobians(self, states: Interval, inputs: Interval) -> Ball:
        by_r, by_z, by_n, z, r = self._enclose_slopes(states, inputs)
        u_r, u_z, u_n = self._weights.recurrent.chunk(3)
        through_gates = _intervals.scaled_sum((by_r, u_r), (by_z, u_z), (by_n * r, u_n))
        return through_gates + Ball.diagonal(z)

    def enclose_input_jacobians(self, states: Interval, inputs: Interval) -> Ball:
        by_r, by_z, by_n, _, _ = self._enclose_slopes(states, inputs)
        w_r, w_z, w_n = self._weights.inputs.chunk(3)
        return _intervals.scaled_sum((by_r, w_r), (by_z, w_z), (by_n, w_n))

    def variation(self, states: Interval, inputs: Interval) -> States:
        by_r, by_z, by_n, z, r = self._enclose_slopes(states, inputs)
        u_r, u_z, u_n = self._weights.recurrent.chunk(3)
        terms = (by_r, u_r), (by_z, u_z), (by_n * r, u_n)
        return _intervals.row_variation(*terms) + z.lipschitz

    def _gates(
        self, states: States, inputs: Inputs
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """r, z, n and the recurrent drive U_n h + b_hn."""
        w = self._weights.like(states)
        x_r, x_z, x_n = (inputs @ w.inputs.mT + w.input_bias).chunk(3, dim=-1)
        h_r, h_z, h_n = (states @ w.recurrent.mT + w.recurrent_bias).chunk(3, dim=-1)
        r = torch.sigmoid(x_r + h_r)
        return r, torch.sigmoid(x_z + h_z), torch.tanh(x_n + r * h_n), h_n

    def _slopes(
        self, states: States, inputs: Inputs
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
        """dh'/d(drive) of each gate, then n, z, r."""
        r, z, n, recurrent_drive = self._gates(states, inputs)
        by_n = (1 - z) * (1 - n**2)
        by_z = (states - n) * z * (1 - z)
        by_r = by_n * recurrent_drive * r * (1 - r)
        return by_r, by_z, by_n, n, z, r

    def _enclose_drives(
        self, states: Interval, inputs: Interval
    ) -> tuple[Interval, Interval, Interval, Interval]:
        """Drives of r, z and n, and the recurrent drive U_n h + b_hn."""
        w = self._weights
        x_r, x_z, x_n = inputs.affine(w.inputs, w.input_bias).chunk(3)
        h_r, h_z, h_n = states.affine(w.recurrent, w.recurrent_bias).chunk(3)
        r = x_r + h_r
        return r, x_z + h_z, x_n + r.sigmoid() * h_n, h_n

    def _enclose_slopes(
        self, states: Interval, inputs: Interval
    ) -> tuple[Interval, Interval, Interval, Interval, Interval]:
        """As `_slopes`, over boxes: by r, by z, by n, then z, r."""
        r, z, n, h_n = self._enclose_drives(states, inputs)
        by_n = (-z).sigmoid() * n.tanh_slope()
        by_z = (states - n.tanh()) * z.sigmoid_slope()
        by_r = by_n * h_n * r.sigmoid_slope()
        return by_r, by_z, by_n, z.sigmoid(), r.sigmoid()


@register_adapter(nn.GRU)
class GRUAdapter(GRULayer):
    """nn.GRU: one map for each layer, or the joint map of the stack."""

    @classmethod
    def from_layer(
        cls, layer: nn.Module, *, layer_index: int | None = None
    ) -> RecurrentAdapter:
        return adapt_stack(layer, layer_index, _layer)


@register_adapter(nn.GRUCell)
class GRUCellAdapter(GRULayer):
    """nn.GRUCell, called once a step."""

    calls = CellCalls()

    def __init__(self, cell: nn.GRUCell) -> None:
        """Copy the cell's weights."""
        super().__init__(cell_weights(cell))


def _layer(layer: nn.RNNBase, index: int) -> TorchLayer:
    return GRULayer(layer_weights(layer, index))
