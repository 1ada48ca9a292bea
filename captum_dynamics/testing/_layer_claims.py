"""What an adapter must prove beside its layer: same outputs, rows, and positions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from captum_dynamics._typing import InputSequences
from captum_dynamics.adapters import RecurrentAdapter
from captum_dynamics.adapters._attributes import restored
from captum_dynamics.testing._agreement import (
    copied,
    largest_error,
    relative_error,
)
from captum_dynamics.testing.report import CheckRow

# Largest relative errors (one step, a sequence), by the layer's own precision.
_LIMITS = {torch.float64: (1e-12, 1e-10)}
_SINGLE = (1e-6, 1e-5)

_FIXED = "keys and values are held fixed: no sequence is compared"

Claims = Iterator[CheckRow]
Given = tuple[tuple[Any, ...], dict[str, Any]]


def limits(dtype: torch.dtype) -> tuple[float, float]:
    """Largest errors of one step and of a sequence, in a layer's own precision."""
    return _LIMITS.get(dtype, _SINGLE)


def same_outputs(
    adapter: RecurrentAdapter, layer: nn.Module, inputs: InputSequences
) -> Claims:
    """One step, and a whole sequence, are what the layer gives."""
    one_step, whole = limits(inputs.dtype)
    if not adapter.calls.begins_empty:
        error = _distance_after_context(adapter, layer, inputs[:, :1])
        yield CheckRow("one step after the context is", error, one_step, _FIXED)
        return
    for name, given, limit in (
        ("one step is the layer's", inputs[:, :1], one_step),
        ("a sequence is the layer's", inputs, whole),
    ):
        yield CheckRow(name, _distance(adapter, layer, given), limit)


def leaves_call(
    adapter: RecurrentAdapter, layer: nn.Module, inputs: InputSequences
) -> Claims:
    """Neither reading a call nor writing its output changes what was passed."""
    kept = inputs.clone()
    output = run_layer(adapter, layer, inputs)
    yield CheckRow("inputs not mutated", relative_error(inputs, kept), 0.0)
    given, before = _first_call(adapter, inputs), copied(output)
    call = adapter.calls.read(adapter, *given)
    states = adapter.rollout(call.initial_states, call.inputs)
    adapter.calls.write(adapter, states, call, output)
    yield CheckRow("reading mutates no argument", relative_error(inputs, kept), 0.0)
    yield CheckRow("writing mutates no output", largest_error(output, before), 0.0)


def rows_of_layer(
    adapter: RecurrentAdapter, layer: nn.Module, inputs: InputSequences
) -> Claims:
    """A sequence within a batch ends where the layer ends with it alone."""
    _, limit = limits(inputs.dtype)
    if not adapter.calls.begins_empty:
        return
    states, _ = _follow(adapter, inputs)
    for row in range(min(2, len(inputs))):
        alone = inputs[row : row + 1]
        output = run_layer(adapter, layer, alone)
        _, call = _follow(adapter, alone)
        written = adapter.calls.write(adapter, states[row : row + 1], call, output)
        error = largest_error(written, output)
        yield CheckRow(f"row {row} of a batch is the layer's alone", error, limit)


def positions(
    adapter: RecurrentAdapter, layer: nn.Module, inputs: InputSequences
) -> Claims:
    """What the layer does follows from its state, not from when it is called."""
    one_step, limit = limits(inputs.dtype)
    first = copied(run_layer(adapter, layer, inputs))
    again = run_layer(adapter, layer, inputs)
    error = largest_error(again, first)
    yield CheckRow("a repeated call gives the same", error, one_step)
    half = inputs.shape[1] // 2
    if half == 0:
        return
    middle = run_layer(adapter, layer, inputs[:, :half])
    rest = inputs[:, half : half + 1] if adapter.calls.one_step else inputs[:, half:]
    resumed = adapter.calls.resume(rest, middle)
    if resumed is None:
        return
    args, kwargs = resumed
    call = adapter.calls.read(adapter, args, kwargs)
    states, _ = _follow(adapter, inputs)
    error = relative_error(call.initial_states, states[:, half - 1])
    yield CheckRow("a state is read as the layer left it", error, limit)
    output = layer(*args, **kwargs)
    own = states[:, half : half + rest.shape[1]]
    error = largest_error(adapter.calls.write(adapter, own, call, output), output)
    yield CheckRow("a resumed sequence goes on as the whole", error, limit)


