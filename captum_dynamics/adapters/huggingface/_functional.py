"""Writes into a cache as functions, and hard-coded casts in double precision.

Layers of transformers write their new states into tensors of the cache. Under the
modes of this module the tensors that were passed stay as they are: what is written
goes to the place of the tensor in the cache, and later reads see it there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from captum_dynamics.adapters.huggingface._slots import Slot

_LOW = {torch.float32, torch.float16, torch.bfloat16}
_CASTS = {"float", "half", "bfloat16"}
_DUNDER = {"__setitem__", "__iadd__", "__isub__", "__imul__", "__itruediv__"}


@dataclass(frozen=True, eq=False)
class _View:
    """A part of a tensor, by an index; writing it writes the tensor anew."""

    whole: Slot | _View
    index: Any

    def read(self) -> Tensor:
        part: Tensor = self.whole.read()[self.index]
        return part

    def write(self, value: Tensor) -> None:
        self.whole.write(_replaced(self.whole.read(), self.index, value))


class FunctionalWrites(TorchFunctionMode):
    """Let writes into some tensors of a cache replace them there.

    Views of such a tensor, by index, are written the same way.

    Args:
        slots: the places of the tensors, in the cache that will be written.
    """

    def __init__(self, slots: Iterable[Slot]) -> None:
        """Take note of the tensors as they are now."""
        super().__init__()
        # Tensors are kept, so that no other one can get the number of a lost one.
        self._places: dict[int, tuple[Tensor, Slot | _View]] = {}
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
        known = self._places.get(id(args[0])) if args else None
        name = getattr(func, "__name__", "")
        if known is not None and _writes(name):
            return self._write(func, known[1], given, named)
        result = func(*given, **named)
        if known is not None and name == "__getitem__" and _is_basic(args[1]):
            self._note(result, _View(known[1], args[1]))
        return result

    def _write(
        self,
        func: Callable[..., Any],
        place: Slot | _View,
        given: tuple[Any, ...],
        named: dict[str, Any],
    ) -> Any:
        """Run a function that writes into its first argument, on a copy of that."""
        old, name = given[0], func.__name__
        if name == "copy_":
            new, result = given[1].to(old).expand_as(old), None
        elif name == "__setitem__" and _is_basic(given[1]):
            new, result = _replaced(old, given[1], torch.as_tensor(given[2])), None
        else:
            new = old.clone()
            result = func(new, *given[1:], **named)
        place.write(new)
        self._note(new, place)
        self._note_whole(place)
        return None if name == "__setitem__" else (new if result is None else result)

    def _note(self, tensor: Tensor, place: Slot | _View) -> None:
        self._places[id(tensor)] = tensor, place

    def _note_whole(self, place: Slot | _View) -> None:
        while isinstance(place, _View):
            place = place.whole
        self._note(place.read(), place)

    def _now(self, value: Any) -> Any:
        """What a tensor of the cache has become, wherever the caller got it from."""
        if isinstance(value, (list, tuple)) and type(value) in (list, tuple):
            return type(value)(self._now(item) for item in value)
        if not isinstance(value, Tensor) or id(value) not in self._places:
            return value
        _, place = self._places[id(value)]
        current = place.read()
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


def precision_of(layer: nn.Module) -> AbstractContextManager[Any]:
    """DoublePrecision where a layer is in float64; else nothing."""
    kinds = {parameter.dtype for parameter in layer.parameters()}
    return DoublePrecision() if torch.float64 in kinds else nullcontext()


def _writes(name: str) -> bool:
    return name in _DUNDER or (name.endswith("_") and not name.endswith("__"))


def _replaced(whole: Tensor, index: Any, value: Tensor) -> Tensor:
    """A tensor with another value at an index.

    Not in place, as under vmap the value can have rows that the whole has not.
    """
    numbers = torch.arange(whole.numel(), device=whole.device).reshape(whole.shape)
    places = numbers[index]
    flat = whole.reshape(-1).index_put((places,), value.to(whole).expand(places.shape))
    return flat.reshape(whole.shape)


def _is_basic(index: Any) -> bool:
    """Whether an index gives a view, and no copy."""
    parts = index if isinstance(index, tuple) else (index,)
    return all(
        part is None or part is Ellipsis or type(part) in (int, slice) for part in parts
    )


def _wide(value: Any) -> Any:
    if isinstance(value, torch.dtype) and value in _LOW:
        return torch.float64
    return value
