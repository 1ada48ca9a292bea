"""Few states that stand for many: each as far as can be from the others."""

from __future__ import annotations

import torch
from torch import Tensor

from captum_dynamics._typing import States


def farthest_points(states: States, count: int) -> Tensor:
    """Indices of states chosen one by one, each farthest from those before.

    Args:
        states: the states to choose from, (n, d).
        count: how many to choose; no more than there are.

    References:
        Gonzalez (1985), Clustering to minimize the maximum intercluster distance,
        Theoretical Computer Science 38.

    Example:
        >>> farthest_points(torch.tensor([[0.0], [1.0], [2.0], [9.0]]), 3).tolist()
        [3, 0, 2]
    """
    start = int((states - states.mean(0)).norm(dim=1).argmax())
    chosen = [start]
    gaps = (states - states[start]).norm(dim=1)
    for _ in range(min(count, len(states)) - 1):
        chosen.append(int(gaps.argmax()))
        gaps = torch.minimum(gaps, (states - states[chosen[-1]]).norm(dim=1))
    return torch.tensor(chosen, device=states.device)
