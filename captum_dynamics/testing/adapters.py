"""What every adapter must prove: it is its layer, and its derivatives are its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import chain

import torch
from torch import Tensor, nn

from captum_dynamics._typing import InputSequences
from captum_dynamics.adapters import RecurrentAdapter, find_layer
from captum_dynamics.adapters._registry import adapt_whole
from captum_dynamics.calling import (
    Hooked,
    ModelInputs,
    call_model,
    captured_calls,
    check_deterministic,
    find_breaks,
    read_calls,
)
from captum_dynamics.exceptions import AdapterNotFoundError
from captum_dynamics.testing import _layer_claims, _map_claims
from captum_dynamics.testing._agreement import largest_error, tensors_of
from captum_dynamics.testing._fingerprint import changes, fingerprint
from captum_dynamics.testing.report import CheckReport, CheckRow

Claims = Callable[[], Iterator[CheckRow]]

OUTPUTS = "1 outputs: the step is the layer's own"
ARGUMENTS = "2 arguments: nothing passed is changed"
DERIVATIVES = "3 derivatives: those of central differences"
ROWS = "4 rows: none influences another"
POSITION = "5 position: the state says all that counts"
PURITY = "6 purity: the model is left as it was"
CLOSED_FORMS = "closed forms, where the map has some"

# What a user's own run may bring is cut to this: every claim takes a few passes.
SEQUENCES, STEPS = 4, 32


@torch.no_grad()
def check_adapter(
    adapter: RecurrentAdapter, layer: nn.Module, inputs: InputSequences
) -> CheckReport:
    """Compare an adapter with its layer, and its derivatives with differences.

    Six checks, each of several claims: outputs, arguments, derivatives, rows, position
    and purity. Nothing is raised: an error is a claim that failed, with its message.

    Args:
        adapter: the adapter, of the whole layer, or of one level or direction of it.
        layer: the layer it adapts; a cell is called in a loop.
        inputs: sequences (n, t, k), batch first whatever the layer's own order, in
            the layer's dtype. Two rows or more, so that they could meet, and two
            steps or more, so that a sequence can be resumed.

    Returns:
        A report; `passed` says whether all claims hold, `print(report)` shows them,
        `failed` names the checks that do not hold.

    Example:
        >>> import torch, captum_dynamics as cd
        >>> layer = torch.nn.GRU(3, 5)
        >>> check_adapter(cd.adapt(layer), layer, torch.randn(2, 7, 3)).passed
        True
    """
    before = fingerprint(layer)
    states, given = _visited(adapter, inputs)
    by_check = {name: list(rows) for name, rows in _claims(adapter, layer, inputs)}
    for name, claims in (
        (ARGUMENTS, _map_claims.leaves_arguments),
        (DERIVATIVES, _map_claims.derivatives),
        (ROWS, _map_claims.independent_rows),
        (CLOSED_FORMS, _map_claims.reduces),
        (CLOSED_FORMS, _map_claims.bounds),
        (CLOSED_FORMS, _map_claims.activation_form),
    ):
        rows = _guarded(name, partial(claims, adapter, states, given))
        by_check[name] = [*by_check.get(name, []), *rows]
    by_check[PURITY] = [_unchanged("layer left as it was", layer, before)]
    _layer_claims.raises_cleanly(adapter, inputs)
    by_check[PURITY].append(_unchanged("also after an error", layer, before))
    ordered = (OUTPUTS, ARGUMENTS, DERIVATIVES, ROWS, POSITION, PURITY, CLOSED_FORMS)
    found = chain.from_iterable(by_check[name] for name in ordered)
    return CheckReport(f"{type(adapter).__name__} of {type(layer).__name__}", (*found,))


@torch.no_grad()
def verify(
    adapter: RecurrentAdapter,
    model: nn.Module,
    model_inputs: ModelInputs,
    *,
    layer: str | nn.Module | None = None,
) -> CheckReport:
    """Prove an adapter on a model in use: what its layer really read and gave.

    The model runs once. The states that the adapter gives for the recorded inputs, in
    their own form (packed, with initial states, by name, in a loop), are held against
    what the layer returned; then `check_adapter` makes its six checks on the layer
    alone, with a few of the recorded sequences.

    Args:
        adapter: the adapter to prove, such as `cd.adapt(model, layer)`.
        model: the host model, or the layer itself.
        model_inputs: what the model is called with: a tensor, a sequence of positional
            or a mapping of named arguments.
        layer: path of the layer, or the layer; may be left out where there is one.

    Returns:
        A report that `print` shows as a table.

    Raises:
        LayerNotFoundError: no such layer in the model.
        ValueError: active dropout or running statistics, a layer that the model never
            called, or whose inputs do not fit the adapter.

    Example:
        >>> import torch, captum_dynamics as cd
        >>> model = torch.nn.ModuleDict({"rnn": torch.nn.LSTM(3, 4)})
        >>> model.forward = lambda x: model["rnn"](x)[0].sum(0)
        >>> report = verify(cd.adapt(model, "rnn"), model, torch.randn(6, 2, 3))
        >>> report.passed, report.failed
        (True, ())
    """
    found = find_layer(model, layer)
    check_deterministic(model)
    before = fingerprint(model)
    with captured_calls(found) as calls, adapter.calls.precisely(found):
        call_model(model, model_inputs)
    rows = [*_guarded("the model's run", partial(_same_run, adapter, calls))]
    sequences = _layer_inputs(adapter, model, found, calls)[:SEQUENCES, :STEPS]
    report = check_adapter(adapter, found, sequences)
    left = replace(_unchanged("model left as it was", model, before), check=PURITY)
    return CheckReport(report.subject, (*rows, *report.rows, left))


def _same_run(adapter: RecurrentAdapter, calls: list[Hooked]) -> Iterator[CheckRow]:
    """The adapter's states, written in the form of the last output, are that output."""
    if not adapter.calls.begins_empty:
        return
    call = read_calls(adapter, calls)
    states = adapter.rollout(call.initial_states, call.inputs)
    broken = int(find_breaks(adapter, calls).sum())
    note = "the model masks or resets its state" if broken else ""
    yield CheckRow("each call gets the state of the one before", broken, 0, note)
    if broken:
        return
    output = calls[-1][2]
    error = largest_error(adapter.calls.write(adapter, states, call, output), output)
    _, limit = _layer_claims.limits(_dtype(calls))
    yield CheckRow("the recorded run is the layer's", error, limit)


