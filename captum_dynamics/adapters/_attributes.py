"""Tensors that modules keep in plain attributes, neither parameters nor buffers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn


def attributes(layer: nn.Module) -> dict[str, dict[str, Any]]:
    """Attributes in which the modules of a layer keep tensors, as they stand."""
    return {name: vars(module) for name, module in layer.named_modules()}


@contextmanager
def restored(layer: nn.Module) -> Iterator[None]:
    """Put back the tensors that are attributes of a layer when the block ends.

    An attribute that held none, such as that of a state before the first call, holds
    none again, and one that was not there is taken away.
    """
    before = [(held, dict(held)) for held in attributes(layer).values()]
    try:
        yield
    finally:
        for held, kept in before:
            for key in [*held]:
                if key not in kept and isinstance(held[key], Tensor):
                    del held[key]
            for key, value in kept.items():
                if isinstance(value, Tensor) or isinstance(held.get(key), Tensor):
                    held[key] = value
