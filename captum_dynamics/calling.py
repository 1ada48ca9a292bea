"""Calling a model: its inputs, the calls of one layer, and what may not be called."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from captum_dynamics import _checks
from captum_dynamics._typing import StateSequences, StepMask
from captum_dynamics.adapters import Call, RecurrentAdapter
from captum_dynamics.adapters._attributes import restored
from captum_dynamics.adapters._hooks import after_calls
from captum_dynamics.adapters._reparametrized import is_settled
from captum_dynamics.adapters._scripted import is_scripted
from captum_dynamics.exceptions import RecordingWarning

ModelInputs = Tensor | Sequence[Any] | Mapping[str, Any]
Hooked = tuple[tuple[Any, ...], dict[str, Any], Any]


def call_model(model: Callable[..., Any], inputs: ModelInputs) -> Any:
    """Call a model with a tensor, positional arguments, or named ones."""
    # Some layers keep their state themselves, and would be left with that of the run.
    kept = restored(model) if isinstance(model, nn.Module) else nullcontext()
    with kept:
        if isinstance(inputs, Tensor):
            return model(inputs)
        if isinstance(inputs, Mapping):
            return model(**inputs)
        return model(*inputs)


def count_rows(inputs: ModelInputs) -> int:
    """Length of the first axis of the first tensor."""
    if isinstance(inputs, Mapping):
        values = list(inputs.values())
    else:
        values = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    tensors = [v for v in values if isinstance(v, Tensor) and v.ndim]
    return len(tensors[0]) if tensors else 0


def take_rows(inputs: ModelInputs, chosen: slice, rows: int) -> ModelInputs:
    """Select rows of every tensor that has one for each of `rows` sequences."""

    def cut(value: Any) -> Any:
        each = isinstance(value, Tensor) and value.ndim and len(value) == rows
        return value[chosen] if each else value

    if isinstance(inputs, Mapping):
        return {name: cut(value) for name, value in inputs.items()}
    return cut(inputs) if isinstance(inputs, Tensor) else tuple(map(cut, inputs))


def is_batch_first(
    model: nn.Module,
    layer: nn.Module,
    adapter: RecurrentAdapter,
    inputs: ModelInputs,
    *,
    call: int | None = None,
) -> bool:
    """Whether rows of a model's inputs are sequences of its layer.

    Two cuts tell: of a time-first model they cannot both look like sequences.
    """
    rows = count_rows(inputs)
    for size in range(1, min(3, rows)):
        try:
            with torch.no_grad(), captured_calls(layer) as calls:
                call_model(model, take_rows(inputs, slice(0, size), rows))
            chosen = choose_call(adapter, calls, call)
            found = len(read_calls(adapter, chosen).inputs)
        except (RuntimeError, ValueError, IndexError):  # a cut the model cannot read
            return False
        if found != size:
            return False
    return rows > 0


def check_batch_first(
    model: nn.Module,
    layer: nn.Module,
    adapter: RecurrentAdapter,
    inputs: ModelInputs,
    size: int,
    *,
    call: int | None = None,
) -> None:
    """Refuse to cut inputs into batches of `size` rows that are not sequences."""
    _checks.check_positive("batch_size", size)
    if size < count_rows(inputs) and not is_batch_first(
        model, layer, adapter, inputs, call=call
    ):
        raise ValueError(
            "Expected `inputs` whose first axis is sequences where `batch_size` is "
            "given, but their rows are not what the layer reads as sequences; leave "
            "`batch_size` out."
        )


@contextmanager
def captured_calls(layer: nn.Module) -> Iterator[list[Hooked]]:
    """Keep (args, kwargs, output) of every call of a layer while the block runs."""
    calls: list[Hooked] = []

    def keep(
        _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> None:
        # Copies: what the model writes in place later is not what the layer read.
        calls.append((_copied(args), _copied(kwargs), _copied(output)))

    with after_calls(layer, keep):
        yield calls


def choose_call(
    adapter: RecurrentAdapter, calls: Sequence[Hooked], call: int | None
) -> Sequence[Hooked]:
    """The one call that was asked for, of a layer that a model calls several times."""
    if call is None:
        return calls
    if adapter.calls.one_step:
        raise ValueError(
            f"Expected no `call` for a cell, whose calls are its steps, got {call}."
        )
    if call not in range(len(calls)):
        raise ValueError(
            f"Expected `call` from 0, of the {len(calls)} calls of the layer in one "
            f"forward pass, got {call}."
        )
    return calls[call : call + 1]


def read_calls(adapter: RecurrentAdapter, calls: Sequence[Hooked]) -> Call:
    """Read captured calls as one sequence: one call, or a loop of one-step calls."""
    if not calls:
        raise ValueError(
            "Expected the model to call its recurrent layer; it never did."
        )
    if not adapter.calls.begins_empty:
        raise ValueError(
            "Expected a layer that attends to nothing, got one whose map holds the "
            "keys and values of a context fixed, while those of a call grow; read the "
            "recurrent layers in it, or follow the map from its `context_state`."
        )
    if not adapter.calls.one_step:
        if len(calls) > 1:
            raise ValueError(
                f"Expected one call of the recurrent layer in one forward pass, got "
                f"{len(calls)}; choose one with `captum_dynamics.record(..., call=0)`, "
                f"or analyse each use with its own layer."
            )
        args, kwargs, _ = calls[0]
        return _sized(adapter, adapter.calls.read(adapter, args, kwargs))
    read = [adapter.calls.read(adapter, args, kwargs) for args, kwargs, _ in calls]
    if len({call.inputs.shape for call in read}) > 1:
        raise ValueError(
            "Expected every call of the cell to be a step of the same sequences, got "
            "calls of different sizes; analyse each use with its own cell."
        )
    steps = torch.cat([call.inputs for call in read], dim=1)
    lengths = torch.full_like(read[0].lengths, len(read))
    return _sized(adapter, Call(steps, read[0].initial_states, lengths))


def check_reproduced(
    adapter: RecurrentAdapter,
    call: Call,
    states: StateSequences,
    calls: Sequence[Hooked],
) -> None:
    """Warn where the adapter's equations do not give the layer's own last output."""
    output = calls[-1][2]
    written = adapter.calls.write(adapter, states, call, output)
    pairs = zip(_tensors(written), _tensors(output), strict=True)
    worst = max(
        float(((ours - theirs).abs() / (1 + theirs.abs())).nan_to_num(torch.inf).max())
        for ours, theirs in pairs
    )
    if worst > _precision(output):
        warnings.warn(
            f"The recorded states differ from the layer's own output by {worst:.1e}: "
            f"the layer computes something else than its adapter, its dynamics "
            f"amplify rounding, or it went on from a cache that had been filled before "
            f"(sequences are read from an empty one). Check it with "
            f"`captum_dynamics.testing.check_adapter`.",
            RecordingWarning,
            stacklevel=4,
        )


def find_breaks(adapter: RecurrentAdapter, calls: Sequence[Hooked]) -> StepMask:
    """Steps (n, t) whose state the next call did not get: masked, reset, or mixed up.

    After the last step, and within a layer that reads whole sequences, nothing breaks.
    """
    read = [adapter.calls.read(adapter, args, kwargs) for args, kwargs, _ in calls]
    unbroken = torch.zeros(read[0].inputs.shape[:2], dtype=torch.bool)
    if not adapter.calls.one_step:
        return unbroken.to(read[0].inputs.device)
    tolerance = _precision(calls[0][2])
    columns = []
    for now, then in pairwise(read):
        with torch.no_grad():
            given = adapter.step(now.initial_states, now.inputs[:, 0])
        received = then.initial_states
        kept = (given - received).abs() <= tolerance * (1 + given.abs())
        columns.append(~kept.all(-1))
    ends = unbroken[:, 0].to(read[0].inputs.device)
    return torch.stack([*columns, ends], dim=1)


def check_deterministic(model: nn.Module) -> None:
    """Refuse what makes two runs of a model differ: dropout, running statistics."""
    for path, module in model.named_modules():
        if not module.training:
            continue
        if not is_settled(module):
            raise ValueError(
                f"Expected `model` to stay as it is when it runs, but the spectral "
                f"norm of {path or 'it'} changes its weights in training mode; call "
                f"`model.eval()` first."
            )
        share = _dropout(module)
        if share > 0:
            raise ValueError(
                f"Expected `model` without active dropout, but {path or 'it'} has "
                f"p={share} in training mode; call `model.eval()` first."
            )
        if getattr(module, "track_running_stats", False):
            raise ValueError(
                f"Expected `model` to stay as it is when it runs, but {path or 'it'} "
                f"updates its running statistics in training mode; call "
                f"`model.eval()` first."
            )


def _dropout(module: nn.Module) -> float:
    """Share of values that a module drops in training mode."""
    if is_scripted(module):
        return _scripted_dropout(module)
    if isinstance(module, nn.modules.dropout._DropoutNd):
        return float(module.p)
    if isinstance(module, nn.RNNBase) and module.num_layers > 1:
        return float(module.dropout)
    return 0.0


def _scripted_dropout(module: nn.Module) -> float:
    """The same of a scripted module, which keeps its settings but not its class."""
    if getattr(module, "num_layers", 2) < 2:
        return 0.0
    # A traced module keeps no settings; whether it drops anything is not to be seen.
    return float(getattr(module, "p", getattr(module, "dropout", 0.0)))


def _copied(value: Any) -> Any:
    """Copy every tensor of a nested argument."""
    if isinstance(value, PackedSequence):
        return value._replace(data=value.data.detach().clone())
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        filled = copy.copy(value)  # of its own class, such as an output with names
        for name, item in value.items():
            filled[name] = _copied(item)
        return filled
    if isinstance(value, (tuple, list)):
        return type(value)(_copied(item) for item in value)
    return value


def _tensors(value: Any) -> Iterator[Tensor]:
    """Every floating tensor of a nested output."""
    if isinstance(value, PackedSequence):
        yield value.data
    elif isinstance(value, Tensor) and value.is_floating_point():
        yield value
    elif isinstance(value, (tuple, list, Mapping)):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _tensors(item)


def _precision(output: Any) -> float:
    """Largest deviation that rounding in the layer's own dtype may explain."""
    dtype = next(_tensors(output)).dtype
    return 10 * math.sqrt(torch.finfo(dtype).eps)


def _sized(adapter: RecurrentAdapter, call: Call) -> Call:
    if call.inputs.shape[-1] != adapter.input_dim:
        raise ValueError(
            f"Expected the layer's inputs to have {adapter.input_dim} columns, got "
            f"{call.inputs.shape[-1]}; is `dynamics` the adapter of this layer?"
        )
    if call.inputs.shape[1] == 0:
        raise ValueError("Expected sequences of at least one step, got length 0.")
    return call
