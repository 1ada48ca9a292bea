"""Stacked layers of torch.nn as one joint map: layer l + 1 reads the new h of l."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from captum_dynamics import _intervals
from captum_dynamics._intervals import Ball, Interval
from captum_dynamics._typing import (
    Inputs,
    InputSequences,
    Jacobians,
    States,
    StateSequences,
)
from captum_dynamics.adapters._base import (
    Call,
    CallConvention,
    RecurrentAdapter,
)
from captum_dynamics.adapters._calls import SequenceCalls
from captum_dynamics.adapters._closed_form import ClosedFormLayer
from captum_dynamics.adapters._enclosed import EnclosedLayer, boxes
from captum_dynamics.adapters._stack_tangent import StackTangent
from captum_dynamics.adapters._weights import check_sequence_layer
from captum_dynamics.dynamics import DynamicsMap, Traits
from captum_dynamics.layout import Block, StateLayout

Build = Callable[[nn.RNNBase, int], EnclosedLayer]


def adapt_stack(
    layer: nn.Module, layer_index: int | None, build: Build
) -> RecurrentAdapter:
    """Adapt one layer of an nn.RNN, GRU or LSTM, or all of them jointly."""
    if not isinstance(layer, nn.RNNBase):
        raise TypeError(
            f"Expected a torch.nn sequence layer, got {type(layer).__name__}."
        )
    check_sequence_layer(layer)
    indices = range(layer.num_layers)
    if layer_index is not None:
        if layer_index not in indices:
            raise ValueError(
                f"Expected `layer_index` between 0 and {layer.num_layers - 1}, "
                f"got {layer_index}."
            )
        indices = range(layer_index, layer_index + 1)
    layers = tuple(build(layer, index) for index in indices)
    adapter = layers[0] if len(layers) == 1 else Stack(layers)
    adapter.calls = SequenceCalls(layer)
    if len(layers) < layer.num_layers:
        whole = Stack(tuple(build(layer, index) for index in range(layer.num_layers)))
        adapter.calls = LevelCalls(SequenceCalls(layer), whole, indices[0])
    return adapter


class LevelCalls(CallConvention):
    """A call of a stack as one of its layers sees it: it reads the layer below."""

    writes = False

    def __init__(self, calls: SequenceCalls, stack: Stack, level: int) -> None:
        """Keep how the stack is called, its joint map, and which layer it is about."""
        self._calls = calls
        self._stack = stack
        self._level = level

    def read(
        self, dynamics: DynamicsMap, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Call:
        """Run the layers below; what they give is what this layer reads."""
        call = self._calls.read(self._stack, args, kwargs)
        widths = [layer.state_dim for layer in self._stack.layers]
        initial = torch.split(call.initial_states, widths, dim=-1)[self._level]
        if self._level == 0:
            return Call(call.inputs, initial, call.lengths)
        states = self._stack.rollout(call.initial_states, call.inputs)
        below = torch.split(states, widths, dim=-1)[self._level - 1]
        width = self._stack.layers[self._level - 1].output_dim
        return Call(below[..., :width], initial, call.lengths)

    def replace_inputs(
        self, inputs: InputSequences, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Refuse: a layer inside a stack is not called from outside."""
        raise _not_callable(self._level)

    def write(
        self, dynamics: DynamicsMap, states: StateSequences, call: Call, output: Any
    ) -> Any:
        """Refuse: one layer's states are not the output of the stack."""
        raise _not_callable(self._level)


def _not_callable(level: int) -> ValueError:
    return ValueError(
        f"Expected the adapter of a whole stack, got that of layer {level} alone, "
        f"which cannot be called by itself; adapt the stack without `layer_index`."
    )


class Stack(ClosedFormLayer):
    """The joint map of stacked layers; its Jacobian is block lower triangular."""

    def __init__(self, layers: tuple[EnclosedLayer, ...]) -> None:
        """Take the layers from the first, which reads the input, to the last."""
        self.layers = layers
        linear = all(layer.traits.piecewise_linear for layer in layers)
        self.traits = Traits(piecewise_linear=linear, float32=True)

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
        lows, highs = [], []
        low_read, high_read = inputs, inputs
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
