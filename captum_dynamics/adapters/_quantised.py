"""Dynamically quantised layers: refused, or read as the float layer they round."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn

from captum_dynamics.adapters._base import refuse
from captum_dynamics.exceptions import SurrogateWarning

_BY_NAME = {
    kind.__name__: kind
    for kind in (nn.GRU, nn.LSTM, nn.RNNCell, nn.GRUCell, nn.LSTMCell)
}
# Enough steps for an error of the recurrence to build up.
_ROWS, _STEPS = 8, 50


def quantised_type(module: nn.Module) -> type[nn.Module] | None:
    """The float class of a dynamically quantised recurrent layer; None of others."""
    if ".quantized.dynamic" not in type(module).__module__:
        return None
    return _BY_NAME.get(type(module).__name__)


def refuse_quantised(module: nn.Module) -> None:
    """Refuse any quantised module."""
    if "quantized" not in type(module).__module__:
        return
    remedy = (
        ""
        if quantised_type(module) is None
        else ", or read its weights with `captum_dynamics.adapt(..., dequantize=True)`"
    )
    raise refuse(
        module,
        f"it is quantised, so that gradients through it are silently missing; adapt "
        f"the float module it was made from{remedy}.",
    )


def dequantised(module: Any) -> nn.Module:
    """The float layer with the weights of a quantised one; a warning tells its error.

    The quantised layer rounds its inputs and states too, which the float one does not.
    """
    kind = _BY_NAME[type(module).__name__]
    if issubclass(kind, nn.RNNCellBase):
        settings = {"nonlinearity": module.nonlinearity} if kind is nn.RNNCell else {}
    else:
        settings = {
            name: getattr(module, name)
            for name in ("num_layers", "batch_first", "bidirectional")
        }
    sizes = module.input_size, module.hidden_size
    layer = kind(*sizes, bias=module.bias, device="meta", **settings)
    given = {**module.get_weight(), **(module.get_bias() if module.bias else {})}
    for name, values in given.items():
        own = values.detach().dequantize().float()
        setattr(layer, name, nn.Parameter(own, requires_grad=False))
    layer.eval()
    warnings.warn(
        f"The map is that of the dequantised weights: on standard normal inputs, "
        f"within {_STEPS} steps, its outputs differ from those of the quantised "
        f"{kind.__name__} by up to {_error(layer, module):.1e}.",
        SurrogateWarning,
        stacklevel=4,
    )
    return layer


@torch.no_grad()
def _error(layer: Any, module: nn.Module) -> float:
    """Largest difference of outputs over some sequences."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(_STEPS, _ROWS, layer.input_size, generator=generator)
    if getattr(layer, "batch_first", False):
        inputs = inputs.transpose(0, 1).contiguous()
    run = _loop if isinstance(layer, nn.RNNCellBase) else _sequence
    ours, theirs = (run(each, inputs) for each in (layer, module))
    return float((ours - theirs).abs().max())


def _sequence(layer: nn.Module, inputs: Tensor) -> Tensor:
    outputs: Tensor = layer(inputs)[0]
    return outputs


def _loop(layer: nn.Module, inputs: Tensor) -> Tensor:
    state, visited = None, []
    for step in inputs:
        state = layer(step, state)
        visited.append(state[0] if isinstance(state, tuple) else state)
    return torch.stack(visited)
