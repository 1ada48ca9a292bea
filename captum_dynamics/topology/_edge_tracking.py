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

from captum_dynamics._typing import Counts, Mask, OtherStates, PerPoint, States
from captum_dynamics.topology._flow import Flow

PASSAGE = 1e-4  # a trajectory that comes so near to a saddle is on its way there
NEAR = 1e-2  # a passage from which the rest of the way is a matter of landing
APART = 1e-6  # neighbours farther from each other no longer show what lies between
# Not the middle: where a map is symmetric, that would be a state on the border itself,
# which goes to no attractor.
SHARE = 0.47
HALVINGS = 26  # bring neighbours from APART to a few hundred units of rounding
SPLITS = 24  # halvings that look for further basins between two neighbours
LARGEST_SPLIT = 2048  # pairs; a border that needs more of them has no simple shape
STAGES = 16
IDLE_STAGES = 3  # that bring a trajectory no nearer to any saddle: it goes elsewhere
STEPS_A_STAGE = 2000
LONGEST_RETURN = 8  # steps after which a border state on a cycle may be back
RETURNED = 1e-5  # distance, times 1 + |h|, at which it is; it is known to APART


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
        states: where they were then (n, d).
        ends: where they were last (n, d).
    """

    starts: States
    targets: Counts
    distances: PerPoint
    steps: Counts
    states: States
    ends: States


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
    tracks = _Tracks(flow, borders, saddles)
    active = torch.arange(len(borders), device=saddles.device)
    starts = borders.left.clone()
    for stage in range(STAGES):
        if not len(active):
            break
        tracks.halve(active)
        if stage == 0:
            starts[active] = tracks.left[active]
        before = tracks.distances[active]
        tracks.advance(active)
        closer = tracks.distances[active] < before
        if not len(saddles):
            closer = ~_settled(flow, tracks.left[active], starts[active])
        tracks.idle[active] = torch.where(closer, 0, tracks.idle[active] + 1)
        going = tracks.distances[active] > NEAR
        active = active[going & (tracks.idle[active] < IDLE_STAGES)]
    return Passages(
        starts,
        tracks.targets,
        tracks.distances,
        tracks.steps,
        tracks.nearest,
        tracks.left,
    )


def _settled(flow: Flow, states: States, starts: States) -> Mask:
    """Whether border states (n,) are back, after some steps, where they were."""
    size, moved = 1 + states.norm(dim=1), states
    back = torch.zeros_like(size, dtype=torch.bool)
    for _ in range(LONGEST_RETURN):
        moved = flow.step(moved)
        back |= (moved - states).norm(dim=1) <= RETURNED * size
    # They begin next to a point, and hardly move there either.
    settled: Mask = back & ((states - starts).norm(dim=1) > NEAR * size)
    return settled


class _Tracks:
    """Pairs of neighbours on their way, and the closest passage of each so far."""

    def __init__(self, flow: Flow, borders: Borders, saddles: OtherStates) -> None:
        self._flow = flow
        self._saddles = saddles
        self._basins = borders.left_basins
        self.left, self.right = borders.left.clone(), borders.right.clone()
        self.targets = torch.full_like(borders.owners, -1)
        self.distances = torch.full_like(borders.left[:, 0], torch.inf)
        self.steps = torch.zeros_like(borders.owners)
        self.nearest = borders.left.clone()
        self.idle = torch.zeros_like(borders.owners)
        self._taken = torch.zeros_like(borders.owners)

    def halve(self, rows: Tensor) -> None:
        """Bring neighbours together, without leaving the border between them."""
        left, right = self.left[rows], self.right[rows]
        for _ in range(HALVINGS):
            middle = _between(left, right)
            same = (self._flow.basins(middle) == self._basins[rows])[:, None]
            left = torch.where(same, middle, left)
            right = torch.where(same, right, middle)
        self.left[rows], self.right[rows] = left, right

    def advance(self, rows: Tensor) -> None:
        """Iterate neighbours for as long as they stay together."""
        for _ in range(STEPS_A_STAGE):
            left, right = self.left[rows], self.right[rows]
            self._look(rows, left)
            apart = (left - right).norm(dim=1) > APART * (1 + left.norm(dim=1))
            going = ~apart & (self.distances[rows] > PASSAGE)
            rows = rows[going]
            if not len(rows):
                break
            self.left[rows] = self._flow.step(left[going])
            self.right[rows] = self._flow.step(right[going])
            self._taken[rows] += 1

    def _look(self, rows: Tensor, states: States) -> None:
        """Note which saddle is nearest, where none was so near before."""
        if not len(self._saddles):
            return
        away, nearest = torch.cdist(
            states, self._saddles, compute_mode="donot_use_mm_for_euclid_dist"
        ).min(1)
        closer = away < self.distances[rows]
        self.targets[rows] = torch.where(closer, nearest, self.targets[rows])
        self.nearest[rows] = torch.where(closer[:, None], states, self.nearest[rows])
        self.steps[rows] = torch.where(closer, self._taken[rows], self.steps[rows])
        self.distances[rows] = torch.minimum(away, self.distances[rows])


def _between(left: States, right: States) -> States:
    return left + SHARE * (right - left)
