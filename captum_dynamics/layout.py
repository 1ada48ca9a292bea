"""How a flat state vector is divided into named blocks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True)
class Block:
    """A named part of the state, such as the cell state of one layer.

    Attributes:
        name: what it is called.
        size: how many columns of the flat state it takes.
        shape: its shape where it is no vector, such as (4, 16); () for a vector.
    """

    name: str
    size: int
    shape: tuple[int, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        """Check that the shape has as many values as the block has columns."""
        if self.shape and math.prod(self.shape) != self.size:
            raise ValueError(
                f"Expected `shape` of block {self.name!r} to hold {self.size} values, "
                f"got {self.shape}."
            )


@dataclass(frozen=True)
class StateLayout:
    """How a flat state vector is divided into named blocks.

    Example:
        >>> layout = StateLayout((Block("h", 2), Block("c", 3)))
        >>> layout.size, layout.slice("c")
        (5, slice(2, 5, None))
        >>> layout.unit(4)
        'c[2]'
        >>> StateLayout.of({"m": (2, 3), "c": 1}).unit(4)
        'm[1,1]'
    """

    blocks: tuple[Block, ...]

    @classmethod
    def of(cls, shapes: Mapping[str, int | tuple[int, ...]]) -> StateLayout:
        """The layout of named blocks, each of a width or a shape."""
        blocks = []
        for name, shape in shapes.items():
            given = (shape,) if isinstance(shape, int) else tuple(shape)
            if not given or min(given) < 1:
                raise ValueError(
                    f"Expected `state` to give block {name!r} a width or shape of at "
                    f"least 1, got {shape}."
                )
            inner = given if len(given) > 1 else ()
            blocks.append(Block(name, math.prod(given), inner))
        return cls(tuple(blocks))

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
                return f"{block.name}[{_place(place, block.shape)}]"
            place -= block.size
        raise IndexError(f"Expected a column from 0 to {self.size - 1}, got {column}.")

    def split(self, states: Tensor) -> dict[str, Tensor]:
        """Divide (..., d) states into their blocks."""
        return {name: states[..., self.slice(name)] for name in self.names}

    def join(self, blocks: Mapping[str, Tensor]) -> Tensor:
        """Put blocks back together into (..., d) states."""
        return torch.cat([blocks[name] for name in self.names], dim=-1)

    def unflatten(self, states: Tensor) -> dict[str, Tensor]:
        """Divide (..., d) states into blocks of their own shapes."""
        return {
            block.name: part.reshape(*part.shape[:-1], *block.shape)
            if block.shape
            else part
            for block, part in zip(
                self.blocks, self.split(states).values(), strict=True
            )
        }

    def flatten(self, blocks: Mapping[str, Tensor]) -> Tensor:
        """Put blocks of their own shapes, n rows, back together into (n, d) states.

        Raises:
            ValueError: a block is missing, unknown, or of another shape.
        """
        if set(blocks) != set(self.names):
            raise ValueError(
                f"Expected the blocks {list(self.names)} of the state, got "
                f"{list(blocks)}."
            )
        parts = []
        for block in self.blocks:
            given, shape = blocks[block.name], block.shape or (block.size,)
            if given.shape[1:] != shape:
                raise ValueError(
                    f"Expected block {block.name!r} of the state to have shape "
                    f"{('n', *shape)}, got {tuple(given.shape)}."
                )
            parts.append(given.flatten(1))
        return torch.cat(parts, dim=-1)


def _place(column: int, shape: tuple[int, ...]) -> str:
    """Index of one value of a block, such as "1,4" of a matrix."""
    places = []
    for size in reversed(shape[1:]):
        places.append(column % size)
        column //= size
    return ",".join(map(str, [column, *reversed(places)]))
