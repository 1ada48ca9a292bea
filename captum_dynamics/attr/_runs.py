"""Two runs of one layer, actual and baseline, and how the output reads them."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from captum_dynamics._typing import (
    Counts,
    Inputs,
    InputSequences,
    PerPoint,
    States,
    StateSequences,
)
from captum_dynamics.adapters import Call, MeanMap, RecurrentAdapter
from captum_dynamics.adapters._base import later_any
from captum_dynamics.attr._heads import average_injections
from captum_dynamics.attr._host import Arguments, Host, Steps, one_each
from captum_dynamics.exceptions import AttributionWarning


@dataclass(frozen=True, eq=False)
class RunPair:
    """An actual and a baseline run, in float64.

    y(S) - y(S^b) = sum_t G_t . (s_t - s^b_t), with G averaged over the segment from
    the baseline's states to the actual ones.

    Attributes:
        dynamics: the layer's map, or its mean map over m inputs side by side.
        inputs: what the layer reads, (n, t, k).
        baseline_inputs: what it reads in the baseline run, (n, t, k).
        initial_states: (n, d); `baseline_initial_states` alike.
        states: after each step, (n, t, d); `baseline_states` alike.
        injections: G, (n, t, d).
        intercepts: what the output adds to sum_t G_t . s_t, (n,).
        outputs: the model's own outputs F(x), (n,).
        baseline_outputs: its outputs F(baseline), (n,).
        lengths: steps of each sequence, (n,).
        precision: of the model's own outputs, whatever the runs are computed in.
    """

    dynamics: RecurrentAdapter
    inputs: InputSequences
    baseline_inputs: InputSequences
    initial_states: States
    baseline_initial_states: States
    states: StateSequences
    baseline_states: StateSequences
    injections: StateSequences
    intercepts: PerPoint
    outputs: PerPoint
    baseline_outputs: PerPoint
    lengths: Counts
    precision: torch.dtype

    def __len__(self) -> int:
        """Number of examples."""
        return len(self.inputs)

    def __getitem__(self, rows: Tensor) -> RunPair:
        """Select examples."""
        whole = ("dynamics", "precision")
        names = (field.name for field in fields(self) if field.name not in whole)
        return replace(self, **{name: getattr(self, name)[rows] for name in names})

    @property
    def previous_states(self) -> StateSequences:
        """States (n, t, d) before each step."""
        return _shifted(self.initial_states, self.states)

    @property
    def previous_baseline_states(self) -> StateSequences:
        """States (n, t, d) of the baseline run before each step."""
        return _shifted(self.baseline_initial_states, self.baseline_states)

    @property
    def input_differences(self) -> InputSequences:
        """x_t - x^b_t."""
        return self.inputs - self.baseline_inputs

    @property
    def mattering(self) -> Steps:
        """Steps (n, t) up to the last one whose state the output reads."""
        return later_any((self.injections != 0).any(-1))


def _shifted(initial: States, states: StateSequences) -> StateSequences:
    return torch.cat([initial[:, None], states[:, :-1]], dim=1)


@dataclass(frozen=True, eq=False)
class CallPair:
    """What the layer reads in an actual and in a baseline run, and both outputs.

    Attributes:
        call: what it reads; `baseline_call` alike.
        outputs: the model's outputs F(x), (n,).
        baseline_outputs: its outputs F(baseline), (n,).
        given: what each call of the layer gave in the actual run.
    """

    call: Call
    baseline_call: Call
    outputs: PerPoint
    baseline_outputs: PerPoint
    given: list[Any]


def pair_calls(
    host: Host,
    arguments: Arguments,
    baselines: tuple[Tensor, ...] | None,
    reference: Inputs,
) -> CallPair:
    """Run the model and its baseline.

    The baseline run is that of the model's `baselines`; without them, the layer reads
    `reference` (1, k) at every step.
    """
    outputs, call, given = host.run(arguments)
    if baselines is None:
        before = replace(call, inputs=reference.to(call.inputs).expand_as(call.inputs))
        with torch.no_grad():
            answers = host.outputs_from_inputs(arguments, before.inputs)
        baseline_outputs = one_each(answers, call)
    else:
        run = host.run(replace(arguments, inputs=baselines))
        baseline_outputs, before, _ = run
        _check_alike(host.dynamics, call, before)
    return CallPair(call, before, outputs, baseline_outputs, given)


def pair_with_mean(host: Host, arguments: Arguments, words: Inputs) -> RunPair:
    """Pair the actual run with that of the mean map over words (m, k).

    Both are runs of the mean map: the actual one reads m times the same.
    """
    outputs, call, given = host.run(arguments)
    mean_map, (rows, steps) = MeanMap(host.dynamics, len(words)), call.inputs.shape[:2]
    many = call.inputs.repeat(1, 1, len(words))
    mean = words.to(call.inputs).reshape(1, 1, -1)
    alike = bool((call.initial_states == call.initial_states[:1]).all())
    runs = 1 if alike else rows
    references = mean_map.rollout(
        call.initial_states[:runs], mean.expand(runs, steps, -1)
    ).expand(rows, -1, -1)
    states = host.dynamics.run(call)
    with host.replayed(given):
        injections, intercepts = average_injections(
            host, arguments, call, states, references
        )
        with torch.no_grad():
            before = host.outputs_from_states(arguments, call, references)
    warn_of_foreign_states(intercepts + (injections * states).sum((1, 2)), outputs)
    return RunPair(
        mean_map,
        many,
        mean.expand_as(many),
        call.initial_states,
        call.initial_states,
        states,
        references,
        injections,
        intercepts,
        outputs.to(states.dtype),
        before.to(states.dtype),
        call.lengths,
        outputs.dtype,
    )


def pair_runs(
    host: Host,
    arguments: Arguments,
    baselines: tuple[Tensor, ...] | None,
    reference: Inputs,
) -> RunPair:
    """Run the model and its baseline, and average how the output reads the states."""
    calls = pair_calls(host, arguments, baselines, reference)
    call, before = calls.call, calls.baseline_call
    dynamics = host.dynamics
    states, references = _both_rollouts(dynamics, call, before)
    with host.replayed(calls.given):
        injections, intercepts = average_injections(
            host, arguments, call, states, references
        )
    explained = intercepts + (injections * states).sum((1, 2))
    warn_of_foreign_states(explained, calls.outputs)
    return RunPair(
        dynamics,
        call.inputs,
        before.inputs,
        call.initial_states,
        before.initial_states,
        states,
        references,
        injections,
        intercepts,
        calls.outputs.to(states.dtype),
        calls.baseline_outputs.to(states.dtype),
        call.lengths,
        calls.outputs.dtype,
    )


def _both_rollouts(
    dynamics: RecurrentAdapter, call: Call, before: Call
) -> tuple[StateSequences, StateSequences]:
    """States of both runs, rolled out together, which takes half the calls."""
    own = before.inputs, before.initial_states, before.lengths
    alike = own[:2] if dynamics.one_map else own
    if all(bool((values == values[:1]).all()) for values in alike):
        # One run stands for all, as under a reference.
        own = own[0][:1], own[1][:1], own[2][:1]
    inputs, initial, lengths = (
        torch.cat(pair)
        for pair in zip(
            (call.inputs, call.initial_states, call.lengths), own, strict=True
        )
    )
    visited, rows = dynamics.run(Call(inputs, initial, lengths)), len(call.inputs)
    return visited[:rows], visited[rows:].expand(rows, -1, -1)


def _check_alike(dynamics: RecurrentAdapter, call: Call, before: Call) -> None:
    if before.inputs.shape != call.inputs.shape:
        raise ValueError(
            f"Expected `baselines` under which the layer reads inputs of shape "
            f"{tuple(call.inputs.shape)}, got {tuple(before.inputs.shape)}."
        )
    if not dynamics.one_map and not torch.equal(before.lengths, call.lengths):
        raise ValueError(
            f"Expected `baselines` of the lengths of `inputs`, as a bidirectional "
            f"layer begins at the last step too: {call.lengths.tolist()}, got "
            f"{before.lengths.tolist()}."
        )


def warn_of_foreign_states(explained: PerPoint, outputs: PerPoint) -> None:
    """Say so where the layer's equations do not give the model's own output."""
    allowed = 100 * math.sqrt(torch.finfo(outputs.dtype).eps)
    error = (explained - outputs).abs()
    if bool((error > allowed * (1 + outputs.abs())).any()):
        warnings.warn(
            f"The states that follow from the layer's equations give outputs "
            f"{float(error.max()):.1e} away from the model's own; does the model "
            f"change the states between steps, or draw random numbers?",
            AttributionWarning,
            stacklevel=2,
        )
