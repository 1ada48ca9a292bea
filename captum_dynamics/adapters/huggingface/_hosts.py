"""The models of transformers around a layer."""

from __future__ import annotations

import inspect
import sys
from typing import Any

import torch
from torch import Tensor, nn

# More tokens than the window of any convolution holds.
_BEGINNING = 8


def host_of(model: nn.Module, layer: nn.Module) -> nn.Module | None:
    """The innermost model of transformers that holds a layer and keeps its cache."""
    held = [m for m in model.modules() if is_pretrained(m) and _decodes(m)]
    around = [m for m in held if any(inner is layer for inner in m.modules())]
    return around[-1] if around else None


def is_pretrained(module: nn.Module) -> bool:
    """Whether a module is a model of transformers, which need not be imported."""
    return any(
        base.__module__ == "transformers.modeling_utils"
        and base.__name__ == "PreTrainedModel"
        for base in type(module).__mro__
    )


def body_of(model: nn.Module) -> nn.Module:
    """A model of transformers without the heads around it."""
    while (inner := getattr(model, "base_model", model)) is not model:
        model = inner
    return model


def embedding_of(host: nn.Module) -> nn.Module:
    """What embeds the ids that a model reads."""
    get: Any = host.get_input_embeddings
    embedding: nn.Module = get()
    return embedding


def beginning(host: nn.Module) -> Tensor:
    """Ids (1, t) of the token that begins a text, time and again."""
    config: Any = host.config
    token = getattr(config, "bos_token_id", None) or 0
    device = next(host.parameters()).device
    return torch.full((1, _BEGINNING), token % config.vocab_size, device=device)


def checked_context(host: nn.Module, context: Tensor) -> Tensor:
    """Ids (1, t) that a model can have read before, on its device."""
    config: Any = host.config
    is_ids = isinstance(context, Tensor) and not (
        context.is_floating_point() or context.is_complex()
    )
    if not is_ids or context.ndim != 2 or len(context) != 1 or not context.numel():
        raise ValueError(
            f"Expected `context` to be ids (1, t) of one text, got "
            f"{_described(context)}."
        )
    if int(context.min()) < 0 or int(context.max()) >= config.vocab_size:
        raise ValueError(
            f"Expected `context` to be ids from 0 to {config.vocab_size - 1}, got "
            f"{int(context.min())} to {int(context.max())}."
        )
    return context.long().to(next(host.parameters()).device)


def _described(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{value.dtype} of shape {tuple(value.shape)}"
    return type(value).__name__


def new_cache(host: nn.Module, rows: int) -> Any:
    """An empty cache of the class that a model's own source file defines, or None.

    Before transformers 5 several hybrids only use a cache that `generate` made.
    """
    source = vars(sys.modules[type(host).__module__])
    kinds = [
        kind
        for name, kind in source.items()
        if name.endswith("Cache") and kind.__module__ == type(host).__module__
    ]
    if not kinds and "DynamicCache" in source:
        return source["DynamicCache"](config=host.config)
    if len(kinds) != 1:
        return None
    config: Any = host.config
    parameter = next(host.parameters())
    given = {
        "config": config,
        "batch_size": rows,
        "dtype": parameter.dtype,
        "device": parameter.device,
        "devices": [parameter.device] * config.num_hidden_layers,
    }
    known = inspect.signature(kinds[0]).parameters
    return kinds[0](**{name: given[name] for name in given if name in known})


def _decodes(model: nn.Module) -> bool:
    return {"inputs_embeds", "use_cache"} <= set(
        inspect.signature(model.forward).parameters
    )
