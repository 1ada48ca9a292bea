"""A group made by a few permutations: listed, as long as it is small."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from captum_dynamics import _checks
from captum_dynamics._execution import row_chunks
from captum_dynamics._typing import Mask, OneState, PerPoint, States
from captum_dynamics.merging import connected_groups
from captum_dynamics.symmetry._base import Permutation, Symmetry, close_ranks


@dataclass(frozen=True)
class PermutationSymmetry(Symmetry):
    """The group that a few permutations of the columns of a state make.

    All of its members are listed. Where slots can be exchanged at will there are too
    many: that is `SlotSymmetry`.

    Args:
        permutations: one or more, each of all columns; p moves states to
            `states[:, p]`.
        max_elements: most members of the group.

    Raises:
        ValueError: what is no permutation, or makes a larger group.

    Example:
        >>> import captum_dynamics as cd
        >>> ring = cd.PermutationSymmetry(((1, 2, 3, 0),))
        >>> len(ring.elements)
        4
    """

    permutations: tuple[Permutation, ...]
    max_elements: int = 10_000

    def __post_init__(self) -> None:
        """Check the permutations, and that their group is small."""
        _checks.check_count("max_elements", self.max_elements)
        width = len(self.permutations[0]) if self.permutations else 0
        for given in self.permutations or ((),):
            if not given or sorted(given) != list(range(width)):
                raise ValueError(
                    f"Expected `permutations` to order all columns 0 to d - 1 of one "
                    f"state each, got {self.permutations}."
                )
        _ = self.elements

    @cached_property
    def elements(self) -> tuple[Permutation, ...]:
        """All permutations of the group, the one that moves nothing first."""
        start = tuple(range(len(self.permutations[0])))
        found, front = {start: None}, [start]
        while front:
            known = front.pop()
            for step in self.permutations:
                new = tuple(known[column] for column in step)
                if new not in found:
                    found[new] = None
                    front.append(new)
            if len(found) > self.max_elements:
                raise ValueError(
                    f"Expected `permutations` to make a group of at most "
                    f"{self.max_elements}, got more; declare interchangeable slots by "
                    f"`SlotSymmetry`, or raise `max_elements`."
                )
        return tuple(found)

    @property
    def state_dim(self) -> int:
        return len(self.permutations[0])

    @property
    def generators(self) -> tuple[Permutation, ...]:
        return self.permutations

    def canonical(self, states: States, radii: PerPoint) -> States:
        ranks = close_ranks(states, radii)
        moved = list(map(self._least_image, states.unbind(), ranks.unbind()))
        return torch.stack(moved) if moved else states.clone()

    def invariants(self, states: States) -> States:
        told = states.clone()
        for columns in self._column_orbits():
            told[:, columns] = states[:, columns].sort(dim=1).values
        return told

    def same_orbit(self, state: OneState, others: States, radii: PerPoint) -> Mask:
        images = state[self._table()]
        found = torch.zeros(len(others), dtype=torch.bool, device=others.device)
        for rows in row_chunks(len(others), 2 * 8 * len(images)):
            gaps = torch.cdist(
                others[rows], images, compute_mode="donot_use_mm_for_euclid_dist"
            )
            found[rows] = gaps.amin(1) <= radii[rows]
        return found

    def orbit_sizes(self, states: States, radii: PerPoint) -> tuple[int, ...]:
        return tuple(map(self._orbit_size, states.unbind(), radii.unbind()))

    def _orbit_size(self, state: OneState, radius: Tensor) -> int:
        images = state[self._table()]
        alike = torch.zeros(len(images), 1).to(images)
        return 1 + int(
            connected_groups(images, radius.expand(len(images)), alike).max()
        )

    def _least_image(self, state: OneState, ranks: Tensor) -> Tensor:
        """The image with the least ranks, of several the one with the least values."""
        table = self._table()
        table = table[_least(ranks[table])]
        image: Tensor = state[table[_least(state[table])][0]]
        return image

    def _column_orbits(self) -> list[list[int]]:
        """Columns that are moved onto each other."""
        reached = {frozenset(column) for column in zip(*self.elements, strict=True)}
        return [sorted(columns) for columns in reached]

    def _table(self) -> Tensor:
        return torch.tensor(self.elements)


def _least(rows: Tensor) -> Tensor:
    """Indices of the rows that come first in the order of a dictionary."""
    kept = torch.arange(len(rows), device=rows.device)
    for column in range(rows.shape[1]):
        if len(kept) == 1:
            break
        values = rows[kept, column]
        kept = kept[values == values.amin()]
    return kept
