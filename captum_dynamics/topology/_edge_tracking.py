"""States on the border of two basins, followed to the saddle they come to.

Between two neighbours that go to different attractors there is a state that goes to
neither. Halving finds it, to rounding; both neighbours then stay close to its
trajectory for a while, and halving between where they are now takes it further
(Skufca, Yorke and Eckhardt 2006, Phys. Rev. Lett. 96, 174101).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from captum_dynamics._typing import Counts, OtherStates, PerPoint, States
from captum_dynamics.topology._flow import Flow

PASSAGE = 1e-4  # a trajectory that comes so near to a saddle is on its way there
APART = 1e-6  # neighbours farther from each other no longer show what lies between
# Not the middle: where a map is symmetric, that would be a state on the border itself,
# which goes to no attractor.
SHARE = 0.47
HALVINGS = 26  # bring neighbours from APART to a few hundred units of rounding
SPLITS = 12  # halvings that look for further basins between two neighbours
LARGEST_SPLIT = 2048  # pairs; a border that needs more of them has no simple shape
STAGES = 16
IDLE_STAGES = 3  # that bring a trajectory no nearer to any saddle: it goes elsewhere
STEPS_A_STAGE = 2000


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


@dataclass(frozen=True, eq=False)
class Passages:
    """Where border trajectories came to, one a row.

    Attributes:
        starts: their first states (n, d).
        targets: saddle (n,) that came nearest, a row of those given, or -1.
        distances: closest passage (n,) by that saddle.
        steps: steps (n,) until then.
    """

    starts: States
    targets: Counts
    distances: PerPoint
    steps: Counts


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


def track(flow: Flow, borders: Borders, saddles: OtherStates) -> Passages:
    """Follow what lies between the neighbours until it comes close to a saddle."""
    left, right, starts = borders.left, borders.right, borders.left
    count, device = len(borders), left.device
    targets = torch.full((count,), -1, device=device)
    distances = left.new_full((count,), torch.inf)
    steps = torch.zeros(count, dtype=torch.long, device=device)
    idle = torch.zeros(count, dtype=torch.long, device=device)
    active = torch.arange(count if len(saddles) else 0, device=device)
    taken = torch.zeros_like(steps)
    for stage in range(STAGES):
        if not len(active):
            break
        a, b = _halve(flow, left[active], right[active], borders.left_basins[active])
        if stage == 0:
            starts = starts.clone()
            starts[active] = a
        before = distances[active]
        going = torch.arange(len(active), device=device)
        for _ in range(STEPS_A_STAGE):
            away, nearest = _nearest(a[going], saddles)
            rows = active[going]
            closer = away < distances[rows]
            targets[rows] = torch.where(closer, nearest, targets[rows])
            steps[rows] = torch.where(closer, taken[rows], steps[rows])
            distances[rows] = torch.minimum(away, distances[rows])
            apart = (a[going] - b[going]).norm(dim=1)
            together = apart <= APART * (1 + a[going].norm(dim=1))
            going = going[together & (distances[rows] > PASSAGE)]
            if not len(going):
                break
            a[going], b[going] = flow.step(a[going]), flow.step(b[going])
            taken[active[going]] += 1
        left, right = left.clone(), right.clone()
        left[active], right[active] = a, b
        idle[active] = torch.where(distances[active] < before, 0, idle[active] + 1)
        active = active[(idle[active] < IDLE_STAGES) & (distances[active] > PASSAGE)]
    return Passages(starts, targets, distances, steps)


def _between(left: States, right: States) -> States:
    return left + SHARE * (right - left)


def _halve(
    flow: Flow, left: States, right: States, basins: Counts
) -> tuple[States, States]:
    """Bring neighbours together, without leaving the border between them."""
    for _ in range(HALVINGS):
        middle = _between(left, right)
        on_left = (flow.basins(middle) == basins)[:, None]
        left, right = (
            torch.where(on_left, middle, left),
            torch.where(on_left, right, middle),
        )
    return left, right


def _nearest(states: States, others: OtherStates) -> tuple[PerPoint, Counts]:
    gaps = torch.cdist(states, others, compute_mode="donot_use_mm_for_euclid_dist")
    away, nearest = gaps.min(1)
    return away, nearest
