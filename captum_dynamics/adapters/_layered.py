"""The derivative of a stack of layers that are known by themselves.

J is block lower triangular by layers: what is asked of it is asked of each layer in
turn, with what J carries there from the layers before.
"""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from captum_dynamics._typing import Inputs, Jacobians, States
from captum_dynamics.adapters._settled import solve_by_structure
from captum_dynamics.dynamics import DynamicsMap
from captum_dynamics.tangent import Modes, Solve, TangentMap


class LayeredTangent(TangentMap):
    """Products that the map supplies, and solves and modes by its sections."""

    def __init__(self, dynamics: DynamicsMap, states: States, inputs: Inputs) -> None:
        """Take the map at its states."""
        self._dynamics = dynamics
        self._at = states, inputs
        self._columns = [section.columns for section in dynamics.sections]

    def select(self, rows: Tensor) -> LayeredTangent:
        states, inputs = self._at
        return LayeredTangent(self._dynamics, states[rows], inputs[rows])

    def jacobians(self) -> Jacobians:
        return self._dynamics.jacobians(*self._at)

    def push(
        self, state_tangents: States, input_tangents: Inputs | None = None
    ) -> States:
        return self._dynamics.jvp(*self._at, state_tangents, input_tangents)

    def pull(self, cotangents: States) -> tuple[States, Inputs]:
        return self._dynamics.vjp(*self._at, cotangents)

    def newton_direction(self, residuals: States) -> States:
        """Solve layer by layer where each layer can; else as other maps are."""
        if self.resolvents is None:
            return solve_by_structure(self, residuals)
        return self._solve(residuals, torch.ones_like(residuals[:, :1]))

    @property
    def resolvents(self) -> tuple[Solve, Solve] | None:
        if any(part.resolvents is None for part in self._parts):
            return None
        return self._solve, self._solve_left

    def leading(self, count: int) -> Modes | None:
        """Modes of the layers, with what they start above and hear from below."""
        if self.resolvents is None:
            return None
        own = [part.leading(count) for part in self._parts]
        found = [modes for modes in own if modes is not None]
        if len(found) < len(own):
            return None
        values = torch.cat([modes[0].real for modes in found])
        right, left = values.new_zeros(2, len(values), self._at[0].shape[1])
        levels = torch.arange(len(values), device=values.device) // count
        for level, (columns, modes) in enumerate(
            zip(self._columns, found, strict=True)
        ):
            right[levels == level, columns] = modes[1].T.real
            left[levels == level, columns] = modes[2].real
        best = values.abs().argsort(descending=True, stable=True)[:count]
        values, levels = values[best], levels[best]
        same, multipliers = self.select(torch.zeros_like(best)), values[:, None]
        nothing = torch.zeros_like(right[best])
        right = same._forwards(right[best], nothing, multipliers, levels)
        left = same._backwards(left[best], nothing, multipliers, levels)
        sizes = right.norm(dim=1, keepdim=True)
        parts = values, (right / sizes).T, left * sizes
        first, second, third = (part.to(torch.complex128) for part in parts)
        return first, second, third

    def _solve(self, vectors: States, multipliers: Tensor) -> States:
        levels = torch.full_like(vectors[:, 0], -1)
        return self._forwards(torch.zeros_like(vectors), vectors, multipliers, levels)

    def _solve_left(self, vectors: States, multipliers: Tensor) -> States:
        levels = torch.full_like(vectors[:, 0], len(self._parts))
        return self._backwards(torch.zeros_like(vectors), vectors, multipliers, levels)

    def _forwards(
        self, known: States, vectors: States, multipliers: Tensor, levels: Tensor
    ) -> States:
        """Solve (lambda - J) w = v for the layers above a level of each row."""
        known = known.clone()
        for place, columns in enumerate(self._columns):
            rows = torch.nonzero(levels < place)[:, 0]
            if len(rows):
                carried = self.select(rows).push(known[rows]) + vectors[rows]
                solve, _ = _resolvents(self._part(place, rows))
                solved = solve(carried[:, columns], multipliers[rows])
                known[rows, columns] = solved
        return known

    def _backwards(
        self, known: States, vectors: States, multipliers: Tensor, levels: Tensor
    ) -> States:
        """Solve w (lambda - J) = v for the layers below a level of each row."""
        known = known.clone()
        for place, columns in reversed(list(enumerate(self._columns))):
            rows = torch.nonzero(levels > place)[:, 0]
            if len(rows):
                carried = self.select(rows).pull(known[rows])[0] + vectors[rows]
                _, solve = _resolvents(self._part(place, rows))
                solved = solve(carried[:, columns], multipliers[rows])
                known[rows, columns] = solved
        return known

    def _part(self, place: int, rows: Tensor) -> TangentMap:
        """The derivative of one layer at some of the states."""
        part = self._parts[place]
        # What a layer has found out of its structure is kept where all rows stay.
        return part if len(rows) == len(self._at[0]) else part.select(rows)

    @cached_property
    def _parts(self) -> list[TangentMap]:
        """The derivative of each layer, at what it reads."""
        states, inputs = self._at
        return [
            section.dynamics.tangent(
                states[:, section.columns], section.reads(states, inputs)
            )
            for section in self._dynamics.sections
        ]


def _resolvents(part: TangentMap) -> tuple[Solve, Solve]:
    solves = part.resolvents
    if solves is None:
        raise RuntimeError("Expected a layer whose structure solves it.")
    return solves
