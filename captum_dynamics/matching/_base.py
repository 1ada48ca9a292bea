"""Matching of two sets of points, one to one: the contract, the call, the result."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from captum_dynamics._typing import Counts
from captum_dynamics.fixed_points import FixedPoints

PairDistances = Float[Tensor, "n m"]
Rows = Int[Tensor, " p"]  # some rows of a set
MOST_NAMED = 8  # rows in a summary


class Matcher(ABC):
    """A notion of how far two points are from being the same.

    A subclass states `distances`; `match_points` does the rest.
    """

    @abstractmethod
    def distances(self, first: FixedPoints, second: FixedPoints) -> PairDistances:
        """Distance of every pair; infinite where the two may not be matched."""


@dataclass(frozen=True, eq=False)
class Matching:
    """Which points of one set are which of another.

    Attributes:
        pairs: rows of the first and of the second set (p, 2), in order of the first.
        distances: between the members of each pair (p,), as the matcher measures.
        first_size: number n of points in the first set.
        second_size: number m of points in the second set.
    """

    pairs: Int[Tensor, "p 2"]
    distances: Float[Tensor, " p"]
    first_size: int
    second_size: int

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self.pairs)

    @property
    def partners(self) -> Counts:
        """Row in the second set of each point of the first (n,); -1 without one."""
        partners = self.pairs.new_full((self.first_size,), -1)
        partners[self.pairs[:, 0]] = self.pairs[:, 1]
        return partners

    @property
    def unmatched_first(self) -> Rows:
        """Rows of the first set without a partner."""
        return _missing(self.pairs[:, 0], self.first_size)

    @property
    def unmatched_second(self) -> Rows:
        """Rows of the second set without a partner."""
        return _missing(self.pairs[:, 1], self.second_size)

    def summary(self) -> str:
        """Say how many points match, how far apart they are, and which are left."""
        text = f"{len(self)} pairs of {self.first_size} and {self.second_size} points"
        if len(self):
            low, high = float(self.distances.min()), float(self.distances.max())
            text += f", {low:.3g} to {high:.3g} apart"
        for name, rows in (
            ("first", self.unmatched_first.tolist()),
            ("second", self.unmatched_second.tolist()),
        ):
            if rows:
                named = ", ".join(map(str, rows[:MOST_NAMED]))
                more = ", ..." if len(rows) > MOST_NAMED else ""
                text += f"; unmatched of the {name}: {named}{more}"
        return text


def _missing(rows: Rows, size: int) -> Tensor:
    missing = torch.ones(size, dtype=torch.bool, device=rows.device)
    missing[rows] = False
    return torch.nonzero(missing)[:, 0]


@torch.no_grad()
def match_points(
    first: FixedPoints, second: FixedPoints, *, matcher: Matcher
) -> Matching:
    """Match two sets of points, each point with one other at most.

    As many pairs are made as the matcher allows, and among all ways to do so the one
    with the least sum of distances is taken. Points are matched whatever their kind:
    select those that matter first. A row that is not finite matches nothing.

    For one model under two inputs, a match is a guess wherever points move far: near a
    fold the nearest point is another one. `continue_points` follows each point instead,
    and its branches end at the point that belongs to it.

    Args:
        first: n points.
        second: m points.
        matcher: what makes two points the same: `Nearest(radius)` in state space, for
            one model under another input or at a later checkpoint; `SharedFeatures`,
            `SameSpectrum` for points of two models; `SameRow()` for points that are in
            the same order already.

    Returns:
        The pairs, their distances, and what is left over on both sides.

    Raises:
        ValueError: when the matcher cannot compare the two sets.

    References:
        Crouse (2016), On implementing 2D rectangular assignment algorithms, IEEE
        Trans. Aerospace and Electronic Systems 52.

    Example:
        >>> import torch, captum_dynamics as cd
        >>> from captum_dynamics.matching import Nearest
        >>> switch = cd.FunctionAdapter(lambda h, x: torch.tanh(2 * h + x), 1, 1)
        >>> starts = torch.tensor([[-1.0], [0.1], [1.0]])
        >>> rest = cd.find_fixed_points(switch, starts, torch.zeros(1, 1))
        >>> pushed = cd.find_fixed_points(switch, starts, torch.full((1, 1), 0.1))
        >>> order = torch.tensor([2, 0])
        >>> cd.match_points(rest, pushed[order], matcher=Nearest(radius=0.5)).summary()
        '2 pairs of 3 and 2 points, 0.00875 to 0.0115 apart; unmatched of the first: 1'
    """
    distances = matcher.distances(first, second)
    rows, columns = _assign(distances)
    pairs = torch.stack([rows, columns], dim=1)
    return Matching(pairs, distances[rows, columns], len(first), len(second))


def _assign(distances: PairDistances) -> tuple[Rows, Rows]:
    """Rows and columns of as many allowed pairs as there can be, at least cost."""
    allowed = torch.isfinite(distances)
    costs = torch.where(allowed, distances, 0.0)
    # Dearer than all others together: no pair is given up to make another shorter.
    refusal = 1 + (1 + min(costs.shape)) * (costs.max() if costs.numel() else 0)
    filled = torch.where(allowed, costs, refusal).cpu().numpy()
    rows, columns = (
        torch.as_tensor(side, dtype=torch.long, device=distances.device)
        for side in linear_sum_assignment(filled)
    )
    kept = allowed[rows, columns]
    return rows[kept], columns[kept]
