"""States and layer inputs that a model really visits, captured by hooks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from captum_dynamics import _checks
from captum_dynamics._execution import progress
from captum_dynamics._typing import (
    Counts,
    Inputs,
    InputSequences,
    States,
    StateSequences,
    StepMask,
)
from captum_dynamics.adapters import Call, RecurrentAdapter, adapt, find_layer
from captum_dynamics.calling import (
    ModelInputs,
    call_model,
    captured_calls,
    check_batch_first,
    check_deterministic,
    check_reproduced,
    choose_call,
    count_rows,
    find_breaks,
    read_calls,
    take_rows,
)


@dataclass(frozen=True, eq=False)
class Trajectories:
    """What a layer read and which states it visited, batch first, in float64.

    Attributes:
        states: after each step, (n, t, d), from the adapter's equations; for an LSTM
            they hold h and c.
        inputs: the layer's inputs, (n, t, k).
        initial_states: before the first step, (n, d).
        lengths: steps of each sequence that count, (n,).
    """

    states: StateSequences
    inputs: InputSequences
    initial_states: States
    lengths: Counts

    @property
    def valid(self) -> StepMask:
        """Steps (n, t) that belong to their sequence."""
        steps = torch.arange(self.states.shape[1], device=self.lengths.device)
        return steps < self.lengths[:, None]

    @property
    def final_states(self) -> States:
        """The state (n, d) after each sequence's last step."""
        return self.states[torch.arange(len(self.states)), self.lengths - 1]

    def sample_states(
        self, n: int, *, generator: torch.Generator | None = None
    ) -> States:
        """Draw visited states (n, d), without repetition while they last."""
        _checks.check_positive("n", n)
        visited = self.states[self.valid]
        rounds = -(-n // len(visited))
        order = torch.cat(
            [torch.randperm(len(visited), generator=generator) for _ in range(rounds)]
        )
        return visited[order[:n].to(visited.device)]


def mean_input(runs: Trajectories) -> Inputs:
    """Mean layer input (1, k) over all steps that count: the usual reference input."""
    return runs.inputs[runs.valid].mean(0, keepdim=True)


def record(
    model: nn.Module,
    layer: str | nn.Module | None,
    inputs: ModelInputs,
    *,
    lengths: Tensor | Sequence[int] | None = None,
    mask: Tensor | Sequence[Sequence[float]] | None = None,
    dynamics: RecurrentAdapter | None = None,
    call: int | None = None,
    batch_size: int | None = None,
    show_progress: bool = False,
) -> Trajectories:
    """Run a model and keep what one of its recurrent layers read and did.

    Hooks stand only while the model runs; its mode, parameters and gradients are not
    touched. States are recomputed in float64 from the recorded inputs, which gives
    every layer of a stack and the cell state of an LSTM.

    Args:
        model: the host model, or the layer itself.
        layer: path of the layer, the layer, or None where there is only one.
        inputs: what the model is called with: a tensor, a sequence of positional or a
            mapping of named arguments.
        lengths: steps (n,) of each sequence that count, where the layer runs over
            padding; a PackedSequence says so by itself.
        mask: the same as a (n, t) mask, true where a step counts, padding last.
        dynamics: adapter to use; by default `adapt(model, layer)`. That of one
            direction of a bidirectional layer gives trajectories in the order in which
            this direction reads; backward, a layer that runs over padding does so
            first, and its initial states are those after it.
        call: which call of the layer to read, from 0, where the model calls it more
            than once in a forward pass. Of a cell, the calls are the steps.
        batch_size: rows of `inputs` to run at once; all of them by default.
        show_progress: show a progress bar over batches.

    Returns:
        The trajectories, batch first whatever the layer's own order.

    Raises:
        ValueError: active dropout or running statistics, an empty batch, lengths that
            do not fit, a layer that the model never called, several calls where
            none is chosen, or a loop of calls that does not hand its state on.

    Warns:
        RecordingWarning: where the states are not those of the layer's own output.

    Example:
        >>> import torch, captum_dynamics as cd
        >>> model = torch.nn.GRU(3, 5, batch_first=True)
        >>> cd.record(model, None, torch.randn(2, 7, 3)).states.shape
        torch.Size([2, 7, 5])
    """
    found = find_layer(model, layer)
    adapter = adapt(model, found) if dynamics is None else dynamics
    check_deterministic(model)
    if batch_size is not None:
        check_batch_first(model, found, adapter, inputs, batch_size, call=call)
    batches = list(_batches(inputs, batch_size))
    shown = progress(batches, show=show_progress, desc="Recording")
    whole = _join([_run(model, found, adapter, batch, call) for batch in shown])
    given = _given_lengths(lengths, mask, whole.call)
    _check_unbroken(whole.breaks, given)
    if adapter.calls.backward:
        return _after_padding(whole, given)
    read = whole.call
    return Trajectories(whole.states, read.inputs, read.initial_states, given)


@dataclass(frozen=True, eq=False)
class _Part:
    """What one run of the model gave: its call, states, and where a loop broke."""

    call: Call
    states: StateSequences
    breaks: StepMask


def _run(
    model: nn.Module,
    layer: nn.Module,
    adapter: RecurrentAdapter,
    batch: ModelInputs,
    chosen: int | None,
) -> _Part:
    with torch.no_grad():
        # The adapter may call the layer too, which is no call of the model's.
        with captured_calls(layer) as captured:
            call_model(model, batch)
        calls = choose_call(adapter, captured, chosen)
        call = read_calls(adapter, calls)
        _checks.check_rows("inputs", call.inputs)
        _checks.check_finite("inputs", call.inputs)
        states = adapter.rollout(call.initial_states, call.inputs)
        breaks = find_breaks(adapter, calls)
        if not breaks.any():
            check_reproduced(adapter, call, states, calls)
    return _Part(call, states, breaks)


def _after_padding(whole: _Part, lengths: Counts) -> Trajectories:
    """Begin each trajectory after the steps of padding that are read first."""
    call = whole.call
    padding = call.lengths - lengths
    before = torch.cat([call.initial_states[:, None], whole.states], dim=1)
    steps = torch.arange(call.inputs.shape[1], device=padding.device)
    # What comes after the last step that counts is of no account.
    places = ((steps + padding[:, None]) % len(steps))[:, :, None]
    return Trajectories(
        torch.take_along_dim(whole.states, places, dim=1),
        torch.take_along_dim(call.inputs, places, dim=1),
        before[torch.arange(len(before)), padding],
        lengths,
    )


def _check_unbroken(breaks: StepMask, lengths: Counts) -> None:
    """Refuse states that a model did not hand from one call of its cell to the next."""
    steps = torch.arange(breaks.shape[1], device=lengths.device)
    broken = torch.nonzero(breaks & (steps < lengths[:, None] - 1))
    if len(broken):
        row, step = broken[0].tolist()
        raise ValueError(
            f"Expected each call of the cell to get the state of the call before, but "
            f"in sequence {row} call {step + 1} gets another: the model masks or "
            f"resets its state, or reads several sequences. Give `lengths` where it "
            f"keeps the state of padded steps; else record each sequence on its own."
        )


def _batches(inputs: ModelInputs, size: int | None) -> Iterator[ModelInputs]:
    if size is None:
        yield inputs
        return
    _checks.check_positive("batch_size", size)
    rows = count_rows(inputs)
    for start in range(0, rows, size):
        yield take_rows(inputs, slice(start, start + size), rows)


def _join(parts: Sequence[_Part]) -> _Part:
    """Join batches, padding shorter ones with zeros at the end."""
    if not parts:
        raise ValueError("Expected `inputs` to have at least one row, got none.")
    calls = [part.call for part in parts]
    call = Call(
        _padded([call.inputs for call in calls]),
        torch.cat([call.initial_states for call in calls]),
        torch.cat([call.lengths for call in calls]),
    )
    breaks = _padded([part.breaks[..., None] for part in parts])[..., 0]
    return _Part(call, _padded([part.states for part in parts]), breaks)


def _padded(parts: Sequence[Tensor]) -> Tensor:
    steps = max(part.shape[1] for part in parts)
    return torch.cat(
        [nn.functional.pad(part, (0, 0, 0, steps - part.shape[1])) for part in parts]
    )


def _given_lengths(
    lengths: Tensor | Sequence[int] | None,
    mask: Tensor | Sequence[Sequence[float]] | None,
    call: Call,
) -> Counts:
    rows, steps = call.inputs.shape[:2]
    if lengths is not None and mask is not None:
        raise ValueError("Expected `lengths` or `mask`, got both.")
    if mask is not None:
        mask = torch.as_tensor(mask)
        if mask.shape != (rows, steps):
            raise ValueError(
                f"Expected `mask` to have shape ({rows}, {steps}), got "
                f"{tuple(mask.shape)}."
            )
        counted = mask.bool()
        if bool((counted[:, 1:] & ~counted[:, :-1]).any()):
            raise ValueError(
                "Expected `mask` to have its padding last; move padding to the end."
            )
        lengths = counted.sum(1)
    given = call.lengths
    if lengths is not None:
        given = torch.as_tensor(lengths).to(given.device)
    return _checks.check_lengths("lengths", given, rows, steps)
