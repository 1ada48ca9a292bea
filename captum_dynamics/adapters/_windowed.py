"""The derivative of a layer whose windows settle whatever else it remembers.

With the windows first, J = (N 0; C D): N forgets all in a few steps, N^k = 0, so that
what is asked of J follows from sums of a few products and from D.
"""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from captum_dynamics._typing import Inputs, Jacobians, ReducedStates, States
from captum_dynamics.adapters._settled import (
    Settled,
    SettledMap,
    diagonal,
    solve_by_structure,
)
from captum_dynamics.dynamics import DynamicsMap
from captum_dynamics.tangent import Modes, Solve, TangentMap


class WindowedTangent(TangentMap):
    """Products that the map supplies, and what the structure of J gives.

    Args:
        dynamics: the map.
        settled: the map without its windows, or None where it has nothing else.
        states: where the derivative is taken, (n, d).
        inputs: (n, k).
    """

    def __init__(
        self,
        dynamics: DynamicsMap,
        settled: Settled | None,
        states: States,
        inputs: Inputs,
    ) -> None:
        """Take the map at its states."""
        self._dynamics = dynamics
        self._settled = settled
        self._at = states, inputs

    def select(self, rows: Tensor) -> WindowedTangent:
        states, inputs = (part[rows] for part in self._at)
        return WindowedTangent(self._dynamics, self._settled, states, inputs)

    def jacobians(self) -> Jacobians:
        return self._dynamics.jacobians(*self._at)

    def push(
        self, state_tangents: States, input_tangents: Inputs | None = None
    ) -> States:
        return self._dynamics.jvp(*self._at, state_tangents, input_tangents)

    def pull(self, cotangents: States) -> tuple[States, Inputs]:
        return self._dynamics.vjp(*self._at, cotangents)

    def newton_direction(self, residuals: States) -> States:
        """Solve by the structure where it is seen, else as other maps are."""
        if self._entries is not None:
            return self._solve(residuals, torch.ones_like(residuals[:, :1]))
        return solve_by_structure(self, residuals)

    @property
    def resolvents(self) -> tuple[Solve, Solve] | None:
        return None if self._entries is None else (self._solve, self._solve_left)

    def leading(self, count: int) -> Modes | None:
        """Modes of the diagonal: units to the right, and what windows add to the left.

        u J = lambda u holds after as many products with J as windows are long.
        """
        entries, settled = self._entries, self._settled
        if entries is None or settled is None:
            return None
        columns = entries[0].abs().argsort(descending=True, stable=True)[:count]
        values = entries[0, columns]
        if len(values) < count or not bool(values.all()):
            return None
        units = torch.zeros(count, entries.shape[1], dtype=entries.dtype)
        units[torch.arange(count), columns.cpu()] = 1.0
        right = settled.dynamics.among_zeros(units.to(entries))
        states, inputs = (part.expand(count, -1).contiguous() for part in self._at)
        left = right
        for _ in range(settled.dynamics.steps):
            left = self._dynamics.vjp(states, inputs, left)[0] / values[:, None]
        modes = (values, right.T, left)
        first, second, third = (part.to(torch.complex128) for part in modes)
        return first, second, third

    @cached_property
    def _entries(self) -> ReducedStates | None:
        """The diagonal of D, or None where it is none."""
        if self._settled is None:
            return None
        states, inputs = self._at
        part = self._settled.restrict(states)
        return diagonal(self._settled.dynamics.tangent_at(states, inputs), part)

    def _solve(self, vectors: States, multipliers: Tensor) -> States:
        """(lambda - J)^-1 v, by powers of N and a division by lambda - D."""
        rest = self._rest
        total = power = self._windows(vectors) / multipliers
        for _ in range(rest.steps):
            power = self._windows(self.push(power)) / multipliers
            total = total + power
        driven = rest.part(vectors + self.push(total))
        return total + rest.among_zeros(self._divided(driven, multipliers))

    def _solve_left(self, vectors: States, multipliers: Tensor) -> States:
        """v (lambda - J)^-1."""
        rest = self._rest
        left = rest.among_zeros(self._divided(rest.part(vectors), multipliers))
        total = power = self._windows(vectors + self.pull(left)[0]) / multipliers
        for _ in range(rest.steps):
            power = self._windows(self.pull(power)[0]) / multipliers
            total = total + power
        return total + left

    @property
    def _rest(self) -> SettledMap:
        if self._settled is None:
            raise RuntimeError("Expected a layer that has more than windows.")
        return self._settled.dynamics

    def _divided(self, part: ReducedStates, multipliers: Tensor) -> ReducedStates:
        if self._entries is None:
            raise RuntimeError("Expected a diagonal.")
        return torch.where(part == 0, 0.0, part / (multipliers - self._entries))

    def _windows(self, vectors: States) -> States:
        rest = self._rest
        return vectors - rest.among_zeros(rest.part(vectors))
