"""What a symmetry is: a group of permutations of the columns of a state."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from captum_dynamics._typing import Mask, OneState, PerPoint, States

Permutation = tuple[int, ...]


class Symmetry(ABC):
    """A group of permutations P of the columns of a state, with F(P h) = P F(h).

    Inputs are left alone by it. A permutation p moves a state to `states[:, p]`. What
    is one point modulo the group is decided at a distance: two states are of one orbit
    where some permutation brings one within a radius of the other. `check_symmetry`
    holds a symmetry against the dynamics it is declared of.

    References:
        Golubitsky, Stewart & Schaeffer (1988), Singularities and Groups in Bifurcation
        Theory II, chapter XIII.
    """

    @property
    @abstractmethod
    def state_dim(self) -> int:
        """Width d of the states it permutes."""

    @property
    @abstractmethod
    def generators(self) -> tuple[Permutation, ...]:
        """Permutations whose products are all of the group."""

    @abstractmethod
    def canonical(self, states: States, radii: PerPoint) -> States:
        """Move each state to the image that stands for its orbit.

        States of one orbit go to states that are as close as they are, where their
        columns are either equal within the radius or further apart.
        """

    @abstractmethod
    def invariants(self, states: States) -> States:
        """Numbers (n, d) that are the same in an orbit.

        They differ by no more than the states do, whatever the permutation.
        """

    @abstractmethod
    def same_orbit(self, state: OneState, others: States, radii: PerPoint) -> Mask:
        """Which of other states a permutation brings within their radii of a state."""

    @abstractmethod
    def orbit_sizes(self, states: States, radii: PerPoint) -> tuple[int, ...]:
        """How many different states the permutations make of each, as exact numbers.

        Images that are within the radius of each other count as one.
        """

    def check(self, states: Tensor) -> None:
        """Refuse states of another width."""
        if states.shape[1:] != (self.state_dim,):
            raise ValueError(
                f"Expected `symmetry` to permute the {states.shape[-1]} columns of the "
                f"states, got one of {self.state_dim}."
            )


def close_ranks(values: Tensor, radii: PerPoint) -> Tensor:
    """Order of values along dimension 1, equal where a chain of gaps links them.

    (n, m, ...) -> whole numbers of the same shape; a gap links up to the row's radius.
    """
    ordered, order = values.sort(dim=1)
    apart = ordered.diff(dim=1) > radii.reshape(-1, *[1] * (values.ndim - 1))
    numbers = torch.zeros_like(order)
    numbers[:, 1:] = apart.cumsum(1)
    return torch.zeros_like(order).scatter(1, order, numbers)
