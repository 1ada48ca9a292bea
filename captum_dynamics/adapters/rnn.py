"""nn.RNN and nn.RNNCell: h' = phi(W x + U h + b), phi = tanh or ReLU."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from captum_dynamics._typing import (
    InputJacobians,
    Inputs,
    Jacobians,
    OneInput,
    States,
)
from captum_dynamics.activation_form import ActivationForm
from captum_dynamics.adapters._base import RecurrentAdapter, scaled_sum
from captum_dynamics.adapters._calls import CellCalls
from captum_dynamics.adapters._registry import register_adapter
from captum_dynamics.adapters._stack import adapt_stack
from captum_dynamics.adapters._torch_layer import TorchLayer
from captum_dynamics.adapters._weights import Weights, cell_weights, layer_weights
from captum_dynamics.dynamics import Block, StateLayout, Traits


class RNNLayer(TorchLayer):
    """One layer of a vanilla recurrent network (Elman 1990)."""

    def __init__(self, weights: Weights, nonlinearity: str) -> None:
        """Take the weights, and "tanh" or "relu"."""
        super().__init__(weights)
        self._is_tanh = nonlinearity == "tanh"
        self.traits = Traits(piecewise_linear=not self._is_tanh)

    @property
    def layout(self) -> StateLayout:
        return StateLayout((Block("h", self._weights.recurrent.shape[1]),))

    def step(self, states: States, inputs: Inputs) -> States:
        drive = self._drive(states, inputs)
        return torch.tanh(drive) if self._is_tanh else torch.relu(drive)

    def jacobians(self, states: States, inputs: Inputs) -> Jacobians:
        return scaled_sum((self._slopes(states, inputs), self._like(states).recurrent))

    def input_jacobians(self, states: States, inputs: Inputs) -> InputJacobians:
        return scaled_sum((self._slopes(states, inputs), self._like(states).inputs))

    def state_box(
        self, lowest_inputs: Inputs, highest_inputs: Inputs
    ) -> tuple[States, States] | None:
        if not self._is_tanh:
            return None
        ones = lowest_inputs.new_ones(len(lowest_inputs), self.state_dim)
        return -ones, ones

    def activation_form(self, one_input: OneInput) -> ActivationForm | None:
        if self._is_tanh:
            return None
        w = self._like(one_input)
        eye = torch.eye(self.state_dim, dtype=one_input.dtype, device=one_input.device)
        offsets = w.inputs @ one_input + w.bias
        nothing = torch.zeros_like(offsets)
        return ActivationForm(0 * eye, eye, w.recurrent, offsets, nothing)

    def _like(self, states: Tensor) -> Weights:
        return self._weights.like(states)

    def _drive(self, states: States, inputs: Inputs) -> Tensor:
        w = self._like(states)
        return inputs @ w.inputs.mT + states @ w.recurrent.mT + w.bias

    def _slopes(self, states: States, inputs: Inputs) -> Tensor:
        drive = self._drive(states, inputs)
        return 1 - torch.tanh(drive) ** 2 if self._is_tanh else (drive > 0).to(drive)


@register_adapter(nn.RNN)
class RNNAdapter(RNNLayer):
    """nn.RNN: one map for each layer, or the joint map of the stack."""

    @classmethod
    def from_layer(
        cls, layer: nn.Module, *, layer_index: int | None = None
    ) -> RecurrentAdapter:
        return adapt_stack(layer, layer_index, _layer)


@register_adapter(nn.RNNCell)
class RNNCellAdapter(RNNLayer):
    """nn.RNNCell, called once a step."""

    calls = CellCalls()

    def __init__(self, cell: nn.RNNCell) -> None:
        """Copy the cell's weights."""
        super().__init__(cell_weights(cell), cell.nonlinearity)


def _layer(layer: nn.RNNBase, index: int) -> TorchLayer:
    return RNNLayer(layer_weights(layer, index), str(layer.nonlinearity))
