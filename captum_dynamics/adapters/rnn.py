"""nn.RNN and nn.RNNCell: h' = phi(W x + U h + b), phi = tanh or ReLU."""

from __future__ import annotations

import torch
from torch import nn

from captum_dynamics import _intervals
from captum_dynamics._intervals import Ball, Interval
from captum_dynamics._typing import Inputs, OneInput, States
from captum_dynamics.activation_form import ActivationForm
from captum_dynamics.adapters._calls import CellCalls
from captum_dynamics.adapters._enclosed import EnclosedLayer
from captum_dynamics.adapters._gated import GatedLayer, GatedTangent
from captum_dynamics.adapters._registry import register_adapter
from captum_dynamics.adapters._sequence_layer import SequenceLayer
from captum_dynamics.adapters._unitwise import VanillaForm
from captum_dynamics.adapters._weights import Weights, cell_weights, layer_weights
from captum_dynamics.dynamics import Traits


class RNNLayer(GatedLayer, EnclosedLayer):
    """One layer of a vanilla recurrent network (Elman 1990)."""

    def __init__(self, weights: Weights, nonlinearity: str) -> None:
        """Take the weights, and "tanh" or "relu"."""
        super().__init__(weights)
        self._is_tanh = nonlinearity == "tanh"
        self.traits = Traits(piecewise_linear=not self._is_tanh, float32=True)

    def step(self, states: States, inputs: Inputs) -> States:
        drive = self.weights_like(states).drives(states, inputs)
        return torch.tanh(drive) if self._is_tanh else torch.relu(drive)

    @property
    def unitwise_form(self) -> VanillaForm:
        return VanillaForm(self._weights, self._is_tanh)

    def tangent(self, states: States, inputs: Inputs) -> GatedTangent:
        drive = self.weights_like(states).drives(states, inputs)
        by_drive = (
            1 - torch.tanh(drive) ** 2 if self._is_tanh else (drive > 0).to(drive)
        )
        factors = by_drive[:, None]
        return GatedTangent(self.weights_like(states), factors, factors)

    def state_box(
        self, lowest_inputs: Inputs, highest_inputs: Inputs
    ) -> tuple[States, States] | None:
        return (
            super().state_box(lowest_inputs, highest_inputs) if self._is_tanh else None
        )

    def enclose(self, states: Interval, inputs: Interval) -> Interval:
        drive = self._enclose_drive(states, inputs)
        return drive.tanh() if self._is_tanh else drive.relu()

    def enclose_jacobians(self, states: Interval, inputs: Interval) -> Ball:
        slopes = self._enclose_slopes(states, inputs)
        return _intervals.scaled_sum((slopes, self._weights.recurrent))

    def enclose_input_jacobians(self, states: Interval, inputs: Interval) -> Ball:
        slopes = self._enclose_slopes(states, inputs)
        return _intervals.scaled_sum((slopes, self._weights.inputs))

    def variation(self, states: Interval, inputs: Interval) -> States:
        slopes = self._enclose_slopes(states, inputs)
        return _intervals.row_variation((slopes, self._weights.recurrent))

    def activation_form(self, one_input: OneInput) -> ActivationForm | None:
        if self._is_tanh:
            return None
        w = self.weights_like(one_input)
        eye = torch.eye(self.state_dim, dtype=one_input.dtype, device=one_input.device)
        offsets = w.inputs @ one_input + w.bias
        nothing = torch.zeros_like(offsets)
        return ActivationForm(0 * eye, eye, w.recurrent, offsets, nothing)

    def _enclose_drive(self, states: Interval, inputs: Interval) -> Interval:
        w = self._weights
        read = inputs.affine(w.inputs, w.input_bias)
        return read + states.affine(w.recurrent, w.recurrent_bias)

    def _enclose_slopes(self, states: Interval, inputs: Interval) -> Interval:
        drive = self._enclose_drive(states, inputs)
        return drive.tanh_slope() if self._is_tanh else drive.relu_slope()


@register_adapter(nn.RNN)
class RNNAdapter(SequenceLayer, RNNLayer):
    """nn.RNN: one map for each level and direction, or a joint one of all levels."""

    @staticmethod
    def build(layer: nn.RNNBase, index: int, *, backward: bool) -> EnclosedLayer:
        return RNNLayer(
            layer_weights(layer, index, backward=backward), str(layer.nonlinearity)
        )


@register_adapter(nn.RNNCell)
class RNNCellAdapter(RNNLayer):
    """nn.RNNCell, called once a step."""

    calls = CellCalls()

    def __init__(self, cell: nn.RNNCell) -> None:
        """Copy the cell's weights."""
        super().__init__(cell_weights(cell), cell.nonlinearity)
