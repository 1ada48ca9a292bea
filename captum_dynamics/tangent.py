"""The derivative of a map at some states, as something to apply and to solve."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from torch import Tensor

from captum_dynamics import _linalg
from captum_dynamics._typing import Inputs, Jacobians, States

Solve = Callable[[States, Tensor], States]
"""(lambda - J)^-1 v, or v (lambda - J)^-1, of v (n, d) and lambda (n, 1)."""

Modes = tuple[Tensor, Tensor, Tensor]
"""Multipliers (m,), right modes (d, m) and left ones (m, d), of one state."""


class TangentMap(ABC):
    """dF = J dh + B dx at n states: what solvers need of a map's derivative."""

    @abstractmethod
    def select(self, rows: Tensor) -> TangentMap:
        """The derivative at some of the states."""

    @abstractmethod
    def jacobians(self) -> Jacobians:
        """J, (n, d, d)."""

    @abstractmethod
    def push(
        self, state_tangents: States, input_tangents: Inputs | None = None
    ) -> States:
        """J v for one v in each row, or J v + B u for a pair."""

    @abstractmethod
    def pull(self, cotangents: States) -> tuple[States, Inputs]:
        """Return v J and v B for one v in each row."""

    def newton_direction(self, residuals: States) -> States:
        """Solve (J - I) p = -g; a row without a trustworthy solution is NaN."""
        slopes = self.jacobians()
        slopes.diagonal(dim1=-2, dim2=-1).sub_(1)
        return _linalg.solve(slopes, -residuals, lambda p: self.push(p) - p)

    @property
    def resolvents(self) -> tuple[Solve, Solve] | None:
        """(lambda - J)^-1 v and v (lambda - J)^-1 by the structure of J, or None."""
        return None

    def leading(self, count: int) -> Modes | None:
        """Leading modes of one state that the structure of J gives, or None."""
        return None
