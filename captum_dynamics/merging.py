"""Which points are one: groups connected by distances below their radii."""

from __future__ import annotations

import torch
from torch import Tensor

from captum_dynamics._execution import row_chunks
from captum_dynamics._typing import Counts, PerPoint, States


def connected_groups(states: States, radii: PerPoint, labels: Tensor) -> Counts:
    """Group index (n,) of each state, numbered by first appearance.

    Two states are linked when their distance is at most the larger of their radii and
    their rows of `labels` are equal; groups are what links connect.
    """
    groups = torch.full((len(states),), -1, device=states.device)
    count = 0
    for first in range(len(states)):
        if groups[first] >= 0:
            continue
        front = torch.tensor([first], device=states.device)
        groups[front] = count
        while len(front):
            linked = _linked(states, radii, labels, front) & (groups < 0)
            groups[linked] = count
            front = torch.nonzero(linked)[:, 0]
        count += 1
    return groups


def _linked(states: States, radii: PerPoint, labels: Tensor, front: Tensor) -> Tensor:
    """Which states are linked to any state of the front."""
    linked = torch.zeros(len(states), dtype=torch.bool, device=states.device)
    for rows in row_chunks(len(front), 8 * len(states)):
        part = front[rows]
        # The matrix-product form loses half of the digits close to zero.
        distances = torch.cdist(
            states[part], states, compute_mode="donot_use_mm_for_euclid_dist"
        )
        near = distances <= torch.maximum(radii[part, None], radii)
        for column in labels.T:
            near &= column[part, None] == column
        linked |= near.any(0)
    return linked
