"""Which points are one: by distances below a radius, in groups or by a leader."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from captum_dynamics._execution import row_chunks
from captum_dynamics._typing import Counts, PerPoint, States

# Coordinates along which states are told apart before any distance is computed.
CUTTING_COORDINATES = 16


def connected_groups(states: States, radii: PerPoint, labels: Tensor) -> Counts:
    """Group index (n,) of each state, numbered by first appearance.

    Two states are linked when their distance is at most the larger of their radii and
    their rows of `labels` are equal; groups are what links connect.
    """
    cells = _cells(states, radii, labels)
    # Until told apart, a state's group is its cell; a cell of one is a group.
    groups = cells.clone()
    count = int(cells.max()) + 1 if len(cells) else 0
    sizes = torch.bincount(cells, minlength=count)
    order = torch.argsort(cells, stable=True)
    members = torch.split(order, sizes.tolist())
    whole = _linked_to_first(states, radii, cells, order[sizes.cumsum(0) - sizes])
    for cell in torch.nonzero(~whole)[:, 0].tolist():
        rows = members[cell]
        parts = _connected(states[rows], radii[rows])
        extra = parts > 0  # the first part keeps the number of the cell
        groups[rows[extra]] = count + parts[extra] - 1
        count += int(parts.max())
    return _by_first_appearance(groups, count)


def nearest_leaders(
    states: States, labels: Float[Tensor, "n k"], radius: float, *, rounds: int = 4
) -> Counts:
    """Row (n,) of a state within `radius`, and with equal labels, that stands for each.

    States are sorted along a direction and cut at gaps wider than the radius; the
    middle of a run leads those near it. Others try again along another direction and
    lead themselves in the end: that two leaders are one point is possible, that a
    state follows one which is far from it is not.
    """
    leaders = torch.arange(len(states), device=states.device)
    pending = leaders[torch.isfinite(states).all(-1)]
    keyed = torch.cat([states, labels.to(states)], dim=1)
    for turn in range(rounds):
        if len(pending) < 2:
            break
        places = torch.arange(keyed.shape[1], device=states.device, dtype=states.dtype)
        keys = (keyed[pending] * (places * (turn + 1.7) + turn).cos()).sum(-1)
        order = pending[keys.argsort()]
        cut = keys.sort().values.diff() > radius
        run = torch.nn.functional.pad(cut.cumsum(0), (1, 0))
        sizes = torch.bincount(run)
        middle = order[sizes.cumsum(0) - sizes + sizes // 2][run]
        away = (states[order] - states[middle]).norm(dim=-1)
        near = (away <= radius) & (labels[order] == labels[middle]).all(-1)
        leaders[order[near]] = middle[near]
        pending = order[~near]
    return leaders


def _cells(states: States, radii: PerPoint, labels: Tensor) -> Counts:
    """Cells (n,) that no link leaves: equal labels, and no gap in any coordinate.

    Along a coordinate, states on either side of a value are linked by no pair when
    every one below ends, radius included, before the first above, and vice versa.
    """
    width = states.shape[1]
    step = -(-width // CUTTING_COORDINATES) if width else 1
    # NaN is linked to nothing; as infinity it is cut off, or told apart later.
    columns = states[:, ::step].nan_to_num(nan=torch.inf)
    values, order = columns.sort(dim=0)
    reach = radii.to(columns)[order]
    lower_ends = (values + reach).cummax(0).values[:-1]
    upper_starts = (values - reach).flip(0).cummin(0).values.flip(0)[1:]
    # Rounding of a distance may reach a little further than that of a difference.
    slack = 8 * torch.finfo(columns.dtype).eps * values.abs()
    clear = slack[:-1] + slack[1:]
    cut = (lower_ends + clear < values[1:]) & (upper_starts - clear > values[:-1])
    numbers = torch.zeros_like(order)
    numbers[1:] = cut.cumsum(0)
    codes = torch.zeros_like(order).scatter(0, order, numbers)
    table = torch.cat([codes.to(labels.dtype), labels], dim=1)
    cells: Tensor = torch.unique(table, dim=0, return_inverse=True)[1]
    return cells


def _linked_to_first(
    states: States, radii: PerPoint, cells: Counts, firsts: Tensor
) -> Tensor:
    """Which cells are one group because all of their states are linked to the first.

    Nearly all cells are, and flooding one by one takes long where there are thousands.
    """
    first = firsts[cells]
    linked = (states - states[first]).norm(dim=1) <= torch.maximum(radii, radii[first])
    # A state that is not finite is linked to nothing, but is its own group.
    linked[firsts] = True
    whole = torch.ones(len(firsts), dtype=torch.long, device=states.device)
    return whole.scatter_reduce(0, cells, linked.long(), "amin") > 0


def _connected(states: States, radii: PerPoint) -> Counts:
    """Groups (n,) among states of one cell, usually a single one, by flooding."""
    groups = torch.full((len(states),), -1, device=states.device)
    count = 0
    for first in range(len(states)):
        if groups[first] >= 0:
            continue
        front = torch.tensor([first], device=states.device)
        groups[front] = count
        while len(front) and (groups < 0).any():
            linked = _linked(states, radii, front) & (groups < 0)
            groups[linked] = count
            front = torch.nonzero(linked)[:, 0]
        count += 1
    return groups


def _linked(states: States, radii: PerPoint, front: Tensor) -> Tensor:
    """Which states are linked to any state of the front."""
    linked = torch.zeros(len(states), dtype=torch.bool, device=states.device)
    for rows in row_chunks(len(front), 8 * len(states)):
        part = front[rows]
        # The matrix-product form loses half of the digits close to zero.
        distances = torch.cdist(
            states[part], states, compute_mode="donot_use_mm_for_euclid_dist"
        )
        linked |= (distances <= torch.maximum(radii[part, None], radii)).any(0)
    return linked


def _by_first_appearance(groups: Counts, count: int) -> Counts:
    rows = torch.arange(len(groups), device=groups.device)
    firsts = torch.full((count,), len(groups), device=groups.device)
    firsts = firsts.scatter_reduce(0, groups, rows, "amin")
    return torch.argsort(torch.argsort(firsts))[groups]
