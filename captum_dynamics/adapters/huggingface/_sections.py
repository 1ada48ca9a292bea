"""A whole model as its recurrent layers, each with a map of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import accumulate
from typing import Any

import torch
from torch import nn

from captum_dynamics._typing import Inputs, States
from captum_dynamics.adapters.huggingface._decoding import DecodingStep
from captum_dynamics.adapters.huggingface._slots import Slot
from captum_dynamics.dynamics import DynamicsMap, Section

# The map of a layer within a model is the layer's own, to rounding in double.
ROUNDING = 1e-9


class Reads:
    """What a layer within a model reads while the model makes a step.

    Args:
        whole: the map of the model.
        module: the layer, in the copy of the model that the map runs.
        own: the call of the layer.
    """

    def __init__(
        self, whole: DynamicsMap, module: nn.Module, own: DecodingStep
    ) -> None:
        """Keep the place of the input in calls of the layer."""
        self._whole = whole
        self._module = module
        self._read = own.read

    def __call__(self, states: States, inputs: Inputs) -> Inputs:
        """Inputs (n, k) of the layer, from states and inputs of the model."""
        with self.watching() as seen:
            self._whole.step(states, inputs)
        return seen[0]

    @contextmanager
    def watching(self) -> Iterator[list[Inputs]]:
        """What the layer reads while the block lasts."""
        seen: list[Inputs] = []

        def look(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            value = Slot({"args": args, "kwargs": kwargs}, self._read.path).read()
            seen.append(self._read.to_rows(value)[:, 0])

        handle = self._module.register_forward_pre_hook(look, with_kwargs=True)
        try:
            yield seen
        finally:
            handle.remove()


@torch.no_grad()
def sections(
    whole: DynamicsMap, layers: Sequence[tuple[nn.Module, DynamicsMap, DecodingStep]]
) -> tuple[Section, ...]:
    """The layers of a model by their columns of its state, if these are all of it.

    That a layer moves its columns as the model does is checked at a random state.

    Args:
        whole: the map of the model.
        layers: its recurrent layers in order, each with its map and its call.
    """
    sizes = [block.size for _, own, _ in layers for block in own.layout.blocks]
    if [block.size for block in whole.layout.blocks] != sizes:
        return ()
    reads = [Reads(whole, module, step) for module, _, step in layers]
    ends = list(accumulate(own.state_dim for _, own, _ in layers))
    found = tuple(
        Section(slice(end - own.state_dim, end), own, read)
        for (_, own, _), read, end in zip(layers, reads, ends, strict=True)
    )
    return found if _are_all(whole, found, reads) else ()


def _are_all(
    whole: DynamicsMap, found: Sequence[Section], reads: Sequence[Reads]
) -> bool:
    generator = torch.Generator().manual_seed(0)
    states, inputs = (
        torch.randn(1, width, generator=generator, dtype=whole.dtype).to(whole.device)
        for width in (whole.state_dim, whole.input_dim)
    )
    with ExitStack() as stack:
        seen = [stack.enter_context(read.watching()) for read in reads]
        wanted = whole.step(states, inputs)
    moved = [
        section.dynamics.step(states[:, section.columns], read)
        for section, (read,) in zip(found, seen, strict=True)
    ]
    error = (torch.cat(moved, dim=-1) - wanted).norm()
    return bool(error <= ROUNDING * (1 + wanted.norm()))
