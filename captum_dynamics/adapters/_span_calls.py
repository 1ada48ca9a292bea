"""How layers are called that may be told how much time a step takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from captum_dynamics._typing import InputSequences, StateSequences
from captum_dynamics.adapters._convention import Call, CallConvention
from captum_dynamics.dynamics import DynamicsMap

ReadOut = Callable[[Tensor], Tensor]
Given = tuple[tuple[Any, ...], dict[str, Any]]


class SpanCellCalls(CallConvention):
    """`forward(inputs, states, span) -> (outputs, states)`, one step.

    Args:
        names: what the three arguments are called.
        width: width d of the state.
        span: time of the step that the map is made for.
        read_out: outputs of (n, d) states.
    """

    one_step = True

    def __init__(
        self,
        names: tuple[str, str, str],
        width: int,
        span: float,
        read_out: ReadOut,
    ) -> None:
        """Keep how the cell is called."""
        self._names, self._width = names, width
        self._span, self._read_out = span, read_out

    def read(
        self, dynamics: DynamicsMap, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Call:
        """Read one step as a sequence of one."""
        given = _named(self._names, args, kwargs)
        _check_span(given.get(self._names[2]), self._span)
        inputs = given[self._names[0]].detach().to(dynamics.dtype)
        states = given[self._names[1]].detach().to(dynamics.dtype)
        lengths = torch.ones(len(inputs), dtype=torch.long, device=inputs.device)
        return Call(inputs[:, None], states, lengths)

    def replace_inputs(
        self, inputs: InputSequences, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Given:
        """Put the one step of inputs (n, 1, k) in the place of the call's own."""
        given = _named(self._names, args, kwargs)[self._names[0]]
        return _replaced(inputs[:, 0].to(given.dtype), self._names[0], args, kwargs)

    def call_with(self, inputs: InputSequences) -> Given:
        """Read the one step of inputs (n, 1, k) from zeros."""
        start = inputs.new_zeros(len(inputs), self._width)
        return (inputs[:, 0], start, self._span), {}

    def resume(self, inputs: InputSequences, output: Any) -> Given:
        """Take the next step from the state that the last one gave."""
        return (inputs[:, 0], output[1], self._span), {}

    def write(
        self, dynamics: DynamicsMap, states: StateSequences, call: Call, output: Any
    ) -> tuple[Tensor, Tensor]:
        """Write the one step of states (n, 1, d) as (outputs, states)."""
        new = states[:, -1]
        return self._read_out(new).to(output[0].dtype), new.to(output[1].dtype)


class SpanSequenceCalls(CallConvention):
    """`forward(input, hx=None, timespans=None) -> (outputs, hx)` of whole sequences.

    Args:
        layer: says `batch_first`, `return_sequences` and `use_mixed`.
        span: time of the steps that the map is made for.
        read_out: outputs of (..., d) states.
    """

    names = ("input", "hx", "timespans")

    def __init__(self, layer: Any, span: float, read_out: ReadOut) -> None:
        """Keep what the layer's settings say of its tensors."""
        self._batch_first = bool(layer.batch_first)
        self._every_step = bool(layer.return_sequences)
        self._parts = 2 if layer.use_mixed else 1
        self._width = int(layer.state_size)
        self._span, self._read_out = span, read_out

    def read(
        self, dynamics: DynamicsMap, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Call:
        """Read inputs with or without an axis for rows, and the initial state."""
        given = _named(self.names, args, kwargs)
        _check_span(given.get("timespans"), self._span)
        inputs = self._batch_major(given["input"].detach().to(dynamics.dtype))
        rows, steps = inputs.shape[:2]
        hx = given.get("hx")
        if hx is None:
            states = inputs.new_zeros(rows, dynamics.state_dim)
        else:
            parts = hx if self._parts == 2 else (hx,)
            flat = torch.cat([part.detach() for part in parts], dim=-1)
            states = flat.reshape(rows, -1).to(dynamics.dtype)
        lengths = torch.full((rows,), steps, device=inputs.device)
        return Call(inputs, states, lengths)

    def replace_inputs(
        self, inputs: InputSequences, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Given:
        """Put inputs (n, t, k) in the place of the call's own."""
        like = _named(self.names, args, kwargs)["input"]
        return _replaced(self._in_form_of(inputs, like), "input", args, kwargs)

    def call_with(self, inputs: InputSequences) -> Given:
        """Read inputs (n, t, k) from zeros, which the layer would make in float32."""
        zeros = inputs.new_zeros(len(inputs), self._width)
        return self._from(inputs, zeros if self._parts == 1 else (zeros, zeros))

    def resume(self, inputs: InputSequences, output: Any) -> Given:
        """Go on from the state that the layer returned."""
        return self._from(inputs, output[1])

    def write(
        self, dynamics: DynamicsMap, states: StateSequences, call: Call, output: Any
    ) -> tuple[Tensor, Any]:
        """Write states (n, t, d) as (outputs, hx), or (outputs, (h, c))."""
        outputs, last = self._read_out(states), states[:, -1]
        if self._every_step:
            shaped = outputs if self._batch_first else outputs.transpose(0, 1)
        else:
            shaped = outputs[:, -1]
        alone = output[1][0] if self._parts == 2 else output[1]
        parts = last if alone.ndim == 2 else last[0]
        # A sequence without an axis for rows is given without one.
        shaped = shaped.to(output[0].dtype).reshape(
            shaped.shape if alone.ndim == 2 else output[0].shape
        )
        hx = parts.to(alone.dtype).chunk(self._parts, dim=-1)
        return shaped, hx if self._parts == 2 else hx[0]

    def _from(self, inputs: InputSequences, hx: Any) -> Given:
        given = inputs if self._batch_first else inputs.transpose(0, 1)
        if self._span == 1:
            return (given, hx), {}
        # One row for all: the layer broadcasts spans of rows over units instead.
        shape = (1, inputs.shape[1]) if self._batch_first else (inputs.shape[1], 1)
        return (given, hx, inputs.new_full(shape, self._span)), {}

    def _batch_major(self, given: Tensor) -> Tensor:
        if given.ndim == 2:
            return given[None]
        return given if self._batch_first else given.transpose(0, 1)

    def _in_form_of(self, inputs: InputSequences, like: Tensor) -> Tensor:
        inputs = inputs.to(like.dtype)
        if like.ndim == 2:
            return inputs[0]
        return inputs if self._batch_first else inputs.transpose(0, 1)


def _named(
    names: tuple[str, str, str], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Any]:
    return {**dict(zip(names, args, strict=False)), **kwargs}


def _replaced(
    inputs: Tensor, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Given:
    if args:
        return (inputs, *args[1:]), kwargs
    return args, {**kwargs, name: inputs}


def _check_span(given: Any, span: float) -> None:
    if given is None:
        given = 1.0
    spans = torch.as_tensor(given).detach()
    # In the precision in which the call has it.
    if not bool((spans == spans.new_tensor(span)).all()):
        raise ValueError(
            f"Expected every step of the call to take the time {span} that the map is "
            f"made for, got times from {float(spans.min()):g} to "
            f"{float(spans.max()):g}; give the adapter's class `timespan=`."
        )
