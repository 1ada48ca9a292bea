"""What a system with known answers states."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from captum_dynamics._typing import Counts, Eigenvalues, Inputs, PerPoint, States
from captum_dynamics.dynamics import DynamicsMap

Edges = tuple[tuple[int, int], ...]


@dataclass(frozen=True, eq=False)
class KnownSystem:
    """A map at zero input, with all that is known of it.

    Attributes:
        name: a short name.
        dynamics: the map.
        states: its isolated fixed points (n, d), and one of every continuum.
        eigenvalues: multipliers (n, d) of those points, by decreasing magnitude.
        index_rule: whether a convex set is mapped into its interior and all points
            are simple, so that the indices of the points must add up to 1.
        edges: connections (from, to) between rows of `states` along which one unstable
            dimension is lost; empty where none are stated.
        cycles: cycles of the map, (period, d) each; those that are stated.
        nearest: the nearest point of a continuum of fixed points, where there is one.
        region: bounds of every coordinate in which to search.
    """

    name: str
    dynamics: DynamicsMap
    states: States
    eigenvalues: Eigenvalues
    index_rule: bool = True
    edges: Edges = ()
    cycles: tuple[Tensor, ...] = ()
    nearest: Callable[[States], States] | None = None
    region: tuple[float, float] = (-1.0, 1.0)

    @property
    def inputs(self) -> Inputs:
        """The zero input (1, k)."""
        return torch.zeros(1, self.dynamics.input_dim, dtype=torch.float64)

    @property
    def unstable_dims(self) -> Counts:
        """Number of multipliers outside the unit circle (n,)."""
        return (self.eigenvalues.abs() > 1 + 1e-9).sum(-1)

    @property
    def indices(self) -> Counts:
        """sign det(I - J) of every point (n,); 0 where a multiplier is 1."""
        determinants = (1 - self.eigenvalues).prod(-1).real
        return torch.where(determinants.abs() < 1e-9, 0, determinants.sign()).long()

    @property
    def index_sum(self) -> int:
        """Sum of the indices: 1 where `index_rule` holds."""
        return int(self.indices.sum())

    def distances(self, states: States) -> PerPoint:
        """Distance of each state from the nearest fixed point."""
        nearest: Tensor = torch.cdist(states, self.states).amin(1)
        if self.nearest is None:
            return nearest
        return torch.minimum(nearest, (states - self.nearest(states)).norm(dim=1))

    def sample_starts(
        self, count: int, *, generator: torch.Generator | None = None
    ) -> States:
        """Draw starts (count, d) uniformly in the region."""
        low, high = self.region
        shape = (count, self.dynamics.state_dim)
        draws = torch.rand(shape, generator=generator, dtype=torch.float64)
        return low + (high - low) * draws


def points(rows: Sequence[Sequence[float]]) -> States:
    """States (n, d) from their coordinates."""
    return torch.tensor(rows, dtype=torch.float64)


def multipliers(rows: Sequence[Sequence[complex]]) -> Eigenvalues:
    """Eigenvalues (n, d), put in decreasing magnitude."""
    values = torch.tensor(rows, dtype=torch.complex128)
    order = values.abs().argsort(dim=1, descending=True, stable=True)
    return values.gather(1, order)
