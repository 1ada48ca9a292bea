"""Sums that a layer keeps beside the logarithm of their scale, as numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from captum_dynamics._typing import States
from captum_dynamics.adapters.huggingface._coordinates import Coordinates
from captum_dynamics.adapters.huggingface._decoding import Held
from captum_dynamics.adapters.huggingface._slots import Path
from captum_dynamics.layout import StateLayout


@dataclass(frozen=True)
class Part:
    """A block of the state: a tensor of the call, or one column of its last axis.

    Attributes:
        name: of the block.
        path: of the tensor.
        column: index on the tensor's last axis; None for the whole of it.
        scale: path of the tensor that holds the logarithm of its scale, if it has one.
    """

    name: str
    path: Path
    column: int | None = None
    scale: Path | None = None


class ScaledCoordinates(Coordinates):
    """The sums themselves, where a layer keeps s e^-m and m, for m of its choice.

    Two pairs (s e^-m, m) that mean the same sum s are one state. As the coordinates of
    a map they would be many: whoever shifts m and rescales finds another fixed point,
    and each Jacobian has a multiplier 1 that says nothing of the layer. Here the state
    is s, and the layer is handed m = 0. That is right while s is a float64, for
    exponents m between -700 and 700.

    Args:
        parts: the blocks, in order.
        held: the tensors of the call by path, whose other columns stay as they are.
    """

    def __init__(self, parts: Sequence[Part], held: Mapping[Path, Held]) -> None:
        """Keep the blocks, and what is none of them."""
        self._parts = tuple(parts)
        self._held = held
        self.layout = StateLayout.of({p.name: self._shape(p) for p in self._parts})

    def flat(self, tensors: Mapping[Path, Tensor]) -> States:
        blocks = []
        for part in self._parts:
            block = _column(tensors[part.path], part.column)
            if part.scale is not None:
                block = block * self._scale(part, tensors[part.scale], block)
            blocks.append(block.flatten(1))
        return torch.cat(blocks, dim=-1)

    def tensors(self, states: States) -> dict[Path, Tensor]:
        split = self.layout.split(states)
        rows = len(states)
        found: dict[Path, Tensor] = {}
        for path in {part.path for part in self._parts}:
            own = {p.column: split[p.name] for p in self._parts if p.path == path}
            held = self._held[path]
            if None in own:
                found[path] = own[None].reshape(rows, *held.shape)
                continue
            # Not written in place: under vmap states have rows that these have not.
            whole = held.to_rows(held.repeat(rows))
            columns = [own.get(i, whole[..., i]) for i in range(whole.shape[-1])]
            found[path] = torch.stack(columns, dim=-1)
        for path in {part.scale for part in self._parts if part.scale is not None}:
            shape = self._held[path].shape
            nothing = torch.zeros_like(states[:, :1]).reshape(rows, *[1] * len(shape))
            found[path] = nothing.expand(rows, *shape)
        return found

    def _scale(self, part: Part, scale: Tensor, block: Tensor) -> Tensor:
        """e^m, in the shape of the block, of which the last axes share it."""
        exponent = _column(scale, part.column)
        missing = block.ndim - exponent.ndim
        return exponent.reshape(*exponent.shape, *[1] * missing).exp()

    def _shape(self, part: Part) -> tuple[int, ...]:
        shape = self._held[part.path].shape
        return shape if part.column is None else shape[:-1]


def _column(tensor: Tensor, column: int | None) -> Tensor:
    return tensor if column is None else tensor[..., column]
