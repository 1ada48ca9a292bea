"""How torch.nn calls its sequence layers and its cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from captum_dynamics._typing import InputSequences, States, StateSequences
from captum_dynamics.adapters._convention import Call, CallConvention
from captum_dynamics.dynamics import DynamicsMap


class SequenceCalls(CallConvention):
    """`forward(inputs, hx=None) -> (outputs, h_n)` of nn.RNN, nn.GRU and nn.LSTM.

    A layer of another kind that is called so has the same settings: `batch_first`,
    `bidirectional` and `num_layers`.

    Of a bidirectional layer, blocks of states go level by level, forward before
    backward, as in h_n. All of them are in the order of the sequence: the backward
    direction ends at its first step.
    """

    def __init__(self, layer: Any) -> None:
        """Keep what the layer's settings say of its tensors."""
        self._batch_first = bool(layer.batch_first)
        self._directions = 2 if layer.bidirectional else 1
        self._layers = int(layer.num_layers) * self._directions
        self._kinds = 2 if isinstance(layer, nn.LSTM) else 1

    def read(
        self, dynamics: DynamicsMap, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Call:
        """Read inputs in any of torch's forms, with the initial state in user order."""
        given = args[0] if args else kwargs["input"]
        hx = args[1] if len(args) > 1 else kwargs.get("hx")
        inputs, lengths = self._batch_major(given)
        inputs = inputs.detach().to(dynamics.dtype)
        if hx is None:
            initial = inputs.new_zeros(len(inputs), dynamics.state_dim)
        else:
            initial = self._flatten(hx).detach().to(dynamics.dtype)
        return Call(inputs, initial, lengths)

    def replace_inputs(
        self, inputs: InputSequences, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Put inputs (n, t, k) in the place of the call's own."""
        given = args[0] if args else kwargs["input"]
        replaced = self.in_form_of(inputs, given)
        if args:
            return (replaced, *args[1:]), kwargs
        return args, {**kwargs, "input": replaced}

    def write(
        self, dynamics: DynamicsMap, states: StateSequences, call: Call, output: Any
    ) -> tuple[Any, Any]:
        """Write states (n, t, d) as (outputs, h_n), or (outputs, (h_n, c_n))."""
        blocks = list(dynamics.layout.split(states).values())
        tops = blocks[-self._kinds * self._directions :: self._kinds]
        outputs = self.in_form_of(torch.cat(tops, dim=-1), output[0])
        return outputs, self._final(blocks, call.lengths, output[1])

    def resume(
        self, inputs: InputSequences, output: Any
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        """Go on from (h_n, c_n); a backward direction has nowhere to go on from."""
        if self._directions > 1:
            return None
        args, kwargs = self.call_with(inputs)
        return (*args, output[1]), kwargs

    def in_form_of(self, sequences: Tensor, template: Tensor | PackedSequence) -> Any:
        """Put (n, t, w) sequences in the order, form and dtype of `template`."""
        if isinstance(template, PackedSequence):
            return _pack_like(sequences, template)
        sequences = sequences.to(template.dtype)
        if template.ndim == 2:
            return sequences[0]
        return sequences if self._batch_first else sequences.transpose(0, 1)

    def _batch_major(self, given: Tensor | PackedSequence) -> tuple[Tensor, Tensor]:
        if isinstance(given, PackedSequence):
            inputs, lengths = pad_packed_sequence(given, batch_first=True)
            return inputs, lengths.to(inputs.device)
        if given.ndim == 2:
            inputs = given[None]
        else:
            inputs = given if self._batch_first else given.transpose(0, 1)
        rows, steps = inputs.shape[:2]
        return inputs, torch.full((rows,), steps, device=inputs.device)

    def _flatten(self, hx: Tensor | Sequence[Tensor]) -> Tensor:
        given = hx if isinstance(hx, (tuple, list)) else (hx,)
        parts = [part if part.ndim == 3 else part[:, None] for part in given]
        columns = [part[level] for level in range(self._layers) for part in parts]
        return torch.cat(columns, dim=-1)

    def _final(self, blocks: list[Tensor], lengths: Tensor, template: Any) -> Any:
        """h_n, or (h_n, c_n): each block where its direction ends."""
        rows = torch.arange(len(lengths))
        columns = []
        for place, block in enumerate(blocks):
            backward = place // self._kinds % self._directions == 1
            columns.append(block[:, 0] if backward else block[rows, lengths - 1])
        parts = [
            torch.stack(columns[kind :: self._kinds]) for kind in range(self._kinds)
        ]
        templates = template if isinstance(template, tuple) else (template,)
        shaped = tuple(
            (part if like.ndim == 3 else part[:, 0]).to(like.dtype)
            for part, like in zip(parts, templates, strict=True)
        )
        return shaped if self._kinds == 2 else shaped[0]


class CellCalls(CallConvention):
    """`forward(input, hx=None) -> state`, one step; a state may be a tuple.

    Args:
        input_name: the argument that is the input, where it is passed by name.
        state_name: the argument that is the state, where it is passed by name.
    """

    one_step = True

    def __init__(self, input_name: str = "input", state_name: str = "hx") -> None:
        """Keep the names; by default those of torch's own cells."""
        self._input_name = input_name
        self._state_name = state_name

    def read(
        self, dynamics: DynamicsMap, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Call:
        """Read one step as a sequence of one."""
        given = args[0] if args else self._named(kwargs)
        state = args[1] if len(args) > 1 else kwargs.get(self._state_name)
        inputs = (given if given.ndim == 2 else given[None]).detach()
        inputs = inputs.to(dynamics.dtype)
        if state is None:
            initial = inputs.new_zeros(len(inputs), dynamics.state_dim)
        else:
            initial = _flat(state, dynamics).detach().to(dynamics.dtype)
        ones = torch.ones(len(inputs), dtype=torch.long, device=inputs.device)
        return Call(inputs[:, None], initial, ones)

    def replace_inputs(
        self, inputs: InputSequences, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Put the one step of inputs (n, 1, k) in the place of the call's own."""
        given = args[0] if args else self._named(kwargs)
        step = inputs[:, 0] if given.ndim == 2 else inputs[0, 0]
        step = step.to(given.dtype)
        if args:
            return (step, *args[1:]), kwargs
        return args, {**kwargs, self._input_name: step}

    def call_with(
        self, inputs: InputSequences
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Read the one step of inputs (n, 1, k) from no state."""
        return (inputs[:, 0],), {}

    def resume(
        self, inputs: InputSequences, output: Any
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        """Take the next step from the state that the last one gave."""
        args, kwargs = self.call_with(inputs)
        return (*args, output), kwargs

    def write(
        self, dynamics: DynamicsMap, states: StateSequences, call: Call, output: Any
    ) -> Any:
        """Write the one step of states (n, 1, d) in the form the cell returns."""
        blocks = dynamics.layout.unflatten(states[:, -1])
        if isinstance(output, Mapping):
            return {name: _in_form_of(blocks[name], output[name]) for name in output}
        parts = output if isinstance(output, tuple) else (output,)
        shaped = tuple(
            _in_form_of(block, like)
            for block, like in zip(blocks.values(), parts, strict=True)
        )
        return shaped if isinstance(output, tuple) else shaped[0]

    def _named(self, kwargs: dict[str, Any]) -> Tensor:
        if self._input_name not in kwargs:
            raise ValueError(
                f"Expected the cell's input as its first argument or as "
                f"{self._input_name!r}, got {sorted(kwargs)}; tell the adapter the "
                f"names with `CellCalls(input_name=..., state_name=...)`."
            )
        given: Tensor = kwargs[self._input_name]
        return given


def _in_form_of(block: Tensor, like: Tensor) -> Tensor:
    """Rows of a block as a cell gives them, which has no axis for a single one."""
    return (block if like.ndim == block.ndim else block[0]).to(like.dtype)


def _flat(
    state: Tensor | Sequence[Tensor] | Mapping[str, Tensor], dynamics: DynamicsMap
) -> States:
    layout = dynamics.layout
    if isinstance(state, Mapping):
        state = [state[name] for name in layout.names]
    parts = state if isinstance(state, (tuple, list)) else (state,)
    # Blocks that are given all in one, as a flat state, are vectors.
    shapes = [block.shape or (block.size,) for block in layout.blocks]
    shapes = shapes if len(shapes) == len(parts) else [(0,)] * len(parts)
    columns = [
        (part if part.ndim == len(shape) + 1 else part[None]).flatten(1)
        for part, shape in zip(parts, shapes, strict=True)
    ]
    flat = torch.cat(columns, dim=-1)
    if flat.shape[-1] != dynamics.state_dim:
        raise ValueError(
            f"Expected the layer's state to have {dynamics.state_dim} columns, "
            f"got {flat.shape[-1]}."
        )
    return flat


def _pack_like(sequences: Tensor, template: PackedSequence) -> PackedSequence:
    order = template.sorted_indices
    rows = sequences if order is None else sequences[order]
    sizes = template.batch_sizes.tolist()
    data = torch.cat([rows[:size, step] for step, size in enumerate(sizes)])
    return PackedSequence(
        data.to(template.data.dtype),
        template.batch_sizes,
        template.sorted_indices,
        template.unsorted_indices,
    )
