"""What a map must prove on its own: pure, row by row, its derivatives its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from captum_dynamics._typing import Inputs, States
from captum_dynamics.dynamics import DynamicsMap
from captum_dynamics.testing._agreement import relative_error
from captum_dynamics.testing.report import CheckRow

ROWS = 3  # points at which derivatives are checked: each costs d evaluations
_TOGETHER = 32  # columns of which differences are taken in one evaluation
# Central differences in float64 with h = 1e-6 are right to h^2 + eps / h.
_DIFFERENCE = {torch.float64: (1e-6, 1e-6), torch.float32: (1e-2, 1e-2)}


def leaves_arguments(
    adapter: DynamicsMap, states: States, inputs: Inputs
) -> Iterator[CheckRow]:
    """Nothing that is passed is written to."""
    kept = states.clone(), inputs.clone()
    for name in ("step", "residual", "ungated_residual", "jacobians"):
        getattr(adapter, name)(states, inputs)
        error = max(relative_error(states, kept[0]), relative_error(inputs, kept[1]))
        yield CheckRow(f"{name} mutates no argument", error, 0.0)


def derivatives(
    adapter: DynamicsMap, states: States, inputs: Inputs
) -> Iterator[CheckRow]:
    """Jacobians, products and Newton directions are those of central differences."""
    width, limit = _DIFFERENCE[states.dtype]
    by_state = _differences(adapter.step, states, inputs, width)
    by_input = _differences(lambda x, h: adapter.step(h, x), inputs, states, width)
    found = adapter.jacobians(states, inputs)
    yield CheckRow("jacobians are differences", relative_error(found, by_state), limit)
    found = adapter.input_jacobians(states, inputs)
    yield CheckRow(
        "input_jacobians are differences", relative_error(found, by_input), limit
    )
    generator = torch.Generator().manual_seed(1)
    vectors = torch.randn(states.shape, generator=generator, dtype=torch.float64)
    vectors = vectors.to(states)
    pushed = (by_state @ vectors[..., None])[..., 0]
    error = relative_error(adapter.jvp(states, inputs, vectors), pushed)
    yield CheckRow("jvp is differences", error, limit)
    moves = torch.ones_like(inputs)
    pushed = pushed + (by_input @ moves[..., None])[..., 0]
    error = relative_error(adapter.jvp(states, inputs, vectors, moves), pushed)
    yield CheckRow("jvp of a pair is differences", error, limit)
    direction = adapter.tangent(states, inputs).newton_direction(vectors)
    moved = (by_state @ direction[..., None])[..., 0] - direction
    # As backward error: relative to what J - I does to the direction.
    size = 1 + (by_state.norm(dim=(1, 2)) + 1) * direction.norm(dim=-1)
    error = float(((moved + vectors).norm(dim=-1) / size).max())
    yield CheckRow("newton_direction solves (J - I) p = -g", error, limit)
    pulled = [(vectors[:, None] @ part)[:, 0] for part in (by_state, by_input)]
    parts = zip(adapter.vjp(states, inputs, vectors), pulled, strict=True)
    yield CheckRow(
        "vjp is differences", max(relative_error(a, b) for a, b in parts), limit
    )


def reduces(adapter: DynamicsMap, states: States, inputs: Inputs) -> Iterator[CheckRow]:
    """What is not at rest in a lifted state is what the smaller map moves."""
    reduction = adapter.reduction
    if reduction is None:
        return
    part = reduction.restrict(states)
    lifted = reduction.lift(part, inputs)
    moved = adapter.residual(lifted, inputs)
    own = reduction.restrict(moved)
    limit = 1e-10 if states.dtype == torch.float64 else 1e-4
    error = relative_error(own, reduction.dynamics.residual(part, inputs))
    yield CheckRow("a reduced state moves as the whole does", error, limit)
    # Columns of which the part holds nothing: a difference of norms would cancel.
    units = torch.eye(states.shape[1], dtype=states.dtype, device=states.device)
    elsewhere = moved[:, ~reduction.restrict(units).any(-1)]
    error = relative_error(elsewhere, torch.zeros_like(elsewhere))
    yield CheckRow("a lifted state rests elsewhere", error, limit)
    yield CheckRow(
        "restrict undoes lift", relative_error(reduction.restrict(lifted), part), 0
    )


def bounds(adapter: DynamicsMap, states: States, inputs: Inputs) -> Iterator[CheckRow]:
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
        found_bounds = enclose(low, high, inputs)
        if found_bounds is None:
            continue
        values = [function(low + share * (high - low), inputs) for share in shares]
        found = torch.stack(values)
        least, most = found_bounds
        beyond = torch.maximum(least - found, found - most).max()
        # The bounds are of exact values; those found here are rounded.
        yield CheckRow(f"interval_{name} holds", float(beyond.clamp_min(0)), 1e-12)


def _differences(
    function: Callable[[Tensor, Tensor], Tensor],
    at: Tensor,
    fixed: Tensor,
    width: float,
) -> Tensor:
    """Central differences (n, d, m) of a row-wise function at (n, m) arguments."""
    if not at.shape[1]:
        return function(at, fixed)[..., None][..., :0]
    columns = []
    for units in torch.split(width * torch.eye(at.shape[1]).to(at), _TOGETHER):
        others = fixed.repeat(len(units), 1)
        ahead, behind = (
            function((at + move).flatten(0, 1), others)
            for move in (units[:, None], -units[:, None])
        )
        slopes = (ahead - behind) / (2 * width)
        columns.append(slopes.reshape(len(units), len(at), -1))
    return torch.cat(columns).movedim(0, -1)


def independent_rows(
    adapter: DynamicsMap, states: States, inputs: Inputs
) -> Iterator[CheckRow]:
    """A row alone steps as it does among others, also beside one that is NaN."""
    limit = 1e-10 if states.dtype == torch.float64 else 1e-5
    together = adapter.step(states, inputs)
    alone = [adapter.step(states[r : r + 1], inputs[r : r + 1]) for r in range(ROWS)]
    yield CheckRow(
        "rows alone are rows", relative_error(torch.cat(alone), together), limit
    )
    broken = states.clone()
    broken[0] = torch.nan
    others = adapter.step(broken, inputs)[1:]
    yield CheckRow(
        "a NaN row spoils no other", relative_error(others, together[1:]), limit
    )


def activation_form(
    adapter: DynamicsMap, states: States, inputs: Inputs
) -> Iterator[CheckRow]:
    """The closed form of a ReLU map, where it has one, is its step."""
    limit = 1e-10 if states.dtype == torch.float64 else 1e-5
    for row in range(ROWS):
        form = adapter.activation_form(inputs[row])
        if form is not None:
            wanted = adapter.step(states, inputs[[row]].expand(ROWS, -1))
            error = relative_error(form(states), wanted)
            yield CheckRow(f"activation form {row} is the step", error, limit)
