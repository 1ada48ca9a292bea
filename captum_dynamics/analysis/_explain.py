"""Attributions of some sequences, ours and Captum's, in the layer's input space."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from captum_dynamics._typing import Inputs, StepMask
from captum_dynamics.adapters import Call, RecurrentAdapter
from captum_dynamics.analysis._given import Explained
from captum_dynamics.attr import DynamicsAttribution, LayerInputForward, check_method
from captum_dynamics.attr._asked import answer
from captum_dynamics.attr._curves import steps_of
from captum_dynamics.attr._host import Arguments, Host
from captum_dynamics.attr._question import Question
from captum_dynamics.findings import Documents, Explanation
from captum_dynamics.recording import Trajectories


def readout_direction(explained: Explained, dynamics: RecurrentAdapter) -> Tensor:
    """Mean gradient (d,) of the output with respect to the states it reads."""
    host = Host(explained.forward, explained.layer, dynamics)
    arguments = Arguments((), explained.target, explained.arguments)
    _, call, _ = host.run(arguments)
    states = dynamics.run(call)
    return host.injections(arguments, call, states).sum(1).mean(0)


def explain(
    explained: Explained,
    runs: Trajectories,
    reference: Inputs,
    compare: Sequence[Callable[..., Any]],
    tokens: Sequence[Sequence[str]] | None,
    seed: int,
) -> Documents:
    """Attribute with our method, then with each of Captum's."""
    host = Host(explained.forward, explained.layer, explained.dynamics)
    arguments = Arguments((), explained.target, explained.arguments)
    outputs, call, _ = host.run(arguments)
    baseline = reference.expand_as(call.inputs)
    with torch.no_grad():
        unread = host.outputs_from_inputs(arguments, baseline).reshape(-1)
    ours = _ours(explained, reference)
    rows, steps = call.inputs.shape[:2]
    valid = runs.valid[:rows, :steps]
    theirs = [
        _theirs(explained, method, call, baseline, valid, seed) for method in compare
    ]
    return Documents(
        _names(tokens, runs.lengths[:rows]),
        outputs.detach().double(),
        unread.detach().double(),
        valid,
        (ours, *theirs),
    )


def _ours(explained: Explained, reference: Inputs) -> Explanation:
    method = DynamicsAttribution(
        explained.forward, explained.layer, reference=reference[0]
    )
    first, *others = explained.arguments
    began = time.perf_counter()
    values, deltas = method.attribute(
        first,
        target=explained.target,
        additional_forward_args=tuple(others),
        return_convergence_delta=True,
    )
    seconds = time.perf_counter() - began
    total = values.detach().double().sum(-1)
    return Explanation("DynamicsAttribution", total, deltas.double(), seconds)


def _theirs(
    explained: Explained,
    method: Callable[..., Any],
    call: Call,
    baseline: Tensor,
    valid: StepMask,
    seed: int,
) -> Explanation:
    algorithm = method(LayerInputForward(explained.forward, explained.layer))
    # What else goes wrong elsewhere does not through `forward`.
    check_method(algorithm, explained.layer)
    dtype = next(explained.layer.parameters()).dtype
    read, start = call.inputs.to(dtype), baseline.to(dtype)
    arguments = Arguments((read,), explained.target, explained.arguments)
    rows = max(64, len(read))
    found = answer(algorithm, Question(arguments, start, start, valid, rows, seed), {})
    total, name = steps_of(found.attributions), type(algorithm).__name__
    return Explanation(name, total, found.deltas, found.seconds)


def _names(
    tokens: Sequence[Sequence[str]] | None, lengths: Tensor
) -> tuple[tuple[str, ...], ...]:
    if tokens is None:
        return tuple(tuple(map(str, range(steps))) for steps in lengths.tolist())
    return tuple(tuple(names) for names in tokens[: len(lengths)])
