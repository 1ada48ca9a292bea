"""A call of a layer as one of its systems sees it: one level, in one direction."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from captum_dynamics._typing import InputSequences, StateSequences
from captum_dynamics.adapters._convention import Call, CallConvention
from captum_dynamics.adapters._systems import (
    LayerSystems,
    divide_run,
    reverse,
    run_systems,
)
from captum_dynamics.dynamics import DynamicsMap


class OneSystemCalls(CallConvention):
    """What one level reads, in the order in which one of its directions reads it.

    A level above the first reads the outputs of the one below. Of the layer's output,
    a system writes its own part: its rows of h_n and, on the top level, its columns
    of the sequence. What others make of it is left as it is.
    """

    def __init__(self, whole: LayerSystems, level: int, *, backward: bool) -> None:
        """Keep all systems of the layer, and which of them this is about."""
        self.backward = backward
        self._whole = whole
        self._level = level

    def read(
        self, dynamics: DynamicsMap, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Call:
        """Run the levels below; what they give is what this one reads."""
        whole = self._whole.calls.read(self._whole, args, kwargs)
        systems = self._whole.systems[: self._level + 1]
        width = sum(system.state_dim for level in systems for system in level)
        call = Call(whole.inputs, whole.initial_states[:, :width], whole.lengths)
        own = divide_run(systems, call, run_systems(systems, call))[-1][self.backward]
        return Call(own.inputs, own.initial_states, own.lengths)

    def replace_inputs(
        self, inputs: InputSequences, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Refuse: one of several systems is not called from outside."""
        direction = "backward" if self.backward else "forward"
        raise ValueError(
            f"Expected the adapter of a whole layer, got that of layer {self._level} "
            f"alone, {direction}, which cannot be called by itself; adapt the layer "
            f"without `layer_index` and `direction`."
        )

    def call_with(
        self, inputs: InputSequences
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return self._whole.calls.call_with(inputs)

    def write(
        self, dynamics: DynamicsMap, states: StateSequences, call: Call, output: Any
    ) -> tuple[Any, Any]:
        """Put states (n, t, d), in this system's order, where the layer gives them."""
        outputs, finals = output
        if self._level == len(self._whole.systems) - 1:
            own = states[..., : self._whole.systems[self._level][0].output_dim]
            outputs = self._with_columns(own, call, outputs)
        ends = states[torch.arange(len(states)), call.lengths - 1]
        parts = finals if isinstance(finals, tuple) else (finals,)
        blocks = dynamics.layout.split(ends).values()
        row = len(self._whole.systems[0]) * self._level + self.backward
        written = tuple(
            _with_row(part, block, row)
            for part, block in zip(parts, blocks, strict=True)
        )
        return outputs, written if isinstance(finals, tuple) else written[0]

    def _with_columns(
        self, own: StateSequences, call: Call, outputs: Tensor | PackedSequence
    ) -> Any:
        if self.backward:
            own = reverse(own, call.lengths)
        start = self.backward * own.shape[-1]
        given = self._whole.calls.in_form_of(own, outputs)
        if isinstance(outputs, PackedSequence):
            return outputs._replace(data=_replaced(outputs.data, given.data, start))
        return _replaced(outputs, given, start)


def _replaced(values: Tensor, columns: Tensor, start: int) -> Tensor:
    after = values[..., start + columns.shape[-1] :]
    return torch.cat([values[..., :start], columns, after], dim=-1)


def _with_row(part: Tensor, block: Tensor, row: int) -> Tensor:
    """One row of h_n or c_n, which have no batch axis where the call had none."""
    own = block.to(part.dtype)[None] if part.ndim == 3 else block.to(part.dtype)
    return torch.cat([part[:row], own, part[row + 1 :]])
