"""A map with what its layer gives out as the first block of its state."""

from __future__ import annotations

import torch

from captum_dynamics._typing import (
    Inputs,
    Outputs,
    OutputSequences,
    States,
    StateSequences,
)
from captum_dynamics.adapters._base import RecurrentAdapter
from captum_dynamics.adapters._convention import Call
from captum_dynamics.dynamics import Traits
from captum_dynamics.layout import Block, StateLayout


class WithOutput(RecurrentAdapter):
    """A map whose state begins with its last output, which it does not read.

    What a layer with a cache gives out depends on its input too, and not on its new
    state alone. A model reads a layer by its output: with it in the state, the state
    says all that the model gets to see.

    Args:
        base: the map.
        output_dim: width of its output.
    """

    def __init__(self, base: RecurrentAdapter, output_dim: int) -> None:
        """Keep the map."""
        self.base = base
        self.calls = base.calls
        self.traits = Traits(
            affine_in_state=base.traits.affine_in_state,
            vmap_safe=base.traits.vmap_safe,
            float64=base.traits.float64,
        )
        self._layout = StateLayout((Block("output", output_dim), *base.layout.blocks))

    @property
    def layout(self) -> StateLayout:
        return self._layout

    @property
    def input_dim(self) -> int:
        return self.base.input_dim

    @property
    def device(self) -> torch.device | None:
        return self.base.device

    def step(self, states: States, inputs: Inputs) -> States:
        return self.advance(states, inputs)[0]

    def advance(self, states: States, inputs: Inputs) -> tuple[States, Outputs]:
        """New states, and the output that begins them."""
        new, output = self.base.advance(states[:, self.output_dim :], inputs)
        return torch.cat([output, new], dim=-1), output

    def outputs(self, states: StateSequences, call: Call) -> OutputSequences:
        """What the layer gives out (n, t, m): the first block of the states."""
        return states[..., : self.output_dim]
