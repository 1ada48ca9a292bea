"""Sums of word counts and of terms behind modifiers, and what a gain is worth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

WordsRead = Int[Tensor, "n t"]
RESAMPLES = 2000


def count_terms(
    words: WordsRead, size: int, modifiers: Mapping[int, int]
) -> Float[Tensor, "n f"]:
    """How often each word occurs, and how often 1, 2, ... places behind a modifier.

    Args:
        words: words (n, t) as numbers below `size`.
        size: number of words.
        modifiers: how many later words each modifier reaches.

    Returns:
        Counts (n, size (1 + all reaches)): of words, then of words at each distance
        behind each modifier.
    """
    one_hot = torch.nn.functional.one_hot(words, size).double()
    parts = [one_hot.sum(1)]
    for modifier, reach in modifiers.items():
        is_one = (words == modifier).double()
        parts += [
            torch.einsum("nt,ntv->nv", is_one[:, :-lag], one_hot[:, lag:])
            for lag in range(1, reach + 1)
        ]
    return torch.cat(parts, dim=1)


@dataclass(frozen=True, eq=False)
class Line:
    """A least-squares fit y = w.x + b."""

    weights: Float[Tensor, " f"]

    @staticmethod
    def through(features: Float[Tensor, "n f"], wanted: Float[Tensor, " n"]) -> Line:
        """Fit it; of several fits, take the one with the smallest weights."""
        solved = torch.linalg.lstsq(
            _with_one(features), wanted[:, None], driver="gelsd"
        )
        return Line(solved.solution[:, 0])

    def explained(
        self, features: Float[Tensor, "n f"], wanted: Float[Tensor, " n"]
    ) -> float:
        """R^2 on other data."""
        return r_squared(_with_one(features) @ self.weights, wanted)


def r_squared(found: Float[Tensor, " n"], wanted: Float[Tensor, " n"]) -> float:
    """Share of the variance of `wanted` that `found` explains."""
    missed = (wanted - found).square().mean()
    return float(1 - missed / wanted.var(correction=0))


def _with_one(features: Float[Tensor, "n f"]) -> Float[Tensor, "n f1"]:
    ones = torch.ones_like(features[:, :1])
    return torch.cat([features, ones], dim=1)


@dataclass(frozen=True)
class Recovered:
    """Share of a gain that is recovered, with a 95 % interval by resampling."""

    share: float
    low: float
    high: float

    def __str__(self) -> str:
        """Write it as text."""
        return f"{self.share:.0%} ({self.low:.0%} to {self.high:.0%})"


def recovered_share(
    plain: Tensor, better: Tensor, best: Tensor, *, generator: torch.Generator
) -> Recovered:
    """Share of the gain of `best` over `plain` that `better` has.

    Args:
        plain: which documents (n,) the baseline gets right.
        better: the same of the extended baseline.
        best: the same of the network.
        generator: draws the documents anew, with repetition.
    """
    right = torch.stack([plain, better, best]).double()
    count = right.shape[1]
    drawn = torch.randint(count, (RESAMPLES, count), generator=generator)
    low, middle, high = (row[drawn].mean(1) for row in right)
    shares = (middle - low) / (high - low)
    ends = torch.quantile(
        shares[shares.isfinite()], torch.tensor([0.025, 0.975]).double()
    )
    low, middle, high = right.mean(1)
    return Recovered(float((middle - low) / (high - low)), *ends.tolist())
