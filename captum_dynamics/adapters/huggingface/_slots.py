"""Where tensors stand in the arguments of a call, or in attributes of a module."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

Path = tuple[str | int, ...]

_DEEPEST = 8
"""Levels of nesting that are searched: caches hold layers that hold dicts of lists."""


@dataclass(frozen=True, eq=False)
class Slot:
    """A place that holds a tensor.

    Attributes:
        root: what the path begins in.
        path: keys of dicts, indices of lists and names of attributes. An index of a
            tensor comes last: a part of it, such as one layer of a stack.
    """

    root: Any
    path: Path

    def read(self) -> Any:
        """What stands there now."""
        value = self.root
        for key in self.path:
            held: Any = value if isinstance(value, Tensor) else _children(value)
            value = held[key]
        return value

    @property
    def whole(self) -> Slot:
        """The place of the tensor that this is a part of, or this one."""
        outer = Slot(self.root, self.path[:-1])
        return outer if isinstance(outer.read(), Tensor) else self

    def write(self, value: Any) -> None:
        """Put another value there; a tuple or tensor on the way is made anew."""
        outer = Slot(self.root, self.path[:-1])
        holder, key = outer.read(), self.path[-1]
        if isinstance(holder, Tensor):
            parts = list(holder)
            parts[int(key)] = value
            outer.write(torch.stack(parts))
        elif isinstance(holder, tuple):
            place = int(key)
            outer.write((*holder[:place], value, *holder[place + 1 :]))
        else:
            _children(holder)[key] = value


def tensors_in(value: Any) -> dict[Path, Tensor]:
    """Every tensor of nested arguments, by its path; one that stands twice, once."""
    found: dict[Path, Tensor] = {}
    met: set[int] = set()
    for path, tensor in _walk(value, (), met):
        found[path] = tensor
    return found


def _walk(value: Any, path: Path, met: set[int]) -> Iterator[tuple[Path, Tensor]]:
    if isinstance(value, Tensor):
        if id(value) not in met:
            met.add(id(value))
            yield path, value
        return
    if len(path) >= _DEEPEST or id(value) in met:
        return
    inner = _children(value)
    if inner is None:
        return
    met.add(id(value))
    pairs = inner.items() if isinstance(inner, dict) else enumerate(inner)
    for key, item in pairs:
        yield from _walk(item, (*path, key), met)


def _children(value: Any) -> Any:
    """What a value holds: itself of a dict or list, the attributes of an object."""
    if isinstance(value, (dict, list, tuple)):
        return value
    if isinstance(value, (nn.Module, type, str, Tensor)):
        return None
    return getattr(value, "__dict__", None)
