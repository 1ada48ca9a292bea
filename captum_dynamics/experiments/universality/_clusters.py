"""Whether networks of one group are closer to each other than to the others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

Distances = Float[Tensor, "n n"]


@dataclass(frozen=True)
class Clusters:
    """How well groups separate.

    Attributes:
        within: mean distance of two networks of one group; NaN where none has two.
        across: mean distance of two networks of different groups.
        nearest: share of the networks whose nearest other one is of their group.
        p_value: chance that a random grouping has as large a difference of the means.
    """

    within: float
    across: float
    nearest: float
    p_value: float


def find_clusters(
    distances: Distances,
    groups: Sequence[str],
    *,
    permutations: int,
    generator: torch.Generator,
) -> Clusters:
    """Compare distances within and across groups, by a permutation test.

    The true grouping is one of those counted, so that no p-value is 0.

    Args:
        distances: of n networks.
        groups: the group of each.
        permutations: random groupings of the same sizes.
        generator: source of randomness.

    References:
        Clarke (1993), Non-parametric multivariate analyses of changes in community
        structure, Australian Journal of Ecology 18 (there on ranks).
    """
    labels = torch.tensor([sorted(set(groups)).index(group) for group in groups])
    pairs = torch.triu_indices(len(labels), len(labels), 1)
    apart = distances[pairs[0], pairs[1]].double()
    shuffled = torch.stack(
        [torch.randperm(len(labels), generator=generator) for _ in range(permutations)]
    )
    own = labels[pairs[0]] == labels[pairs[1]]
    same = labels[shuffled[:, pairs[0]]] == labels[shuffled[:, pairs[1]]]
    if not own.any() or own.all():
        return Clusters(_mean(apart[own]), _mean(apart[~own]), math.nan, math.nan)
    # Sums over own pairs decide: their number is the same in every grouping.
    observed, chance = apart[own].sum(), (same * apart).sum(1)
    slack = 1e-12 * apart.sum()
    as_good = int((chance <= observed + slack).sum())
    nearest = distances.clone().fill_diagonal_(math.inf).argmin(1)
    return Clusters(
        _mean(apart[own]),
        _mean(apart[~own]),
        float((labels[nearest] == labels).double().mean()),
        (1 + as_good) / (1 + permutations),
    )


def _mean(values: Tensor) -> float:
    return float(values.mean()) if len(values) else math.nan
