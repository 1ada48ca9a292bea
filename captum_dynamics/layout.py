"""How a flat state vector is divided into named blocks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Block:
    """A named part of the state, such as the cell state of one layer."""

    name: str
    size: int


@dataclass(frozen=True)
class StateLayout:
    """How a flat state vector is divided into named blocks.

    Example:
        >>> layout = StateLayout((Block("h", 2), Block("c", 3)))
        >>> layout.size, layout.slice("c")
        (5, slice(2, 5, None))
        >>> layout.unit(4)
        'c[2]'
    """

    blocks: tuple[Block, ...]

    @property
    def size(self) -> int:
        """Width of the flat state."""
        return sum(block.size for block in self.blocks)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the blocks, in order."""
        return tuple(block.name for block in self.blocks)

    def slice(self, name: str) -> slice:
        """Columns of one block."""
        start = 0
        for block in self.blocks:
            if block.name == name:
                return slice(start, start + block.size)
            start += block.size
        raise KeyError(f"Expected a block among {self.names}, got {name!r}.")

    def unit(self, column: int) -> str:
        """Name of one column of the flat state, such as "c[17]"."""
        place = column
        for block in self.blocks:
            if 0 <= place < block.size:
                return f"{block.name}[{place}]"
            place -= block.size
        raise IndexError(f"Expected a column from 0 to {self.size - 1}, got {column}.")

    def split(self, states: Tensor) -> dict[str, Tensor]:
        """Divide (..., d) states into their blocks."""
        return {name: states[..., self.slice(name)] for name in self.names}

    def join(self, blocks: Mapping[str, Tensor]) -> Tensor:
        """Put blocks back together into (..., d) states."""
        return torch.cat([blocks[name] for name in self.names], dim=-1)
