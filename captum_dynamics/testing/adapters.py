"""What every adapter must prove: it is its layer, and its derivatives are its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from captum_dynamics._typing import Inputs, InputSequences, States, StateSequences
from captum_dynamics.adapters import RecurrentAdapter
from captum_dynamics.dynamics import DynamicsMap
from captum_dynamics.testing.report import CheckReport, CheckRow

ROWS = 3  # points at which derivatives are checked: each costs d evaluations


@dataclass(frozen=True)
class _Limits:
    """Largest relative errors, by the precision in which the layer answers."""

    one_step: float
    sequence: float


_LIMITS = {torch.float64: _Limits(1e-12, 1e-10)}
_SINGLE = _Limits(1e-6, 1e-5)
# Central differences in float64 with h = 1e-6 are right to h^2 + eps / h.
_DIFFERENCE = {torch.float64: (1e-6, 1e-6), torch.float32: (1e-2, 1e-2)}


@torch.no_grad()
def check_adapter(
    adapter: RecurrentAdapter, layer: nn.Module, inputs: InputSequences
) -> CheckReport:
    """Compare an adapter with its layer, and its derivatives with differences.

    Nothing is raised: an error is a claim that failed, with its message.

    Args:
        adapter: the adapter, of the whole layer, or of one level or direction of it.
        layer: the layer it adapts; a cell is called in a loop.
        inputs: sequences (n, t, k), batch first whatever the layer's own order, in
            the layer's dtype. Two rows or more, so that they could meet.

    Returns:
        A report; `passed` says whether all claims hold, `table()` which do not.

    Example:
        >>> import torch, captum_dynamics as cd
        >>> layer = torch.nn.GRU(3, 5)
        >>> check_adapter(cd.adapt(layer), layer, torch.randn(2, 7, 3)).passed
        True
    """
    before = _fingerprint(layer)
    rows: list[CheckRow] = []
    rows += _guarded("layer", partial(_same_outputs, adapter, layer, inputs))
    states, given = _visited(adapter, inputs)
    for name, claims in (
        ("arguments", _leaves_arguments),
        ("derivatives", _derivatives),
        ("bounds", _bounds),
        ("rows", _independent_rows),
        ("activation form", _activation_form),
    ):
        rows += _guarded(name, partial(claims, adapter, states, given))
    changed = _changes(before, _fingerprint(layer))
    rows.append(CheckRow("layer left as it was", len(changed), 0, ", ".join(changed)))
    return CheckReport(f"{type(adapter).__name__} of {type(layer).__name__}", (*rows,))


def _guarded(name: str, claims: Callable[[], Iterator[CheckRow]]) -> Iterator[CheckRow]:
    """Yield claims until one raises; the error is then the last of them."""
    try:
        yield from claims()
    except Exception as error:
        note = f"{type(error).__name__}: {error}"
        yield CheckRow(f"{name}: no error", float("nan"), 0.0, note)


def _same_outputs(
    adapter: RecurrentAdapter, layer: nn.Module, inputs: InputSequences
) -> Iterator[CheckRow]:
    limits = _LIMITS.get(inputs.dtype, _SINGLE)
    run = _run_cell if adapter.calls.one_step else _run_sequence
    kept = inputs.clone()
    one_step = run(adapter, layer, inputs[:, :1])
    yield CheckRow("one step is the layer's", one_step, limits.one_step)
    whole = run(adapter, layer, inputs)
    yield CheckRow("a sequence is the layer's", whole, limits.sequence)
    yield CheckRow("inputs not mutated", _error(inputs, kept), 0.0)


def _run_sequence(
    adapter: RecurrentAdapter, layer: nn.Module, inputs: InputSequences
) -> float:
    """Error of everything the layer returns, written from the adapter's states."""
    args, kwargs = adapter.calls.call_with(inputs)
    with torch.no_grad():
        output = layer(*args, **kwargs)
        call = adapter.calls.read(adapter, args, kwargs)
        states = adapter.rollout(call.initial_states, call.inputs)
        written = adapter.calls.write(adapter, states, call, output)
    return _largest_error(written, output)


def _run_cell(
    adapter: RecurrentAdapter, layer: nn.Module, inputs: InputSequences
) -> float:
    """Largest error of a loop of calls, the adapter following on its own."""
    state: Any = None
    followed: States | None = None
    worst = 0.0
    with torch.no_grad():
        for step in range(inputs.shape[1]):
            args = (inputs[:, step],) if state is None else (inputs[:, step], state)
            call = adapter.calls.read(adapter, args, {})
            start = call.initial_states if followed is None else followed
            states: StateSequences = adapter.rollout(start, call.inputs)
            state, followed = layer(*args), states[:, -1]
            written = adapter.calls.write(adapter, states, call, state)
            worst = max(worst, _largest_error(written, state))
    return worst


