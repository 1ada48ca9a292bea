"""All regions that may hold a solution of u = M relu(u) + e: a tree with proofs.

A region says of each unit whether it is on (u > 0) or off (u <= 0). Unit after unit is
decided. Where units are on, r = relu(u) of theirs is eliminated, which leaves

    u = a + B r,    r >= 0 of the units not yet decided,

in every region that begins so: the principal pivots of a linear complementarity
problem. One row then may exclude all these regions at once: a unit is to be off, but
its a is positive and no entry of its row of B is negative, or the reverse.

Pivots are not chosen for their size here, so that every exclusion must stand above a
bound of its rounding errors. With G the product of the pivots' norms, G >= |inverse of
I - M D|, a column X of (B, a) is wrong by at most G times its residual in the equations
it solves. What cannot be excluded so is left over, and looked at more closely.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from captum_dynamics._typing import Mask

Patterns = Bool[Tensor, "p m"]

MOST_BRANCHES = 2**13  # at once: the columns of most stay in the processor's cache
# Solutions whose active units add up to more than this times max(1, |e|) are not
# looked for: below it, entries of B that are zero but for rounding count as zero.
REACH = 1e6


@dataclass(frozen=True, eq=False)
class _Branches:
    """Beginnings of patterns: the first units are decided, the others are not.

    Attributes:
        on: which of the decided units are on (p, l).
        columns: those of B, one for each unit not yet decided, and a (p, m - l + 1, m).
        growth: bound G (p,) on the inverse of what was eliminated.
    """

    on: Bool[Tensor, "p l"]
    columns: Float[Tensor, "p c m"]
    growth: Float[Tensor, " p"]

    def __len__(self) -> int:
        return len(self.on)

    def __getitem__(self, rows: Tensor | slice) -> _Branches:
        return _Branches(self.on[rows], self.columns[rows], self.growth[rows])

    def grown(self) -> _Branches:
        """Decide one more unit: off in the first half of the branches, then on."""
        unit = self.on.shape[1]
        column, others = self.columns[:, 0], self.columns[:, 1:]
        # Its row u_i = a_i + B_ii u_i + ..., solved for u_i.
        pivots = 1 - column[:, [unit]]
        row = others[:, :, unit] / pivots
        columns = torch.addcmul(others, row[:, :, None], column[:, None, :])
        columns[:, :, unit] = row
        sizes = torch.maximum(1 + column.abs() / pivots.abs(), 1 / pivots.abs())
        off = self.on.new_zeros(len(self), 1)
        return _Branches(
            torch.cat([torch.cat([self.on, off], 1), torch.cat([self.on, ~off], 1)]),
            torch.cat([others, columns]),
            torch.cat([self.growth, self.growth * sizes.amax(1)]),
        )


class Tree:
    """The patterns of u = M relu(u) + e, with those without a solution excluded."""

    def __init__(
        self, weights: Float[Tensor, "m m"], offsets: Float[Tensor, " m"]
    ) -> None:
        """Take M and e; units with the largest first pivots are decided first."""
        self._order = torch.argsort((1 - weights.diagonal()).abs(), descending=True)
        self._weights = weights[self._order][:, self._order]
        self._offsets = offsets[self._order]
        self._size = float(torch.linalg.matrix_norm(weights, torch.inf))
        self._reach = REACH * max(1.0, float(offsets.abs().sum()))

    def survivors(self) -> Iterator[tuple[Patterns, int]]:
        """Patterns that may hold a solution, each time with the number decided so far.

        The last number is 2^m: every pattern is among the survivors or excluded.
        """
        units, decided = len(self._offsets), 0
        waiting = [self._root()]
        while waiting:
            branches = waiting.pop()
            known = branches.on.shape[1]
            if len(branches) > MOST_BRANCHES:
                waiting += [branches[MOST_BRANCHES:], branches[:MOST_BRANCHES]]
            elif known < units:
                branches = branches.grown()
                excluded = self._excluded(branches)
                decided += int(excluded.sum()) * 2 ** (units - known - 1)
                waiting.append(branches[~excluded])
            else:
                decided += len(branches)
                yield branches.on[:, torch.argsort(self._order)], decided

    def _root(self) -> _Branches:
        on = torch.zeros(1, 0, dtype=torch.bool, device=self._offsets.device)
        columns = torch.cat([self._weights.mT, self._offsets[None]])
        return _Branches(on, columns[None], self._offsets.new_ones(1))

    def _excluded(self, branches: _Branches) -> Mask:
        """Branches none of whose regions holds a solution within reach."""
        known = branches.on.shape[1]
        # In a region s u <= 0, and s u < 0 of units that are on.
        signs = torch.where(branches.on, -1.0, 1.0).to(branches.growth)
        rows = signs[:, None] * branches.columns[:, :, :known]
        grows = (rows[:, :-1] >= 0).all(1)
        wrong = torch.where(grows, rows[:, -1], -torch.inf)
        suspects = torch.nonzero((wrong >= 0).any(1))[:, 0]
        errors = self._errors(branches[suspects])[:, None]
        wrong, on = wrong[suspects], branches.on[suspects]
        excluded = torch.zeros_like(branches.on[:, 0])
        excluded[suspects] = ((wrong > errors) | (on & (wrong >= errors))).any(1)
        return excluded

    def _errors(self, branches: _Branches) -> Float[Tensor, " p"]:
        """Bound the error of a + B r for all r within reach; NaN without a bound."""
        known, found = branches.on.shape[1], branches.columns
        given = torch.cat([self._weights[:, known:].mT, self._offsets[None]])
        active = found[:, :, :known] * branches.on[:, None]
        residuals = active @ self._weights[:, :known].mT + given - found
        sizes = (1 + self._size) * found.abs().amax(2) + given.abs().amax(1)
        rounding = (2 + len(self._offsets)) * torch.finfo(found.dtype).eps
        errors = residuals.abs().amax(2) + rounding * sizes
        total = errors[:, -1] + self._reach * errors[:, :-1].sum(1)
        # Elsewhere I - M D may be singular but for rounding.
        regular = 2 * rounding * (1 + self._size) * branches.growth < 1
        return torch.where(regular, 2 * branches.growth * total, torch.nan)
