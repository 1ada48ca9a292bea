"""The parameters of one layer or cell of torch.nn, copied in float64."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from captum_dynamics import _checks
from captum_dynamics._typing import Inputs
from captum_dynamics.adapters._base import refuse
from captum_dynamics.adapters._reparametrized import (
    check_settled,
    effective_tensors,
)


@dataclass(frozen=True)
class Weights:
    """Gates stacked in PyTorch's order; absent biases are zero.

    Attributes:
        inputs: (gates * hidden, k), PyTorch's `weight_ih`.
        recurrent: (gates * hidden, output), PyTorch's `weight_hh`.
        input_bias: (gates * hidden,), PyTorch's `bias_ih`.
        recurrent_bias: (gates * hidden,), PyTorch's `bias_hh`.
        projection: (output, hidden), PyTorch's `weight_hr`; the identity without one.
    """

    inputs: Tensor
    recurrent: Tensor
    input_bias: Tensor
    recurrent_bias: Tensor
    projection: Tensor | None = None

    def to(self, dtype: torch.dtype) -> Weights:
        """The same weights in another precision."""
        return Weights(
            self.inputs.to(dtype),
            self.recurrent.to(dtype),
            self.input_bias.to(dtype),
            self.recurrent_bias.to(dtype),
            None if self.projection is None else self.projection.to(dtype),
        )

    @cached_property
    def bias(self) -> Tensor:
        """Both biases together, where the equations add them."""
        return self.input_bias + self.recurrent_bias

    def drives(self, outputs: Tensor, inputs: Inputs) -> Tensor:
        """W x + U h + b of all gates, (n, gates * hidden), where they add up."""
        read = torch.addmm(self.bias, inputs, self.inputs.mT)
        return torch.addmm(read, outputs, self.recurrent.mT)


def layer_weights(layer: nn.RNNBase, index: int, *, backward: bool = False) -> Weights:
    """Weights of one layer of a torch.nn.RNN, GRU or LSTM, in one direction."""
    suffix = f"_l{index}_reverse" if backward else f"_l{index}"
    projection = f"weight_hr{suffix}" if layer.proj_size else None
    return _copy(layer, suffix, projection)


def cell_weights(cell: nn.Module, suffix: str = "") -> Weights:
    """Weights of a torch.nn.RNNCell, GRUCell or LSTMCell, or of one named like them."""
    return _copy(cell, suffix, None)


def check_sequence_layer(layer: nn.RNNBase) -> None:
    """Refuse what is not deterministic."""
    if layer.training and layer.dropout > 0 and layer.num_layers > 1:
        raise refuse(
            layer,
            f"dropout={layer.dropout} between its layers is active, which makes the "
            f"map random; call `model.eval()` first.",
        )


def _copy(layer: nn.Module, suffix: str, projection: str | None) -> Weights:
    check_settled(layer)
    names = [f"weight_ih{suffix}", f"weight_hh{suffix}"]
    with_bias = getattr(layer, "bias", True)
    if with_bias:
        names += [f"bias_ih{suffix}", f"bias_hh{suffix}"]
    if projection is not None:
        names.append(projection)
    tensors = effective_tensors(layer, names)
    if not with_bias:
        absent = tensors[0].new_zeros(len(tensors[0]))
        tensors[2:2] = [absent, absent]
    copies = [_checks.check_finite("weights", tensor).clone() for tensor in tensors]
    return Weights(*(copy.to(torch.float64) for copy in copies))
