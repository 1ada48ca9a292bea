"""Everything of a model that an analysis must leave alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def fingerprint(layer: nn.Module) -> dict[str, Any]:
    """Everything of a layer that an analysis must leave alone."""
    kept: dict[str, Any] = {}
    for name, tensor in (*layer.named_parameters(), *layer.named_buffers()):
        kept[f"value of {name}"] = tensor.detach().clone()
        kept[f"requires_grad of {name}"] = tensor.requires_grad
        kept[f"gradient of {name}"] = None if tensor.grad is None else tensor.grad + 0
    for name, module in layer.named_modules():
        own = name or "the layer"
        kept[f"mode of {own}"] = module.training
        for key, value in vars(module).items():
            if isinstance(value, Tensor):
                kept[f"attribute {key} of {own}"] = value.detach().clone()
        hooks = (
            *(module._forward_hooks, module._forward_pre_hooks),
            *(module._backward_hooks, module._backward_pre_hooks),
        )
        kept[f"hooks of {own}"] = sum(len(kind) for kind in hooks)
    kept["torch's default dtype"] = torch.get_default_dtype()
    kept["torch's global generator"] = torch.get_rng_state()
    kept["torch's number of threads"] = torch.get_num_threads()
    kept["torch's gradient mode"] = torch.is_grad_enabled()
    return kept


def changes(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Names of what differs between two fingerprints."""

    def same(one: Any, other: Any) -> bool:
        if isinstance(one, Tensor) and isinstance(other, Tensor):
            return torch.equal(one, other)
        return bool(one == other)

    names = [*before, *(name for name in after if name not in before)]
    return [n for n in names if not same(before.get(n), after.get(n))]
