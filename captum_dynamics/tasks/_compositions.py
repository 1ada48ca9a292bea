"""Random whole numbers below given bounds, and random ways to divide a total."""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor

from captum_dynamics._typing import Counts


def uniform_below(bounds: Tensor, generator: torch.Generator | None) -> Tensor:
    """Whole numbers from 0 to below each bound, all equally likely.

    Args:
        bounds: whole numbers above zero, of any shape.
        generator: source of randomness.
    """
    drawn = torch.rand(bounds.shape, generator=generator, dtype=torch.float64)
    # A product may round up to its bound.
    return torch.minimum((drawn * bounds).long(), bounds - 1)


def compositions(
    totals: Counts, parts: int, generator: torch.Generator | None
) -> Int[Tensor, "n p"]:
    """Divide totals into parts that may be zero, all ways equally likely.

    Each way is a row of stars with bars between the parts: parts - 1 of the
    total + parts - 1 places are bars.

    Args:
        totals: (n,) whole numbers.
        parts: parts of each.
        generator: source of randomness.

    Returns:
        Counts (n, parts) whose rows add up to the totals.
    """
    bars, places = parts - 1, int(totals.max()) + parts - 1
    keys = torch.rand(len(totals), places, generator=generator)
    beyond = torch.arange(places) >= (totals + bars)[:, None]
    chosen = torch.where(beyond, 2.0, keys).argsort(1)[:, :bars].sort(1).values
    before = torch.full_like(totals, -1)[:, None]
    walls = torch.cat([before, chosen, (totals + bars)[:, None]], dim=1)
    return walls.diff(dim=1) - 1
