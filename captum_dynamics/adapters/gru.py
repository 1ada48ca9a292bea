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
from captum_dynamics._typing import Inputs, States
from captum_dynamics.adapters._calls import CellCalls
from captum_dynamics.adapters._enclosed import EnclosedLayer
from captum_dynamics.adapters._gated import GatedLayer, GatedTangent
from captum_dynamics.adapters._registry import register_adapter
from captum_dynamics.adapters._sequence_layer import SequenceLayer
from captum_dynamics.adapters._unitwise import GRUForm
from captum_dynamics.adapters._weights import cell_weights, layer_weights


class GRULayer(GatedLayer, EnclosedLayer):
    """One layer of gated recurrent units."""

    def step(self, states: States, inputs: Inputs) -> States:
        _, z, n, _ = self._gates(states, inputs)
        return torch.lerp(n, states, z)

    @property
    def unitwise_form(self) -> GRUForm:
        return GRUForm(self._weights)

    def ungated_residual(self, states: States, inputs: Inputs) -> States:
        """n - h: what F(h) - h = (1 - z)(n - h) hides where z saturates."""
        return self._gates(states, inputs)[2] - states

    def tangent(self, states: States, inputs: Inputs) -> GatedTangent:
        r, z, n, recurrent_drive = self._gates(states, inputs)
        by_n = (1 - z) * (1 - n**2)
        by_z = (states - n) * z * (1 - z)
        by_r = by_n * recurrent_drive * r * (1 - r)
        by_state = torch.stack([by_r, by_z, by_n * r], dim=1)
        by_input = torch.stack([by_r, by_z, by_n], dim=1)
        return GatedTangent(self.weights_like(states), by_state, by_input, z)

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
        w = self.weights_like(states)
        read = torch.addmm(w.input_bias, inputs, w.inputs.mT)
        recurrent = torch.addmm(w.recurrent_bias, states, w.recurrent.mT)
        gates, width = torch.sigmoid(read + recurrent), self.state_dim
        r, z = gates[:, :width], gates[:, width : 2 * width]
        x_n, h_n = read[:, 2 * width :], recurrent[:, 2 * width :]
        return r, z, torch.tanh(torch.addcmul(x_n, r, h_n)), h_n

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
class GRUAdapter(SequenceLayer, GRULayer):
    """nn.GRU: one map for each level and direction, or a joint one of all levels."""

    @staticmethod
    def build(layer: nn.RNNBase, index: int, *, backward: bool) -> EnclosedLayer:
        return GRULayer(layer_weights(layer, index, backward=backward))


@register_adapter(nn.GRUCell)
class GRUCellAdapter(GRULayer):
    """nn.GRUCell, called once a step."""

    calls = CellCalls()

    def __init__(self, cell: nn.GRUCell) -> None:
        """Copy the cell's weights."""
        super().__init__(cell_weights(cell))
