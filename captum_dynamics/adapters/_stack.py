"""Stacked layers of torch.nn as one joint map: layer l + 1 reads the new h of l."""

from __future__ import annotations

import torch
from torch import Tensor

from captum_dynamics import _intervals
from captum_dynamics._intervals import Ball, Interval
from captum_dynamics._typing import Inputs, Jacobians, States
from captum_dynamics.adapters._base import RecurrentAdapter
from captum_dynamics.adapters._closed_form import ClosedFormLayer
from captum_dynamics.adapters._enclosed import EnclosedLayer, boxes
from captum_dynamics.adapters._stack_tangent import StackTangent
from captum_dynamics.dynamics import Traits
from captum_dynamics.layout import Block, StateLayout


class Stack(ClosedFormLayer):
    """The joint map of stacked layers; its Jacobian is block lower triangular."""

    def __init__(self, layers: tuple[EnclosedLayer, ...]) -> None:
        """Take the layers from the first, which reads the input, to the last."""
        self.layers = layers
        linear = all(layer.traits.piecewise_linear for layer in layers)
        self.traits = Traits(piecewise_linear=linear, float32=True)

    @property
    def levels(self) -> tuple[RecurrentAdapter, ...]:
        return self.layers

    @property
    def layout(self) -> StateLayout:
        return StateLayout(
            tuple(
                Block(f"{block.name}{level}", block.size)
                for level, layer in enumerate(self.layers)
                for block in layer.layout.blocks
            )
        )

    @property
    def input_dim(self) -> int:
        return self.layers[0].input_dim

    @property
    def device(self) -> torch.device | None:
        return self.layers[0].device

    def step(self, states: States, inputs: Inputs) -> States:
        return torch.cat([new for _, _, _, new in self._levels(states, inputs)], -1)

    @property
    def output_columns(self) -> slice:
        """The output of the last layer."""
        top = self.layers[-1]
        start = self.state_dim - top.state_dim
        return slice(start, start + top.output_dim)

    def ungated_residual(self, states: States, inputs: Inputs) -> States:
        parts = [
            layer.ungated_residual(old, read)
            for layer, old, read, _ in self._levels(states, inputs)
        ]
        return torch.cat(parts, dim=-1)

    def tangent(self, states: States, inputs: Inputs) -> StackTangent:
        levels = self._levels(states, inputs)
        return StackTangent(
            tuple(layer.tangent(old, read) for layer, old, read, _ in levels),
            tuple(layer.state_dim for layer in self.layers),
            tuple(layer.output_dim for layer in self.layers),
        )

    def invariant_box(self, inputs: Inputs) -> tuple[States, States] | None:
        return self.state_box(inputs, inputs)

    def state_box(
        self, lowest_inputs: Inputs, highest_inputs: Inputs
    ) -> tuple[States, States] | None:
        lows, highs = [], []
        low_read, high_read = lowest_inputs, highest_inputs
        for layer in self.layers:
            box = layer.state_box(low_read, high_read)
            if box is None:
                return None
            low, high = box
            lows.append(low)
            highs.append(high)
            low_read, high_read = (
                low[:, : layer.output_dim],
                high[:, : layer.output_dim],
            )
        return torch.cat(lows, dim=-1), torch.cat(highs, dim=-1)

    def interval_step(
        self, low: States, high: States, inputs: Inputs
    ) -> tuple[States, States]:
        levels = self._enclosed_levels(*boxes(low, high, inputs))
        new = _intervals.concatenate([above for _, _, _, above in levels])
        return new.low, new.high

    def interval_jacobians(
        self, low: States, high: States, inputs: Inputs
    ) -> tuple[Jacobians, Jacobians]:
        rows: list[Ball] = []
        start = 0
        for layer, old, read, _ in self._enclosed_levels(*boxes(low, high, inputs)):
            after = self.state_dim - start - layer.state_dim
            row = layer.enclose_jacobians(old, read).padded(start, after)
            if rows:
                below = rows[-1].rows(layer.input_dim)
                row = row + layer.enclose_input_jacobians(old, read) @ below
            rows.append(row)
            start += layer.state_dim
        return _intervals.stack_rows(rows).bounds

    def _enclosed_levels(
        self, states: Interval, inputs: Interval
    ) -> list[tuple[EnclosedLayer, Interval, Interval, Interval]]:
        """As `_levels`, over boxes."""
        levels = []
        read, start = inputs, 0
        for layer in self.layers:
            old = states[start : start + layer.state_dim]
            new = layer.enclose(old, read)
            levels.append((layer, old, read, new))
            read, start = new[: layer.output_dim], start + layer.state_dim
        return levels

    def _levels(
        self, states: States, inputs: Inputs
    ) -> list[tuple[EnclosedLayer, Tensor, Tensor, Tensor]]:
        """Each layer with its old state, what it reads, and its new state."""
        levels = []
        read, start = inputs, 0
        for layer in self.layers:
            old = states[:, start : start + layer.state_dim]
            new = layer.step(old, read)
            levels.append((layer, old, read, new))
            read, start = new[:, : layer.output_dim], start + layer.state_dim
        return levels
