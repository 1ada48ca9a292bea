"""nn.GRU and nn.GRUCell, in PyTorch's form: r gates the recurrent drive of n.

r = sigma(W_r x + U_r h + b_r), z = sigma(W_z x + U_z h + b_z),
n = tanh(W_n x + b_in + r (U_n h + b_hn)), h' = (1 - z) n + z h
(Cho et al. 2014, with the reset gate after the product).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from captum_dynamics._typing import Inputs, States
from captum_dynamics.adapters._base import RecurrentAdapter
from captum_dynamics.adapters._calls import CellCalls
from captum_dynamics.adapters._gated import GatedLayer, GatedTangent
from captum_dynamics.adapters._registry import register_adapter
from captum_dynamics.adapters._stack import adapt_stack
from captum_dynamics.adapters._torch_layer import TorchLayer
from captum_dynamics.adapters._weights import cell_weights, layer_weights


class GRULayer(GatedLayer):
    """One layer of gated recurrent units."""

    def step(self, states: States, inputs: Inputs) -> States:
        _, z, n, _ = self._gates(states, inputs)
        return (1 - z) * n + z * states

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

    def _gates(
        self, states: States, inputs: Inputs
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """r, z, n and the recurrent drive U_n h + b_hn."""
        w = self.weights_like(states)
        x_r, x_z, x_n = (inputs @ w.inputs.mT + w.input_bias).chunk(3, dim=-1)
        h_r, h_z, h_n = (states @ w.recurrent.mT + w.recurrent_bias).chunk(3, dim=-1)
        r = torch.sigmoid(x_r + h_r)
        return r, torch.sigmoid(x_z + h_z), torch.tanh(x_n + r * h_n), h_n


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
