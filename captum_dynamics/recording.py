"""States and layer inputs that a model really visits, captured by hooks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

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

ModelInputs = Tensor | Sequence[Any] | Mapping[str, Any]
Hooked = tuple[tuple[Any, ...], dict[str, Any], Any]


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
        self, count: int, *, generator: torch.Generator | None = None
    ) -> States:
        """Draw visited states (count, d), without repetition while they last."""
        _checks.check_positive("count", count)
        visited = self.states[self.valid]
        rounds = -(-count // len(visited))
        order = torch.cat(
            [torch.randperm(len(visited), generator=generator) for _ in range(rounds)]
        )
        return visited[order[:count].to(visited.device)]


def mean_input(runs: Trajectories) -> Inputs:
    """Mean layer input (1, k) over all steps that count: the usual reference input."""
    return runs.inputs[runs.valid].mean(0, keepdim=True)


def record(
    model: nn.Module,
    layer: str | nn.Module | None,
    inputs: ModelInputs,
    *,
    lengths: Tensor | None = None,
    mask: Tensor | None = None,
    dynamics: RecurrentAdapter | None = None,
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
        dynamics: adapter to use; by default `adapt(model, layer)`.
        batch_size: rows of `inputs` to run at once; all of them by default.
        show_progress: show a progress bar over batches.

    Returns:
        The trajectories, batch first whatever the layer's own order.

    Raises:
        ValueError: active dropout, an empty batch, lengths that do not fit, or a
            layer that the model never called.

    Example:
        >>> import torch, captum_dynamics as cd
        >>> model = torch.nn.GRU(3, 5, batch_first=True)
        >>> cd.record(model, None, torch.randn(2, 7, 3)).states.shape
        torch.Size([2, 7, 5])
    """
    found = find_layer(model, layer)
    adapter = adapt(found) if dynamics is None else dynamics
    check_deterministic(model)
    batches = list(_batches(inputs, batch_size))
    shown = progress(batches, show=show_progress, desc="Recording")
    calls = [_run(model, found, adapter, batch) for batch in shown]
    call = _join(calls)
    _checks.check_rows("inputs", call.inputs)
    given = _given_lengths(lengths, mask, call)
    _checks.check_finite("inputs", call.inputs)
    with torch.no_grad():
        states = adapter.rollout(call.initial_states, call.inputs)
    return Trajectories(states, call.inputs, call.initial_states, given)


def call_model(model: Callable[..., Any], inputs: ModelInputs) -> Any:
    """Call a model with a tensor, positional arguments, or named ones."""
    if isinstance(inputs, Tensor):
        return model(inputs)
    if isinstance(inputs, Mapping):
        return model(**inputs)
    return model(*inputs)


@contextmanager
def captured_calls(layer: nn.Module) -> Iterator[list[Hooked]]:
    """Keep (args, kwargs, output) of every call of a layer while the block runs."""
    calls: list[Hooked] = []

    def keep(
        _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> None:
        calls.append((args, kwargs, output))

    handle = layer.register_forward_hook(keep, with_kwargs=True)
    try:
        yield calls
    finally:
        handle.remove()


def read_calls(adapter: RecurrentAdapter, calls: Sequence[Hooked]) -> Call:
    """Read captured calls as one sequence: one call, or a loop of one-step calls."""
    if not calls:
        raise ValueError(
            "Expected the model to call its recurrent layer; it never did."
        )
    if not adapter.calls.one_step:
        if len(calls) > 1:
            raise ValueError(
                f"Expected one call of the recurrent layer in one forward pass, got "
                f"{len(calls)}; analyse each use with its own layer."
            )
        args, kwargs, _ = calls[0]
        return _sized(adapter, adapter.calls.read(adapter, args, kwargs))
    read = [adapter.calls.read(adapter, args, kwargs) for args, kwargs, _ in calls]
    steps = torch.cat([call.inputs for call in read], dim=1)
    lengths = torch.full_like(read[0].lengths, len(read))
    return _sized(adapter, Call(steps, read[0].initial_states, lengths))


def check_deterministic(model: nn.Module) -> None:
    """Refuse active dropout, under which no two runs of a model agree."""
    for path, module in model.named_modules():
        active = module.training and isinstance(module, nn.modules.dropout._DropoutNd)
        if active and module.p > 0:
            raise ValueError(
                f"Expected `model` without active dropout, but {path or 'it'} has "
                f"p={module.p} in training mode; call `model.eval()` first."
            )


def _sized(adapter: RecurrentAdapter, call: Call) -> Call:
    if call.inputs.shape[-1] != adapter.input_dim:
        raise ValueError(
            f"Expected the layer's inputs to have {adapter.input_dim} columns, got "
            f"{call.inputs.shape[-1]}; is `dynamics` the adapter of this layer?"
        )
    if call.inputs.shape[1] == 0:
        raise ValueError("Expected sequences of at least one step, got length 0.")
    return call


def _run(
    model: nn.Module, layer: nn.Module, adapter: RecurrentAdapter, batch: ModelInputs
) -> Call:
    with torch.no_grad(), captured_calls(layer) as calls:
        call_model(model, batch)
    return read_calls(adapter, calls)


def _batches(inputs: ModelInputs, size: int | None) -> Iterator[ModelInputs]:
    if size is None:
        yield inputs
        return
    _checks.check_positive("batch_size", size)
    named = isinstance(inputs, Mapping)
    values = list(inputs.values()) if isinstance(inputs, Mapping) else inputs
    tensors = [values] if isinstance(values, Tensor) else list(values)
    rows = max((len(v) for v in tensors if isinstance(v, Tensor) and v.ndim), default=0)
    for start in range(0, rows, size):
        cut = [
            v[start : start + size] if isinstance(v, Tensor) and v.ndim else v
            for v in tensors
        ]
        if isinstance(inputs, Mapping) and named:
            yield dict(zip(inputs, cut, strict=True))
        else:
            yield cut[0] if isinstance(inputs, Tensor) else tuple(cut)


def _join(calls: Sequence[Call]) -> Call:
    """Join batches, padding shorter ones with zero inputs at the end."""
    if not calls:
        raise ValueError("Expected `inputs` to have at least one row, got none.")
    steps = max(call.inputs.shape[1] for call in calls)
    padded = [
        nn.functional.pad(call.inputs, (0, 0, 0, steps - call.inputs.shape[1]))
        for call in calls
    ]
    return Call(
        torch.cat(padded),
        torch.cat([call.initial_states for call in calls]),
        torch.cat([call.lengths for call in calls]),
    )


def _given_lengths(lengths: Tensor | None, mask: Tensor | None, call: Call) -> Counts:
    rows, steps = call.inputs.shape[:2]
    if lengths is not None and mask is not None:
        raise ValueError("Expected `lengths` or `mask`, got both.")
    if mask is not None:
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
    given = call.lengths if lengths is None else lengths.to(call.lengths.device)
    return _checks.check_lengths("lengths", given, rows, steps)
