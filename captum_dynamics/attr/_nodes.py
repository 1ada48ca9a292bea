"""Gauss-Legendre nodes of a piece, and the corners that slopes at them give away."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

Shares = Float[Tensor, " p"]
Values = Float[Tensor, "p q"]
Slopes = Float[Tensor, "p m q"]
Corners = Float[Tensor, "p c"]


END = 1e-4
"""Of a piece: how far from its ends slopes are looked at, as corners are not exact."""


@dataclass(frozen=True)
class Nodes:
    """Gauss-Legendre nodes over [0, 1], with or without the ends.

    Attributes:
        count: how many nodes an average has.
        places: where they are, and the ends.
        weights: zero for the ends, which are only looked at.
    """

    count: int
    places: tuple[float, ...]
    weights: tuple[float, ...]

    @property
    def with_ends(self) -> bool:
        """Whether slopes at the ends are known too."""
        return len(self.places) > self.count

    def average(self, values: Slopes) -> Values:
        """Average values at the nodes."""
        weights = values.new_tensor(self.weights)
        averaged: Tensor = torch.tensordot(weights, values, dims=([0], [1]))
        return averaged


@cache
def gauss_legendre(count: int) -> Nodes:
    """Nodes and weights of the average over [0, 1]."""
    nodes, weights = np.polynomial.legendre.leggauss(count)
    places = ((nodes + 1) / 2).tolist()
    return Nodes(count, tuple(places), tuple((weights / 2).tolist()))


@cache
def and_ends(count: int) -> Nodes:
    """The same, and both ends."""
    inner = gauss_legendre(count)
    places = (END, *inner.places, 1 - END)
    return Nodes(count, places, (0.0, *inner.weights, 0.0))


def hides_corners(slopes: Slopes, nodes: Nodes, allowed: Shares) -> Bool[Tensor, " p"]:
    """Whether slopes at the ends are none that the nodes let expect.

    A cut where tangents cross makes the equations on both sides hold as long as no
    node meets another corner: then only the ends tell.
    """
    if not nodes.with_ends:
        return torch.zeros_like(allowed, dtype=torch.bool)
    inner, ends = slopes[:, 1:-1], slopes[:, [0, -1]]
    low, high = inner.amin(1, keepdim=True), inner.amax(1, keepdim=True)
    outside = torch.maximum(low - ends, ends - high) - (high - low)
    return (outside > allowed[:, None, None]).flatten(1).any(-1)


def find_corners(
    changes: Values, slopes: Slopes, nodes: Nodes, allowed: Shares
) -> Corners:
    """Where functions phi bend that have one corner each; NaN for others.

    The corner is where the tangents at both ends cross. If phi is not straight on both
    sides, the two ends of an interval that holds the corner are given: it shrinks with
    the square of the piece. Functions whose equation holds have no corner to be cut.

    Args:
        changes: of each phi over the piece.
        slopes: phi' at the nodes; the unit of length is the piece.
        nodes: where they are.
        allowed: by how much the equation of a piece may fail.
    """
    places = slopes.new_tensor(nodes.places)
    first, last = slopes[:, 0], slopes[:, -1]
    jumps, share = (first - last).abs(), allowed[:, None] / changes.shape[1]
    corners = (changes - last) / (first - last)
    before = places[:, None] < corners[:, None]
    bent = torch.where(before, first[:, None], last[:, None])
    curved = (bent - slopes).abs().amax(1)
    unsure = torch.where(curved > share, curved / jumps, 0.0)
    low, high = corners - unsure, corners + unsure
    found = (nodes.average(slopes) - changes).abs() > share
    # A corner outside the nodes would not show in the slopes.
    found &= (places[0] < low) & (high < places[-1])
    cuts = torch.where(found, torch.stack([low, high]), torch.nan)
    cuts, order = cuts.movedim(0, -1).flatten(1).sort(dim=-1)
    # A cut may be this far from a corner. Units of one layer bend where one below does.
    close = (share / jumps).repeat_interleave(2, -1).gather(-1, order)
    cuts[:, 1:][cuts.diff(dim=-1) <= close[:, 1:]] = torch.nan
    return cuts
