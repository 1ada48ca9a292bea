"""One call of a layer while its model decodes, to be made again with other states."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from captum_dynamics._typing import Inputs
from captum_dynamics.adapters._attributes import attributes, restored
from captum_dynamics.adapters.huggingface._functional import (
    DoublePrecision,
    FunctionalWrites,
)
from captum_dynamics.adapters.huggingface._slots import Path, Slot, tensors_in

_ATTRIBUTES = "attributes"


@dataclass(frozen=True, eq=False)
class Held:
    """A tensor of the call.

    Attributes:
        value: as it was before the call, of one row.
        path: where it stands.
        axis: its axis of rows, or None where all rows share it.
    """

    value: Tensor
    path: Path
    axis: int | None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one row."""
        shape = list(self.value.shape)
        if self.axis is not None:
            del shape[self.axis]
        return tuple(shape)

    def to_rows(self, tensor: Tensor) -> Tensor:
        """Move the axis of rows to the front."""
        return tensor if self.axis is None else tensor.movedim(self.axis, 0)

    def from_rows(self, rows: Tensor) -> Tensor:
        """Move the axis of rows (n, *shape) from the front to its place."""
        return rows if self.axis is None else rows.movedim(0, self.axis)

    def repeat(self, rows: int) -> Tensor:
        """The value, with as many rows."""
        if self.axis is None:
            return self.value
        shape = list(self.value.shape)
        shape[self.axis] = rows
        return self.value.expand(shape)


@dataclass(frozen=True, eq=False)
class DecodingStep:
    """A layer's call in one step of decoding, as a function of states and inputs.

    Attributes:
        layer: a private copy of the layer, in double precision.
        call: args and kwargs of the call, of one row.
        states: the tensors that the call writes anew, in their shape: its state.
        read: the tensor (1, 1, k) that is the layer's input.
        others: all else: keys and values of attention layers, masks, positions.
        attends: whether the call makes some tensor grow: keys and values.
    """

    layer: nn.Module
    call: dict[str, Any]
    states: tuple[Held, ...]
    read: Held
    others: tuple[Held, ...]
    attends: bool

    def run(
        self, states: Mapping[Path, Tensor], inputs: Inputs
    ) -> tuple[dict[Path, Tensor], Tensor]:
        """New states, rows in front, and the layer's output (n, 1, m)."""
        memo: dict[int, Any] = {}
        rows = len(inputs)
        for held in self.others:
            # Counters of tokens are added to in place.
            copied = held.repeat(rows)
            counts = not copied.is_floating_point()
            memo[id(held.value)] = copied.clone() if counts else copied
        for held in self.states:
            memo[id(held.value)] = held.from_rows(states[held.path])
        memo[id(self.read.value)] = self.read.from_rows(inputs[:, None])
        call = copy.deepcopy(self.call, memo)
        call[_ATTRIBUTES] = attributes(self.layer)
        slots = [Slot(call, held.path) for held in self.states]
        kept = (held for held in self.others if held.path[0] == _ATTRIBUTES)
        with restored(self.layer):
            for held in kept:
                Slot(call, held.path).write(memo[id(held.value)])
            for slot, held in zip(slots, self.states, strict=True):
                slot.write(memo[id(held.value)])
            writes = FunctionalWrites(slot.whole for slot in slots)
            with _plain_attention(), DoublePrecision(), writes:
                output = self.layer(*call["args"], **call["kwargs"])
            new = {
                held.path: held.to_rows(slot.read())
                for slot, held in zip(slots, self.states, strict=True)
            }
        return new, first_tensor(output)


def _plain_attention() -> AbstractContextManager[None]:
    """Attention in plain operations, as fused ones know no forward mode."""
    # Asked for here, as torch 2.2 has none of it and may have no transformers.
    from torch.nn.attention import SDPBackend, sdpa_kernel

    plain: AbstractContextManager[None] = sdpa_kernel(SDPBackend.MATH)
    return plain


def attribute_tensors(layer: nn.Module) -> dict[Path, Tensor]:
    """Tensors that are plain attributes, neither parameters nor buffers."""
    return {
        (_ATTRIBUTES, name, key): value
        for name, held in attributes(layer).items()
        for key, value in held.items()
        if isinstance(value, Tensor)
    }


def call_tensors(call: dict[str, Any], layer: nn.Module) -> dict[Path, Tensor]:
    """All tensors that a call of a layer can read and write, by path."""
    return {**tensors_in(call), **attribute_tensors(layer)}


def first_tensor(output: Any) -> Tensor:
    """The tensor that a layer gives out: of several, the first."""
    if isinstance(output, Tensor):
        return output
    parts = output.values() if isinstance(output, Mapping) else output
    found: Tensor = next(part for part in parts if isinstance(part, Tensor))
    return found


def double(value: Tensor) -> Tensor:
    """A floating tensor in double precision; others as they are."""
    return value.double() if value.is_floating_point() else value


def in_double(layer: nn.Module) -> nn.Module:
    """A copy of a layer in double precision whose parameters take no gradient."""
    return copy.deepcopy(layer).double().requires_grad_(False)
