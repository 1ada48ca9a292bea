"""Weights that are computed from others: the ones a layer's next call will use.

`torch.nn.utils.parametrizations` computes them whenever they are read. The older
`weight_norm`, `spectral_norm` and `prune` do so in a hook before each call, and what
the layer holds between calls is of the call before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import _SpectralNorm
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from captum_dynamics.adapters._base import refuse


@torch.no_grad()
def effective_tensors(layer: nn.Module, names: Iterable[str]) -> list[Tensor]:
    """The layer's tensors of these names, as its next call will compute them."""
    hooked = dict(_computed_by_hooks(layer))
    return [
        (hooked[name] if name in hooked else getattr(layer, name)).detach()
        for name in names
    ]


def is_settled(module: nn.Module) -> bool:
    """Whether reading or calling a module leaves its weights as they are.

    In training mode each use of a spectral norm takes a step of its power iteration.
    """
    if not module.training:
        return True
    parametrized = parametrize.is_parametrized(module)
    parts = module.parametrizations.modules() if parametrized else ()  # type: ignore[union-attr]
    hooks = module._forward_pre_hooks.values()
    return not (
        any(isinstance(part, _SpectralNorm) for part in parts)
        or any(isinstance(hook, SpectralNorm) for hook in hooks)
    )


def check_settled(layer: nn.Module) -> None:
    """Refuse weights that change whenever they are read."""
    if not is_settled(layer):
        raise refuse(
            layer,
            "its spectral norm is in training mode, where each use changes the "
            "weights; call `model.eval()` first.",
        )


def _computed_by_hooks(layer: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for hook in layer._forward_pre_hooks.values():
        if isinstance(hook, WeightNorm):
            yield hook.name, hook.compute_weight(layer)
        elif isinstance(hook, SpectralNorm):
            yield hook.name, hook.compute_weight(layer, do_power_iteration=False)
        elif isinstance(hook, BasePruningMethod):
            yield hook._tensor_name, hook.apply_mask(layer)  # type: ignore[no-untyped-call]
