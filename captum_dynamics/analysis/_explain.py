"""Attributions of some sequences, ours and Captum's, in the layer's input space."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from captum_dynamics._typing import Inputs
from captum_dynamics.adapters import Call, RecurrentAdapter
from captum_dynamics.attr import DynamicsAttribution, LayerInputForward
from captum_dynamics.attr._host import Arguments, Host
from captum_dynamics.calling import ModelInputs, call_model
from captum_dynamics.findings import Documents, Explanation
from captum_dynamics.recording import Trajectories


@dataclass(frozen=True, eq=False)
class Explained:
    """The sequences to explain, in the form that Captum's methods take.

    Attributes:
        model: the host model.
        layer: its recurrent layer.
        dynamics: the layer's map.
        given: what the model was called with, all sequences.
        runs: what was recorded of them.
        count: number of sequences to explain, from the first.
        given_target: the column asked for.
    """

    model: nn.Module
    layer: nn.Module
    dynamics: RecurrentAdapter
    given: ModelInputs
    runs: Trajectories
    count: int
    given_target: int | None

    @property
    def forward(self) -> Callable[..., Any]:
        """The model as a function of positional arguments."""
        if not isinstance(self.given, Mapping):
            return self.model
        names = tuple(self.given)

        def forward(*values: Any) -> Any:
            return self.model(**dict(zip(names, values, strict=True)))

        return forward

    @property
    def arguments(self) -> tuple[Any, ...]:
        """Positional arguments of the explained sequences."""
        if isinstance(self.given, Tensor):
            values: tuple[Any, ...] = (self.given,)
        elif isinstance(self.given, Mapping):
            values = tuple(self.given.values())
        else:
            values = tuple(self.given)
        rows = len(self.runs.states)
        # Without a batch axis in front nothing can be selected: explain them all.
        if not isinstance(values[0], Tensor) or len(values[0]) != rows:
            return values
        return tuple(
            v[: self.count]
            if isinstance(v, Tensor) and v.ndim and len(v) == rows
            else v
            for v in values
        )

    @property
    def target(self) -> int | None:
        """The column to explain; chosen where there is only one."""
        with torch.no_grad():
            output = call_model(self.forward, self.arguments)
        if self.given_target is not None or output.ndim == 1:
            return self.given_target
        if output.shape[1] == 1:
            return 0
        raise ValueError(
            f"Expected a `target` between 0 and {output.shape[1] - 1} to say which "
            f"output of the model to explain, got None."
        )


def readout_direction(explained: Explained) -> Tensor:
    """Mean gradient (d,) of the output with respect to the states it reads."""
    host = Host(explained.forward, explained.layer, explained.dynamics)
    arguments = Arguments((), explained.target, explained.arguments)
    _, call = host.run(arguments)
    states = explained.dynamics.rollout(call.initial_states, call.inputs)
    return host.injections(arguments, call, states).sum(1).mean(0)


def explain(
    explained: Explained,
    reference: Inputs,
    compare: Sequence[Callable[..., Any]],
    tokens: Sequence[Sequence[str]] | None,
) -> Documents:
    """Attribute with our method, then with each of Captum's."""
    arguments = explained.arguments
    host = Host(explained.forward, explained.layer, explained.dynamics)
    outputs, call = host.run(Arguments((), explained.target, arguments))
    baseline = reference.expand_as(call.inputs)
    with torch.no_grad():
        unread = host.outputs_from_inputs(
            Arguments((), explained.target, arguments), baseline
        )
    ours = _ours(explained, reference)
    theirs = [_theirs(explained, method, call, baseline) for method in compare]
    rows, steps = call.inputs.shape[:2]
    valid = explained.runs.valid[:rows, :steps]
    return Documents(
        _names(tokens, rows, explained.runs.lengths),
        outputs.detach().double(),
        unread.detach().double(),
        valid,
        (ours, *theirs),
    )


def _ours(explained: Explained, reference: Inputs) -> Explanation:
    method = DynamicsAttribution(
        explained.forward, explained.layer, reference=reference[0]
    )
    began = time.perf_counter()
    values, deltas = method.attribute(
        explained.arguments, target=explained.target, return_convergence_delta=True
    )
    seconds = time.perf_counter() - began
    (values,) = values
    total = values.detach().double().sum(-1)
    return Explanation("DynamicsAttribution", total, deltas.double(), seconds)


def _theirs(
    explained: Explained, method: Callable[..., Any], call: Call, baseline: Tensor
) -> Explanation:
    forward = LayerInputForward(explained.forward, explained.layer)
    algorithm = method(forward)
    parameter = next(explained.layer.parameters())
    inputs = call.inputs.to(parameter.dtype).requires_grad_()
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
    found = missing if deltas is None else deltas.detach().double().reshape(-1)
    return Explanation(type(algorithm).__name__, total, found, seconds)


def _names(
    tokens: Sequence[Sequence[str]] | None, rows: int, lengths: Tensor
) -> tuple[tuple[str, ...], ...]:
    if tokens is None:
        counts = lengths[:rows].tolist()
        return tuple(tuple(str(step) for step in range(n)) for n in counts)
    return tuple(tuple(names) for names in tokens[:rows])