def _visited(
    adapter: RecurrentAdapter, inputs: InputSequences
) -> tuple[Tensor, Tensor]:
    """Some states off zero, and inputs, in the adapter's precision."""
    generator = torch.Generator().manual_seed(0)
    shape = (ROWS, adapter.state_dim)
    states = 0.5 * torch.randn(shape, generator=generator, dtype=adapter.dtype)
    if inputs.shape[-1] != adapter.input_dim and not adapter.calls.one_step:
        # An upper level of a stack reads the level below.
        args, kwargs = adapter.calls.call_with(inputs)
        inputs = adapter.calls.read(adapter, args, kwargs).inputs
    given = inputs.reshape(-1, inputs.shape[-1])[:ROWS].to(adapter.dtype)
    given = given[torch.arange(ROWS) % max(1, len(given))]
    return states.to(inputs.device), given


def _leaves_arguments(
    adapter: DynamicsMap, states: States, inputs: Inputs
) -> Iterator[CheckRow]:
    kept = states.clone(), inputs.clone()
    for name in ("step", "residual", "ungated_residual", "jacobians"):
        getattr(adapter, name)(states, inputs)
        error = max(_error(states, kept[0]), _error(inputs, kept[1]))
        yield CheckRow(f"{name} mutates no argument", error, 0.0)


def _derivatives(
    adapter: DynamicsMap, states: States, inputs: Inputs
) -> Iterator[CheckRow]:
    width, limit = _DIFFERENCE[states.dtype]
    by_state = _differences(lambda h: adapter.step(h, inputs), states, width)
    by_input = _differences(lambda x: adapter.step(states, x), inputs, width)
    found = adapter.jacobians(states, inputs)
    yield CheckRow("jacobians are differences", _error(found, by_state), limit)
    found = adapter.input_jacobians(states, inputs)
    yield CheckRow("input_jacobians are differences", _error(found, by_input), limit)
    generator = torch.Generator().manual_seed(1)
    vectors = torch.randn(states.shape, generator=generator, dtype=torch.float64)
    vectors = vectors.to(states)
    pushed = (by_state @ vectors[..., None])[..., 0]
    error = _error(adapter.jvp(states, inputs, vectors), pushed)
    yield CheckRow("jvp is differences", error, limit)
    moves = torch.ones_like(inputs)
    pushed = pushed + (by_input @ moves[..., None])[..., 0]
    error = _error(adapter.jvp(states, inputs, vectors, moves), pushed)
    yield CheckRow("jvp of a pair is differences", error, limit)
    direction = adapter.tangent(states, inputs).newton_direction(vectors)
    moved = (by_state @ direction[..., None])[..., 0] - direction
    # As backward error: relative to what J - I does to the direction.
    size = 1 + (by_state.norm(dim=(1, 2)) + 1) * direction.norm(dim=-1)
    error = float(((moved + vectors).norm(dim=-1) / size).max())
    yield CheckRow("newton_direction solves (J - I) p = -g", error, limit)
    yield from _reduces(adapter, states, inputs)
    pulled = [(vectors[:, None] @ part)[:, 0] for part in (by_state, by_input)]
    parts = zip(adapter.vjp(states, inputs, vectors), pulled, strict=True)
    yield CheckRow("vjp is differences", max(_error(a, b) for a, b in parts), limit)


def _reduces(
    adapter: DynamicsMap, states: States, inputs: Inputs
) -> Iterator[CheckRow]:
    """What is not at rest in a lifted state is what the smaller map moves."""
    reduction = adapter.reduction
    if reduction is None:
        return
    part = reduction.restrict(states)
    lifted = reduction.lift(part, inputs)
    moved = adapter.residual(lifted, inputs)
    own = reduction.restrict(moved)
    limit = 1e-10 if states.dtype == torch.float64 else 1e-4
    error = _error(own, reduction.dynamics.residual(part, inputs))
    yield CheckRow("a reduced state moves as the whole does", error, limit)
    # Columns of which the part holds nothing: a difference of norms would cancel.
    units = torch.eye(states.shape[1], dtype=states.dtype, device=states.device)
    elsewhere = moved[:, ~reduction.restrict(units).any(-1)]
    error = _error(elsewhere, torch.zeros_like(elsewhere))
    yield CheckRow("a lifted state rests elsewhere", error, limit)
    yield CheckRow("restrict undoes lift", _error(reduction.restrict(lifted), part), 0)