def raises_cleanly(adapter: RecurrentAdapter, inputs: InputSequences) -> None:
    """Call an adapter wrongly; what it may leave behind shows in the fingerprint."""
    wide = torch.zeros(2, adapter.state_dim + 1, dtype=adapter.dtype)
    narrow = torch.zeros(2, adapter.input_dim + 1, dtype=adapter.dtype)
    for call in (
        lambda: adapter.step(wide.to(inputs.device), narrow.to(inputs.device)),
        lambda: adapter.jacobians(wide.to(inputs.device), narrow.to(inputs.device)),
        lambda: adapter.calls.read(adapter, (), {}),
    ):
        try:
            call()
        except Exception:  # any error will do: only what it leaves is of interest
            continue


def run_layer(
    adapter: RecurrentAdapter, layer: nn.Module, inputs: InputSequences
) -> Any:
    """What the layer returns for sequences; of a loop of calls, the last output."""
    args, kwargs = _first_call(adapter, inputs)
    with adapter.calls.precisely(layer), restored(layer):
        output = layer(*args, **kwargs)
    if not adapter.calls.one_step:
        return output
    for step in range(1, inputs.shape[1]):
        resumed = adapter.calls.resume(inputs[:, step : step + 1], output)
        args, kwargs = _resumable(adapter, resumed)
        output = layer(*args, **kwargs)
    return output


def _resumable(adapter: RecurrentAdapter, resumed: Given | None) -> Given:
    if resumed is None:
        raise NotImplementedError(
            f"Expected {type(adapter.calls).__name__}, whose calls are one step, to "
            f"say in `resume` how the next one gets the state."
        )
    return resumed


def _first_call(adapter: RecurrentAdapter, inputs: InputSequences) -> Given:
    given = inputs[:, :1] if adapter.calls.one_step else inputs
    return adapter.calls.call_with(given)


def _follow(adapter: RecurrentAdapter, inputs: InputSequences) -> tuple[Any, Any]:
    """The adapter's own states over whole sequences, and the call that it read."""
    args, kwargs = _first_call(adapter, inputs)
    call = adapter.calls.read(adapter, args, kwargs)
    if not adapter.calls.one_step:
        return adapter.rollout(call.initial_states, call.inputs), call
    read = inputs.to(call.inputs.dtype)
    return adapter.rollout(call.initial_states, read), call


def _distance_after_context(
    adapter: RecurrentAdapter, layer: nn.Module, inputs: InputSequences
) -> float:
    """Largest error of one step after the context, for all rows and for one alone."""
    worst = 0.0
    with adapter.calls.precisely(layer):
        for given in (inputs, inputs[:1]):
            call, output = adapter.calls.after_context(adapter, layer, given)
            states = adapter.rollout(call.initial_states, call.inputs)
            written = adapter.calls.write(adapter, states, call, output)
            worst = max(worst, largest_error(written, output))
    return worst


def _distance(
    adapter: RecurrentAdapter, layer: nn.Module, inputs: InputSequences
) -> float:
    """Error of all that the layer returns, written from the adapter's own states."""
    if not adapter.calls.one_step:
        states, call = _follow(adapter, inputs)
        output = run_layer(adapter, layer, inputs)
        return largest_error(adapter.calls.write(adapter, states, call, output), output)
    states, call = _follow(adapter, inputs)
    args, kwargs = _first_call(adapter, inputs)
    worst = 0.0
    for step in range(inputs.shape[1]):
        output = layer(*args, **kwargs)
        own = states[:, step : step + 1]
        written = adapter.calls.write(adapter, own, call, output)
        worst = max(worst, largest_error(written, output))
        if step + 1 < inputs.shape[1]:
            coming = inputs[:, step + 1 : step + 2]
            args, kwargs = _resumable(adapter, adapter.calls.resume(coming, output))
    return worst
