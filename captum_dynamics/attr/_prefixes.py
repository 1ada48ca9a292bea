"""Runs that read their first inputs as they are and the baseline's afterwards."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from captum_dynamics._execution import progress, row_chunks
from captum_dynamics._typing import InputSequences, States, StateSequences
from captum_dynamics.adapters import Call, RecurrentAdapter
from captum_dynamics.attr._host import Arguments, Host
from captum_dynamics.attr._runs import CallPair, warn_of_foreign_states

LIVE_COPIES = 4
"""Sequences of a run's states that are held at once, about: the head takes copies."""

Runs = Float[Tensor, "p n t d"]


@torch.no_grad()
def prefix_outputs(
    host: Host, arguments: Arguments, calls: CallPair, dtype: torch.dtype
) -> Float[Tensor, "n s"]:
    """y_0 to y_T, from states of the given precision."""
    call, (states, reads) = calls.call, _actual(host, calls, dtype)
    whole = states.numel() * states.element_size()
    outputs = []
    with host.replayed(calls.given):
        for rows in row_chunks(states.shape[1] + 1, LIVE_COPIES * whole):
            prefixes = torch.arange(rows.start, rows.stop)
            if host.dynamics.one_map:
                runs = states.expand(len(prefixes), *states.shape).clone()
                starts = call.initial_states.to(dtype)
                _switch(host.dynamics, starts, runs, reads, prefixes)
            else:
                runs = _whole_runs(host.dynamics, _in(call, dtype), reads, prefixes)
            outputs += [host.outputs_from_states(arguments, call, run) for run in runs]
    warn_of_foreign_states(outputs[-1].double(), calls.outputs)
    return torch.stack(outputs, dim=1).double()


@torch.no_grad()
def replaced_outputs(
    host: Host,
    arguments: Arguments,
    calls: CallPair,
    prefixes: Float[Tensor, "n s"],
    dtype: torch.dtype,
    *,
    show: bool,
    desc: str,
) -> Float[Tensor, "n t s"]:
    """The same with one of the inputs replaced by the baseline's, each in turn.

    `prefixes` are y_0 to y_T. Where the replaced input is not among those read, or is
    the last of them, nothing is run: the output is one of these.
    """
    call, (states, reads) = calls.call, _actual(host, calls, dtype)
    starts, inputs = call.initial_states.to(dtype), call.inputs.to(dtype)
    steps, device = states.shape[1], prefixes.device
    read, replaced = torch.arange(steps + 1, device=device), torch.arange(steps)
    at_end = read == replaced.to(device)[:, None] + 1
    outputs = torch.where(at_end, prefixes.roll(1, 1)[:, None], prefixes[:, None])
    # Pairs (replaced input, inputs read) by the first, so that a chunk has few of it.
    pairs = torch.triu_indices(steps, steps + 1, offset=2).T
    # The runs, and those that they branch from.
    whole = (LIVE_COPIES + 1) * states.numel() * states.element_size()
    chunks = list(row_chunks(len(pairs), whole))
    with host.replayed(calls.given):
        for rows in progress(chunks, show=show, desc=desc):
            chunk = pairs[rows]
            without, reads_of = chunk[chunk[:, 1].argsort(stable=True)].unbind(1)
            missing, origin = torch.unique(without, return_inverse=True)
            trunks = _without(host.dynamics, starts, states, (inputs, reads), missing)
            runs = trunks[origin.to(device)]
            _switch(host.dynamics, starts, runs, reads, reads_of)
            for run, row, column in zip(runs, without, reads_of, strict=True):
                found = host.outputs_from_states(arguments, call, run)
                outputs[:, row, column] = found.double()
    return outputs


def precision(dynamics: RecurrentAdapter, wanted: torch.dtype) -> torch.dtype:
    """Single where the caller's is, and the map can: that of the model itself."""
    single = dynamics.traits.float32 and wanted == torch.float32
    return torch.float32 if single else dynamics.dtype


def _actual(
    host: Host, calls: CallPair, dtype: torch.dtype
) -> tuple[StateSequences, InputSequences]:
    """States of the actual run, and the inputs of the baseline run."""
    states = host.dynamics.run(_in(calls.call, dtype))
    return states, calls.baseline_call.inputs.to(dtype)


def _in(call: Call, dtype: torch.dtype) -> Call:
    return Call(call.inputs.to(dtype), call.initial_states.to(dtype), call.lengths)


def _switch(
    dynamics: RecurrentAdapter,
    starts: States,
    runs: Runs,
    reads: InputSequences,
    prefixes: Tensor,
) -> None:
    """Let each run read `reads` after its prefix; prefixes are in ascending order."""
    for step in range(int(prefixes[0]), runs.shape[2]):
        switched = int((prefixes <= step).sum())
        read = reads[:, step].expand(switched, -1, -1)
        _advance(dynamics, starts, runs, step, read)


def _whole_runs(
    dynamics: RecurrentAdapter,
    call: Call,
    baseline_inputs: InputSequences,
    prefixes: Tensor,
) -> Runs:
    """The same from end to end: what is read late reaches all of a backward run."""
    steps = torch.arange(call.inputs.shape[1], device=call.inputs.device)
    as_they_are = (steps < prefixes.to(steps.device)[:, None])[:, None, :, None]
    inputs = torch.where(as_they_are, call.inputs, baseline_inputs)
    whole = Call(
        inputs.flatten(0, 1),
        call.initial_states.repeat(len(prefixes), 1),
        call.lengths.repeat(len(prefixes)),
    )
    return dynamics.run(whole).view(*inputs.shape[:3], dynamics.state_dim)


def _without(
    dynamics: RecurrentAdapter,
    starts: States,
    states: StateSequences,
    call: tuple[InputSequences, InputSequences],
    missing: Tensor,
) -> Runs:
    """Runs of the actual inputs, each but for one of them; `missing` ascends."""
    runs = states.expand(len(missing), *states.shape).clone()
    inputs, reads = call
    for step in range(int(missing[0]), states.shape[1]):
        # Runs that miss a later input still are the actual run.
        now = (missing[missing <= step] == step).to(runs.device)[:, None, None]
        read = torch.where(now, reads[:, step], inputs[:, step])
        _advance(dynamics, starts, runs, step, read)
    return runs


def _advance(
    dynamics: RecurrentAdapter,
    starts: States,
    runs: Runs,
    step: int,
    read: Float[Tensor, "m n k"],
) -> None:
    """Take one step of the first m runs."""
    moving = runs[: len(read)]
    before = moving[:, :, step - 1] if step else starts.expand(len(read), -1, -1)
    moved = dynamics.step(before.flatten(0, 1), read.flatten(0, 1))
    moving[:, :, step] = moved.view_as(moving[:, :, step])
