"""Neighbours in different basins, and the borders that lie between them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from captum_dynamics._typing import Counts, States
from captum_dynamics.topology._flow import Flow

# Not the middle: where a map is symmetric, that would be a state on the border itself,
# which goes to no attractor.
SHARE = 0.47
SPLITS = 24  # halvings that look for further basins between two neighbours
LARGEST_SPLIT = 2048  # pairs; a border that needs more of them has no simple shape
TOGETHER = 64  # states that take little longer to follow than one


@dataclass(frozen=True, eq=False)
class Borders:
    """Pairs of neighbours that go to different attractors, one pair a row.

    Attributes:
        owners: row of the point that each pair starts from.
        left: the one state (n, d).
        right: the other.
        left_basins: attractor that `left` goes to.
        right_basins: attractor that `right` goes to.
    """

    owners: Counts
    left: States
    right: States
    left_basins: Counts
    right_basins: Counts

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self.owners)

    def __getitem__(self, rows: Tensor) -> Borders:
        """Pairs by index or mask."""
        return Borders(
            self.owners[rows],
            self.left[rows],
            self.right[rows],
            self.left_basins[rows],
            self.right_basins[rows],
        )

    def few_of_each(self, most: int) -> Borders:
        """No more than some pairs from one point between the same two attractors."""
        sides = torch.stack([self.left_basins, self.right_basins], 1).sort(1).values
        kinds = torch.cat([self.owners[:, None], sides], 1)
        kind = torch.unique(kinds, dim=0, return_inverse=True)[1]
        earlier = (kind[:, None] == kind).tril(-1).sum(1)
        return self[earlier < most]

    def put(self, rows: Tensor, others: Borders) -> Borders:
        """The same, with those of some rows replaced."""
        names = Borders.__dataclass_fields__
        pairs = [(getattr(self, name), getattr(others, name)) for name in names]
        return Borders(*(own.index_copy(0, rows, new) for own, new in pairs))


def split(flow: Flow, borders: Borders) -> Borders:
    """Narrow pairs down; where a third basin lies between, both its borders stay."""
    for _ in range(SPLITS):
        if not 0 < len(borders) <= LARGEST_SPLIT:
            break
        middle = _between(borders.left, borders.right)
        basins = flow.basins(middle)
        before = Borders(
            borders.owners, borders.left, middle, borders.left_basins, basins
        )
        after = Borders(
            borders.owners, middle, borders.right, basins, borders.right_basins
        )
        kept = [part[part.left_basins != part.right_basins] for part in (before, after)]
        borders = Borders(
            *(
                torch.cat([getattr(part, name) for part in kept])
                for name in Borders.__dataclass_fields__
            )
        )
    return borders


def narrowed(flow: Flow, borders: Borders, halvings: int) -> Borders:
    """Bring neighbours together, without leaving the border that the left ones see.

    A few pairs are cut into more than two parts at a time: following a state is no
    faster than following several.
    """
    if not len(borders):
        return borders
    levels = max(1, int(math.log2(TOGETHER / len(borders) + 1)))
    shares = _cuts(levels).to(borders.left)
    for _ in range(-(-halvings // levels)):
        borders = _cut(flow, borders, shares)
    return borders


def _cuts(levels: int) -> Tensor:
    """Shares of the way from left to right that some levels of halving would visit."""
    shares = torch.tensor([0.0, 1.0], dtype=torch.float64)
    for _ in range(levels):
        middle = shares[:-1] + SHARE * shares.diff()
        shares = torch.cat([shares, middle]).sort().values
    return shares[1:-1]


def _cut(flow: Flow, borders: Borders, shares: Tensor) -> Borders:
    """Keep the first part at whose end the left basin is left."""
    away = borders.right - borders.left
    between = borders.left[:, None] + shares[:, None] * away[:, None]
    states = torch.cat([borders.left[:, None], between, borders.right[:, None]], 1)
    basins = flow.basins(between.flatten(0, 1)).reshape(between.shape[:2])
    ends = borders.left_basins[:, None], borders.right_basins[:, None]
    basins = torch.cat([ends[0], basins, ends[1]], 1)
    stays = (basins == ends[0]).long().cumprod(1).sum(1)
    last = basins.shape[1] - 1
    after = stays.clamp(max=last)[:, None]
    rows = torch.arange(len(borders), device=after.device)[:, None]
    return Borders(
        borders.owners,
        states[rows, after - 1][:, 0],
        states[rows, after][:, 0],
        borders.left_basins,
        basins[rows, after][:, 0],
    )


def _between(left: States, right: States) -> States:
    return left + SHARE * (right - left)
