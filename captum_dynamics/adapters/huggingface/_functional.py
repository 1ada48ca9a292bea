"""Writes into a cache as functions, and hard-coded casts in double precision.

Layers of transformers write their new states into tensors of the cache. Under the
modes of this module the tensors that were passed stay as they are: what is written
goes to the place of the tensor in the cache, and later reads see it there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from captum_dynamics.adapters.huggingface._slots import Slot

_LOW = {torch.float32, torch.float16, torch.bfloat16}
_CASTS = {"float", "half", "bfloat16"}
_DUNDER = {"__setitem__", "__iadd__", "__isub__", "__imul__", "__itruediv__"}


class FunctionalWrites(TorchFunctionMode):
    """Let writes into some tensors of a cache replace them there.

    Args:
        slots: the places of the tensors, in the cache that will be written.
    """

    def __init__(self, slots: Iterable[Slot]) -> None:
        """Take note of the tensors as they are now."""
        super().__init__()
        # Tensors are kept, so that no other one can get the number of a lost one.
        self._places: dict[int, tuple[Tensor, Slot]] = {}
        for slot in slots:
            self._note(slot.read(), slot)

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run one function of torch, on what the cache holds now."""
        named = {key: self._now(value) for key, value in (kwargs or {}).items()}
        given = tuple(self._now(value) for value in args)
        known = self._places.get(id(given[0])) if given else None
        name = getattr(func, "__name__", "")
        if known is None or not _writes(name):
            return func(*given, **named)
        old, slot = known
        if name == "copy_":
            new, result = given[1].to(old).expand_as(old), None
        else:
            new = old.clone()
            result = func(new, *given[1:], **named)
        slot.write(new)
        self._note(new, slot)
        return None if name == "__setitem__" else (new if result is None else result)

    def _note(self, tensor: Tensor, slot: Slot) -> None:
        self._places[id(tensor)] = tensor, slot

    def _now(self, value: Any) -> Any:
        """What a tensor of the cache has become, wherever the caller got it from."""
        if isinstance(value, (list, tuple)) and type(value) in (list, tuple):
            return type(value)(self._now(item) for item in value)
        if not isinstance(value, Tensor) or id(value) not in self._places:
            return value
        _, slot = self._places[id(value)]
        current = slot.read()
        return current if isinstance(current, Tensor) else value


class DoublePrecision(TorchFunctionMode):
    """Let hard-coded casts to float32, and constants of that type, be float64."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run one function of torch in double precision."""
        if getattr(func, "__name__", "") in _CASTS:
            return args[0].double()
        given = [_wide(value) for value in args]
        named = {key: _wide(value) for key, value in (kwargs or {}).items()}
        result = func(*given, **named)
        if isinstance(result, Tensor) and result.dtype in _LOW:
            return result.double()
        return result


def _writes(name: str) -> bool:
    return name in _DUNDER or (name.endswith("_") and not name.endswith("__"))


def _wide(value: Any) -> Any:
    if isinstance(value, torch.dtype) and value in _LOW:
        return torch.float64
    return value
