"""Interchangeable slots: all permutations of them, without listing any."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from captum_dynamics._execution import row_chunks
from captum_dynamics._typing import Mask, OneState, PerPoint, States
from captum_dynamics.layout import StateLayout
from captum_dynamics.merging import connected_groups
from captum_dynamics.symmetry._base import Permutation, Symmetry, close_ranks


@dataclass(frozen=True)
class SlotSymmetry(Symmetry):
    """All permutations of m slots of a state, each moved as a whole.

    The group has m! members, none of which is listed: whether two states are one is
    an assignment of slots to slots, and the state that stands for an orbit has its
    slots sorted, by their first value, then the second where those are equal, and on.

    Args:
        width: width d of the state.
        slots: columns of each slot, all slots equally many, in the same order.

    Raises:
        ValueError: slots of different sizes, or columns that are not in the state or
            in two slots.

    References:
        Kuhn (1955), The Hungarian method for the assignment problem.

    Example:
        >>> import torch, captum_dynamics as cd
        >>> layout = cd.StateLayout.of({"m": (3, 1)})
        >>> net = cd.FunctionAdapter(lambda h, x: torch.tanh(2 * h), 3, 0)
        >>> starts = torch.cartesian_prod(*[torch.tensor([-1.0, 0.1, 1.0])] * 3)
        >>> points = cd.find_fixed_points(net, starts, torch.zeros(1, 0))
        >>> symmetry = cd.SlotSymmetry.of(layout, "m")
        >>> len(points.unique()), len(points.unique(symmetry=symmetry))
        (27, 10)
    """

    width: int
    slots: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        """Check that slots are alike and apart."""
        columns = [column for slot in self.slots for column in slot]
        alike = len({len(slot) for slot in self.slots}) == 1 and columns
        if not alike:
            raise ValueError(
                f"Expected `slots` to be tuples of equally many columns, got sizes "
                f"{[len(slot) for slot in self.slots]}."
            )
        if len(set(columns)) < len(columns) or not set(columns) <= set(
            range(self.width)
        ):
            raise ValueError(
                f"Expected `slots` to hold different columns from 0 to "
                f"{self.width - 1}, got {self.slots}."
            )

    @classmethod
    def of(cls, layout: StateLayout, *blocks: str, axis: int = 0) -> SlotSymmetry:
        """All permutations along one axis of one block, or of several together.

        Args:
            layout: the state's layout.
            *blocks: blocks that are permuted alike, such as "h" and "c" of LSTM units.
            axis: the axis of their shape along which slots lie; of a vector, 0.

        Raises:
            ValueError: no block, no such axis, or blocks of different lengths.

        Example:
            >>> import captum_dynamics as cd
            >>> layout = cd.StateLayout.of({"m": (2, 3), "c": 1})
            >>> cd.SlotSymmetry.of(layout, "m").slots
            ((0, 1, 2), (3, 4, 5))
        """
        tables = [_columns(layout, name, axis) for name in blocks]
        if len({len(table) for table in tables}) != 1:
            raise ValueError(
                f"Expected `blocks` to name at least one block, all with as many slots "
                f"along axis {axis}, got {[len(table) for table in tables]} for "
                f"{blocks}."
            )
        slots = torch.cat(tables, dim=1).tolist()
        return cls(layout.size, tuple(map(tuple, slots)))

    @property
    def state_dim(self) -> int:
        return self.width

    @property
    def generators(self) -> tuple[Permutation, ...]:
        """One swap and one rotation of the slots make all of their permutations."""
        count = len(self.slots)
        swap, turn = [1, 0, *range(2, count)], [*range(1, count), 0]
        orders = {1: [], 2: [swap]}.get(count, [swap, turn])
        return tuple(self._moved(order) for order in orders)

    def canonical(self, states: States, radii: PerPoint) -> States:
        values = states[:, self._table()]
        ranks = close_ranks(values, radii)
        rows = torch.arange(len(states), device=states.device)[:, None]
        order = torch.arange(len(self.slots), device=states.device).expand(
            len(states), -1
        )
        # Sorted from the last value to the first, each sort keeping the ones before;
        # slots that are equal within the radius go by their own values.
        for keys in (values, ranks):
            for place in reversed(range(keys.shape[2])):
                again = keys[rows, order, place].argsort(dim=1, stable=True)
                order = order.gather(1, again)
        moved = states.clone()
        moved[:, self._table()] = values[rows, order]
        return moved

    def invariants(self, states: States) -> States:
        # Sorting two lists brings them no further apart than any pairing does.
        told = states.clone()
        told[:, self._table()] = states[:, self._table()].sort(dim=1).values
        return told

    def same_orbit(self, state: OneState, others: States, radii: PerPoint) -> Mask:
        count, table = len(self.slots), self._table()
        fixed = torch.ones(self.width, dtype=torch.bool)
        fixed[table.flatten()] = False
        far = (others[:, fixed] - state[fixed]).square().sum(-1)
        found = torch.zeros(len(others), dtype=torch.bool, device=others.device)
        for rows in row_chunks(len(others), 3 * 8 * count**2):
            gaps = torch.cdist(
                state[table][None].expand(len(others[rows]), -1, -1),
                others[rows][:, table],
                compute_mode="donot_use_mm_for_euclid_dist",
            )
            left = radii[rows].square() - far[rows]
            found[rows] = _assignable(gaps.square(), left)
        return found

    def orbit_sizes(self, states: States, radii: PerPoint) -> tuple[int, ...]:
        values = states[:, self._table()]
        return tuple(map(_arrangements, values.unbind(), radii.unbind()))

    def _table(self) -> Tensor:
        return torch.tensor(self.slots)

    def _moved(self, order: list[int]) -> Permutation:
        columns = torch.arange(self.width)
        table = self._table()
        columns[table] = table[order]
        return tuple(columns.tolist())


def _columns(layout: StateLayout, name: str, axis: int) -> Tensor:
    """Columns (m, w) of the slots of one block."""
    block = {block.name: block for block in layout.blocks}.get(name)
    shape = () if block is None else block.shape or (block.size,)
    if not 0 <= axis < len(shape):
        raise ValueError(
            f"Expected `blocks` among {layout.names} and `axis` one of theirs, got "
            f"{name!r} and {axis}."
        )
    start = layout.slice(name).start
    columns = torch.arange(math.prod(shape)).reshape(shape) + start
    table: Tensor = columns.movedim(axis, 0).reshape(shape[axis], -1)
    return table


def _assignable(costs: Tensor, limits: PerPoint) -> Mask:
    """Where slots can be paired at a total cost (n, m, m) up to a limit (n,)."""
    count = costs.shape[1]
    # In units of the limit, what exceeds it being barred: beside costs of order one
    # a solver could round away those that decide. NaN is barred, too.
    floor = torch.finfo(costs.dtype).tiny
    scaled = costs / limits.clamp_min(floor)[:, None, None]
    scaled = torch.where(scaled <= 1, scaled, count + 1.0)
    tables = scaled.cpu().numpy()
    totals = [table[linear_sum_assignment(table)].sum() for table in tables]
    within = torch.tensor(totals, dtype=costs.dtype, device=costs.device) <= 1
    return within & (limits >= 0)


def _arrangements(values: Tensor, radius: Tensor) -> int:
    """In how many ways m slots (m, w) can be ordered, equal ones being one."""
    count = len(values)
    # A swap of slots moves a state by sqrt(2) of their distance.
    radii = (radius / math.sqrt(2)).expand(count)
    groups = connected_groups(values, radii, torch.zeros(count, 1).to(values))
    equal = torch.bincount(groups).tolist()
    return math.factorial(count) // math.prod(map(math.factorial, equal))
