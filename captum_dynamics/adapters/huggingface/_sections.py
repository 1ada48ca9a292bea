"""A whole model as its recurrent layers, each with a map of its own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

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
        seen: list[Tensor] = []

        def look(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            value = Slot({"args": args, "kwargs": kwargs}, self._read.path).read()
            seen.append(self._read.to_rows(value)[:, 0])

        handle = self._module.register_forward_pre_hook(look, with_kwargs=True)
        try:
            self._whole.step(states, inputs)
        finally:
            handle.remove()
        return seen[0]


@torch.no_grad()
def sections(
    whole: DynamicsMap, layers: list[tuple[nn.Module, DynamicsMap, DecodingStep]]
) -> tuple[Section, ...]:
    """The layers of a model by their columns of its state, if these are all of it.

    That a layer moves its columns as the model does is checked at a random state.

    Args:
        whole: the map of the model.
        layers: its recurrent layers in order, each with its map and its call.
    """
    found: list[Section] = []
    blocks = list(whole.layout.blocks)
    start = 0
    for module, own, step in layers:
        sizes = [block.size for block in own.layout.blocks]
        if [block.size for block in blocks[: len(sizes)]] != sizes:
            return ()
        del blocks[: len(sizes)]
        columns = slice(start, start + own.state_dim)
        found.append(Section(columns, own, Reads(whole, module, step)))
        start = columns.stop
    if blocks or not all(_is_its_own(whole, section) for section in found):
        return ()
    return tuple(found)


def _is_its_own(whole: DynamicsMap, section: Section) -> bool:
    generator = torch.Generator().manual_seed(0)
    states, inputs = (
        torch.randn(1, width, generator=generator, dtype=whole.dtype).to(whole.device)
        for width in (whole.state_dim, whole.input_dim)
    )
    wanted = whole.step(states, inputs)[:, section.columns]
    read = section.reads(states, inputs)
    given = section.dynamics.step(states[:, section.columns], read)
    return bool((given - wanted).norm() <= ROUNDING * (1 + wanted.norm()))
