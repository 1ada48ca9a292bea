"""Layers compiled by `torch.jit.script`: what they were, and the layer they hide."""

from __future__ import annotations

import re

import torch
from torch import nn

from captum_dynamics.adapters._base import refuse

_LAYERS = (nn.RNN, nn.GRU, nn.LSTM, nn.RNNCell, nn.GRUCell, nn.LSTMCell)
_SETTINGS = (
    *("input_size", "hidden_size", "num_layers", "bias", "batch_first"),
    *("dropout", "bidirectional", "proj_size", "nonlinearity"),
)
_BY_NAME = {f"{kind.__module__}.{kind.__name__}": kind for kind in _LAYERS}


def is_scripted(module: nn.Module) -> bool:
    """Whether a module is compiled by `torch.jit`, scripted or traced."""
    return isinstance(module, torch.jit.ScriptModule)


def layer_type(module: nn.Module) -> type[nn.Module]:
    """The class of a module; of a scripted torch layer, the class it was made from."""
    if not isinstance(module, torch.jit.ScriptModule):
        return type(module)
    return _BY_NAME.get(original_name(module), type(module))


def original_name(module: torch.jit.ScriptModule) -> str:
    """Dotted name of the class that a scripted or traced module was made from."""
    name = module._c._type().qualified_name().removeprefix("__torch__.")
    return re.sub(r"___torch_mangle_\d+\.", "", name)


def check_scripted(module: nn.Module) -> None:
    """Refuse what `torch.jit` has left no settings of, or no known equations."""
    if not isinstance(module, torch.jit.ScriptModule):
        return
    kind = _BY_NAME.get(original_name(module))
    if kind is None:
        raise refuse(
            module,
            f"it is {original_name(module)} compiled by `torch.jit`, whose equations "
            f"cannot be read and in which hooks do not fire; use the original module, "
            f"before `torch.jit`.",
        )
    if getattr(module, "hidden_size", None) is None:
        raise refuse(
            module,
            f"it is a traced {kind.__name__}, of which `torch.jit.trace` keeps no "
            f"settings and in which hooks do not fire; use the original module, or "
            f"`torch.jit.script`.",
        )


def rebuilt(module: torch.jit.ScriptModule) -> nn.Module:
    """The eager layer with the settings, the mode and the parameters of a scripted one.

    A scripted nn.RNN, GRU or LSTM cannot be called by itself; this one can, and it
    shares the memory of its parameters.
    """
    kind = _BY_NAME[original_name(module)]
    known = {name: getattr(module, name, None) for name in _SETTINGS}
    if not issubclass(kind, nn.RNN | nn.RNNCell):
        del known["nonlinearity"]
    if known.get("proj_size") == 0:
        del known["proj_size"]
    settings = {name: value for name, value in known.items() if value is not None}
    # On "meta" nothing is drawn: the global generator stays where it is.
    layer = kind(**settings, device="meta")
    for name, parameter in module.named_parameters():
        own = nn.Parameter(parameter.detach(), requires_grad=parameter.requires_grad)
        setattr(layer, name, own)
    return layer.train(module.training)
