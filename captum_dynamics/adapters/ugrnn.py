"""The update gate RNN of `captum_dynamics.models`: the example of a cell of your own.

g = sigma(W_g x + U_g h + b_g), c = tanh(W_c x + U_c h + b_c), h' = g h + (1 - g) c
(Collins, Sohl-Dickstein and Sussillo 2017). `step`, `layout` and `input_dim` would do;
the rest are closed forms, each of which pays somewhere: the tangent in every search,
the unitwise form in attributions, bounds in certificates.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from captum_dynamics import _intervals
from captum_dynamics._intervals import Ball, Interval
from captum_dynamics._typing import Inputs, States
from captum_dynamics.adapters._calls import CellCalls, SequenceCalls
from captum_dynamics.adapters._enclosed import EnclosedLayer
from captum_dynamics.adapters._gated import GatedLayer, GatedTangent
from captum_dynamics.adapters._registry import register_adapter
from captum_dynamics.adapters._unitwise import UGRNNForm
from captum_dynamics.adapters._weights import cell_weights


class UGRNNLayer(GatedLayer, EnclosedLayer):
    """One layer of update gate units."""

    def step(self, states: States, inputs: Inputs) -> States:
        g, c = self._gates(states, inputs)
        return torch.lerp(c, states, g)

    @property
    def unitwise_form(self) -> UGRNNForm:
        return UGRNNForm(self._weights)

    def ungated_residual(self, states: States, inputs: Inputs) -> States:
        """c - h: what F(h) - h = (1 - g)(c - h) hides where g saturates."""
        return self._gates(states, inputs)[1] - states

    def tangent(self, states: States, inputs: Inputs) -> GatedTangent:
        g, c = self._gates(states, inputs)
        by_g = (states - c) * g * (1 - g)
        by_c = (1 - g) * (1 - c**2)
        factors = torch.stack([by_g, by_c], dim=1)
        return GatedTangent(self.weights_like(states), factors, factors, g)

    def enclose(self, states: Interval, inputs: Interval) -> Interval:
        g, c = self._enclose_drives(states, inputs)
        c, keep, write = c.tanh(), g.sigmoid(), (-g).sigmoid()
        # One sum forgets less where h and c differ, the other where they agree.
        return (write * c + keep * states) & (c + keep * (states - c))

    def enclose_jacobians(self, states: Interval, inputs: Interval) -> Ball:
        by_g, by_c, g = self._enclose_slopes(states, inputs)
        u_g, u_c = self._weights.recurrent.chunk(2)
        return _intervals.scaled_sum((by_g, u_g), (by_c, u_c)) + Ball.diagonal(g)

    def enclose_input_jacobians(self, states: Interval, inputs: Interval) -> Ball:
        by_g, by_c, _ = self._enclose_slopes(states, inputs)
        w_g, w_c = self._weights.inputs.chunk(2)
        return _intervals.scaled_sum((by_g, w_g), (by_c, w_c))

    def variation(self, states: Interval, inputs: Interval) -> States:
        by_g, by_c, g = self._enclose_slopes(states, inputs)
        u_g, u_c = self._weights.recurrent.chunk(2)
        return _intervals.row_variation((by_g, u_g), (by_c, u_c)) + g.lipschitz

    def _gates(self, states: States, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """The gate g, and the candidate c."""
        drives = self.weights_like(states).drives(states, inputs)
        gate, candidate = drives.chunk(2, dim=-1)
        return torch.sigmoid(gate), torch.tanh(candidate)

    def _enclose_drives(
        self, states: Interval, inputs: Interval
    ) -> tuple[Interval, Interval]:
        """Drives of g and c."""
        w = self._weights
        read = inputs.affine(w.inputs, w.input_bias)
        g, c = (read + states.affine(w.recurrent, w.recurrent_bias)).chunk(2)
        return g, c

    def _enclose_slopes(
        self, states: Interval, inputs: Interval
    ) -> tuple[Interval, Interval, Interval]:
        """Over boxes: by g, by c, then g."""
        g, c = self._enclose_drives(states, inputs)
        by_g = (states - c.tanh()) * g.sigmoid_slope()
        by_c = (-g).sigmoid() * c.tanh_slope()
        return by_g, by_c, g.sigmoid()


@register_adapter("captum_dynamics.models.ugrnn.UGRNN")
class UGRNNAdapter(UGRNNLayer):
    """`models.UGRNN`, called with whole sequences."""

    def __init__(self, layer: Any) -> None:
        """Copy the layer's weights."""
        super().__init__(cell_weights(layer, "_l0"))
        self.calls = SequenceCalls(layer)


@register_adapter("captum_dynamics.models.ugrnn.UGRNNCell")
class UGRNNCellAdapter(UGRNNLayer):
    """`models.UGRNNCell`, called once a step."""

    calls = CellCalls()

    def __init__(self, cell: nn.Module) -> None:
        """Copy the cell's weights."""
        super().__init__(cell_weights(cell))