def _bounds(adapter: DynamicsMap, states: States, inputs: Inputs) -> Iterator[CheckRow]:
    """Bounds over a box, where the map has some, hold at its corners and inside."""
    low, high = states - 0.1, states + 0.1
    pairs = (
        ("step", adapter.step, adapter.interval_step),
        ("jacobians", adapter.jacobians, adapter.interval_jacobians),
    )
    generator = torch.Generator().manual_seed(2)
    shares = torch.rand((8, *states.shape), generator=generator, dtype=torch.float64)
    shares = torch.cat([shares, shares.round()]).to(states)
    for name, function, enclose in pairs:
        bounds = enclose(low, high, inputs)
        if bounds is None:
            continue
        values = [function(low + share * (high - low), inputs) for share in shares]
        found = torch.stack(values)
        beyond = torch.maximum(bounds[0] - found, found - bounds[1]).max()
        # The bounds are of exact values; those found here are rounded.
        yield CheckRow(f"interval_{name} holds", float(beyond.clamp_min(0)), 1e-12)


def _differences(
    function: Callable[[Tensor], Tensor], at: Tensor, width: float
) -> Tensor:
    """Central differences (n, d, m) of a row-wise function at (n, m) arguments."""
    columns = []
    for unit in width * torch.eye(at.shape[1], dtype=at.dtype, device=at.device):
        columns.append((function(at + unit) - function(at - unit)) / (2 * width))
    if not columns:
        return function(at)[..., None][..., :0]
    return torch.stack(columns, dim=-1)


def _independent_rows(
    adapter: DynamicsMap, states: States, inputs: Inputs
) -> Iterator[CheckRow]:
    limit = 1e-10 if states.dtype == torch.float64 else 1e-5
    together = adapter.step(states, inputs)
    alone = [adapter.step(states[r : r + 1], inputs[r : r + 1]) for r in range(ROWS)]
    yield CheckRow("rows alone are rows", _error(torch.cat(alone), together), limit)
    broken = states.clone()
    broken[0] = torch.nan
    others = adapter.step(broken, inputs)[1:]
    yield CheckRow("a NaN row spoils no other", _error(others, together[1:]), limit)


def _activation_form(
    adapter: DynamicsMap, states: States, inputs: Inputs
) -> Iterator[CheckRow]:
    limit = 1e-10 if states.dtype == torch.float64 else 1e-5
    for row in range(ROWS):
        form = adapter.activation_form(inputs[row])
        if form is not None:
            wanted = adapter.step(states, inputs[[row]].expand(ROWS, -1))
            error = _error(form(states), wanted)
            yield CheckRow(f"activation form {row} is the step", error, limit)


def _largest_error(found: Any, wanted: Any) -> float:
    """Largest relative error over all tensors of two outputs of one form."""
    pairs = zip(_tensors(found), _tensors(wanted), strict=True)
    return max(_error(a, b) for a, b in pairs)


def _tensors(output: Any) -> Iterator[Tensor]:
    if isinstance(output, PackedSequence):
        yield output.data
    elif isinstance(output, Tensor):
        yield output
    else:
        for part in output:
            yield from _tensors(part)


def _error(found: Tensor, wanted: Tensor) -> float:
    """Largest difference relative to the largest value; NaN where shapes differ."""
    if found.shape != wanted.shape:
        return float("nan")
    if not wanted.numel():
        return 0.0
    # In double, so that the comparison adds no rounding of its own.
    gap = (found.double() - wanted.double()).abs().max()
    return float(gap / wanted.double().abs().max().clamp_min(1.0))


def _fingerprint(layer: nn.Module) -> dict[str, Any]:
    """Everything of a layer that an analysis must leave alone."""
    kept: dict[str, Any] = {}
    for name, tensor in (*layer.named_parameters(), *layer.named_buffers()):
        kept[f"value of {name}"] = tensor.detach().clone()
        kept[f"requires_grad of {name}"] = tensor.requires_grad
        kept[f"gradient of {name}"] = None if tensor.grad is None else tensor.grad + 0
    for name, module in layer.named_modules():
        kept[f"mode of {name or 'the layer'}"] = module.training
        hooks = (
            *(module._forward_hooks, module._forward_pre_hooks),
            *(module._backward_hooks, module._backward_pre_hooks),
        )
        kept[f"hooks of {name or 'the layer'}"] = sum(len(kind) for kind in hooks)
    return kept


def _changes(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    def same(one: Any, other: Any) -> bool:
        if isinstance(one, Tensor) and isinstance(other, Tensor):
            return torch.equal(one, other)
        return bool(one == other)

    names = [*before, *(name for name in after if name not in before)]
    return [n for n in names if not same(before.get(n), after.get(n))]
