"""Attributions of some sequences, ours and Captum's, in the layer's input space."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from captum_dynamics._typing import Inputs
from captum_dynamics.adapters import Call, RecurrentAdapter
from captum_dynamics.analysis._given import Explained
from captum_dynamics.attr import DynamicsAttribution, LayerInputForward, check_method
from captum_dynamics.attr._host import Arguments, Host
from captum_dynamics.findings import Documents, Explanation
from captum_dynamics.recording import Trajectories


def readout_direction(explained: Explained, dynamics: RecurrentAdapter) -> Tensor:
    """Mean gradient (d,) of the output with respect to the states it reads."""
    host = Host(explained.forward, explained.layer, dynamics)
    arguments = Arguments((), explained.target, explained.arguments)
    _, call = host.run(arguments)
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
    outputs, call = host.run(arguments)
    baseline = reference.expand_as(call.inputs)
    with torch.no_grad():
        unread = host.outputs_from_inputs(arguments, baseline).reshape(-1)
    ours = _ours(explained, reference)
    theirs = []
    for method in compare:
        with _seeded(seed, call.inputs.device):
            theirs.append(_theirs(explained, method, call, baseline))
    rows, steps = call.inputs.shape[:2]
    return Documents(
        _names(tokens, runs.lengths[:rows]),
        outputs.detach().double(),
        unread.detach().double(),
        runs.valid[:rows, :steps],
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
    explained: Explained, method: Callable[..., Any], call: Call, baseline: Tensor
) -> Explanation:
    forward = LayerInputForward(explained.forward, explained.layer)
    algorithm = method(forward)
    parameter = next(explained.layer.parameters())
    inputs = call.inputs.to(parameter.dtype).requires_grad_()
    # What else goes wrong elsewhere does not through `forward`.
    check_method(algorithm, explained.layer)
    settings: dict[str, Any] = {
        "target": explained.target,
        "additional_forward_args": explained.arguments,
    }
    taken = inspect.signature(algorithm.attribute).parameters
    if "baselines" in taken:
        settings["baselines"] = baseline.to(parameter.dtype)
    if "internal_batch_size" in taken:
        settings["internal_batch_size"] = max(64, len(inputs))
    promises = "return_convergence_delta" in taken
    if promises:
        settings["return_convergence_delta"] = True
    began = time.perf_counter()
    result = algorithm.attribute(inputs, **settings)
    seconds = time.perf_counter() - began
    values, deltas = result if promises else (result, None)
    total = values.detach().double().sum(-1)
    missing = torch.full((len(total),), torch.nan, dtype=torch.float64)
    if deltas is None:
        return Explanation(type(algorithm).__name__, total, missing, seconds)
    # Methods that draw samples give a delta for each, sample after sample of a row.
    found = deltas.detach().double().reshape(len(total), -1).mean(1)
    return Explanation(type(algorithm).__name__, total, found, seconds)


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed the global generators that Captum draws from, and put them back."""
    numpys = np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.default_generator.manual_seed(seed)
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        try:
            yield
        finally:
            np.random.set_state(numpys)  # noqa: NPY002


def _names(
    tokens: Sequence[Sequence[str]] | None, lengths: Tensor
) -> tuple[tuple[str, ...], ...]:
    if tokens is None:
        return tuple(tuple(map(str, range(steps))) for steps in lengths.tolist())
    return tuple(tuple(names) for names in tokens[: len(lengths)])
