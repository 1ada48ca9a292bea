"""The linear layer of `captum_dynamics.models`: h' = W x + U h + b."""

from __future__ import annotations

from typing import Any

import torch

from captum_dynamics._typing import Inputs, States
from captum_dynamics.adapters._calls import SequenceCalls
from captum_dynamics.adapters._gated import GatedLayer, GatedTangent
from captum_dynamics.adapters._registry import register_adapter
from captum_dynamics.adapters._weights import cell_weights
from captum_dynamics.dynamics import Traits


@register_adapter("captum_dynamics.models.linear.LinearRNN")
class LinearAdapter(GatedLayer):
    """`models.LinearRNN`: affine, so that one input has one fixed point."""

    traits = Traits(affine_in_state=True, float32=True)

    def __init__(self, layer: Any) -> None:
        """Copy the layer's weights."""
        super().__init__(cell_weights(layer, "_l0"))
        self.calls = SequenceCalls(layer)

    def step(self, states: States, inputs: Inputs) -> States:
        return self.weights_like(states).drives(states, inputs)

    def tangent(self, states: States, inputs: Inputs) -> GatedTangent:
        ones = torch.ones_like(states)[:, None]
        return GatedTangent(self.weights_like(states), ones, ones)

    def state_box(self, lowest_inputs: Inputs, highest_inputs: Inputs) -> None:
        """Nothing bounds a linear layer's states."""
        return
