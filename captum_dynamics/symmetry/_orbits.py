"""Which states are one modulo a symmetry."""

from __future__ import annotations

import torch
from torch import Tensor

from captum_dynamics._typing import Counts, PerPoint, States
from captum_dynamics.merging import connected_groups
from captum_dynamics.symmetry._base import Symmetry


def orbit_groups(
    symmetry: Symmetry, states: States, radii: PerPoint, labels: Tensor
) -> Counts:
    """Group index (n,) of each state, numbered by first appearance.

    Two states are linked when a permutation brings one within the larger of their
    radii of the other, and their rows of `labels` are equal; groups are what links
    connect.
    """
    symmetry.check(states)
    # What is linked has invariants as close, so that no link leaves a cell.
    cells = connected_groups(symmetry.invariants(states), radii, labels)
    groups = torch.full_like(cells, -1)
    count = 0
    for first in range(len(states)):
        if groups[first] >= 0:
            continue
        groups[first] = count
        front = [first]
        while front:
            row = front.pop()
            open_rows = torch.nonzero((groups < 0) & (cells == cells[row]))[:, 0]
            reach = torch.maximum(radii[open_rows], radii[row])
            linked = symmetry.same_orbit(states[row], states[open_rows], reach)
            groups[open_rows[linked]] = count
            front.extend(open_rows[linked].tolist())
        count += 1
    return groups