def _layer_inputs(
    adapter: RecurrentAdapter,
    model: nn.Module,
    layer: nn.Module,
    calls: list[Hooked],
) -> InputSequences:
    """What the layer itself read, (n, t, k), which a level above the first does not."""
    if not adapter.calls.begins_empty:
        args, kwargs, _ = calls[-1]
        return adapter.calls.read(adapter, args, kwargs).inputs.to(_dtype(calls))
    try:
        whole = adapt_whole(layer, model)
    except AdapterNotFoundError:  # a step of the user's own
        whole = adapter
    return read_calls(whole, calls).inputs.to(_dtype(calls))


def _dtype(calls: list[Hooked]) -> torch.dtype:
    """Precision of the layer, which may have been given ids."""
    _, _, output = calls[0]
    return next(t.dtype for t in tensors_of(output) if t.is_floating_point())


def _claims(
    adapter: RecurrentAdapter, layer: nn.Module, inputs: InputSequences
) -> Iterator[tuple[str, Iterator[CheckRow]]]:
    for name, claims in (
        (OUTPUTS, _layer_claims.same_outputs),
        (ARGUMENTS, _layer_claims.leaves_call),
        (ROWS, _layer_claims.rows_of_layer),
        (POSITION, _layer_claims.positions),
    ):
        yield name, _guarded(name, partial(claims, adapter, layer, inputs))


def _guarded(check: str, claims: Claims) -> Iterator[CheckRow]:
    """Yield claims until one raises; the error is then the last of them."""
    try:
        for row in claims():
            yield replace(row, check=check)
    except Exception as error:
        note = f"{type(error).__name__}: {error}"
        yield CheckRow("no error", float("nan"), 0.0, note, check)


def _unchanged(name: str, model: nn.Module, before: dict[str, object]) -> CheckRow:
    changed = changes(before, fingerprint(model))
    return CheckRow(name, len(changed), 0, ", ".join(changed), PURITY)


def _visited(
    adapter: RecurrentAdapter, inputs: InputSequences
) -> tuple[Tensor, Tensor]:
    """Some states off zero, and inputs, in the adapter's precision."""
    generator = torch.Generator().manual_seed(0)
    rows = _map_claims.ROWS
    shape = (rows, adapter.state_dim)
    states = 0.5 * torch.randn(shape, generator=generator, dtype=adapter.dtype)
    if inputs.shape[-1] != adapter.input_dim and not adapter.calls.one_step:
        # An upper level of a stack reads the level below.
        args, kwargs = adapter.calls.call_with(inputs)
        inputs = adapter.calls.read(adapter, args, kwargs).inputs
    given = inputs.reshape(-1, inputs.shape[-1])[:rows].to(adapter.dtype)
    given = given[torch.arange(rows) % max(1, len(given))]
    return states.to(inputs.device), given
