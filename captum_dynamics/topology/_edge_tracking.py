"""States on the border of two basins, followed to the saddle they come to.

Between two neighbours that go to different attractors there is a state that goes to
neither. Halving finds it, to rounding; both neighbours then stay close to its
trajectory for a while, and halving between where they are now takes it further
(Skufca, Yorke and Eckhardt 2006, Phys. Rev. Lett. 96, 174101).
"""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Bool
from torch import Tensor

from captum_dynamics._typing import Mask, States
from captum_dynamics.topology._border_shots import BorderShots
from captum_dynamics.topology._borders import Borders, narrowed
from captum_dynamics.topology._flow import Flow
from captum_dynamics.topology._passages import NEAR, PASSAGE, Passages
from captum_dynamics.topology.continua import distances_between

APART = 1e-6  # neighbours farther from each other no longer show what lies between
HALVINGS = 26  # bring neighbours from APART to a few hundred units of rounding
STAGES = 16
IDLE_STAGES = 3  # that bring a trajectory no nearer to any saddle: it goes elsewhere
STEPS_A_STAGE = 2000
LONGEST_RETURN = 8  # steps after which a border state on a cycle may be back
RETURNED = 1e-5  # distance, times 1 + |h|, at which it is; it is known to APART


def track(flow: Flow, borders: Borders, shots: BorderShots) -> Passages:
    """Follow what lies between neighbours until it comes close to a saddle.

    As soon as an orbit is found from what has been followed, that is where it comes to.
    """
    tracks = _Tracks(flow, borders, shots)
    active = torch.arange(len(borders), device=borders.owners.device)
    idle = torch.zeros_like(active)
    for stage in range(STAGES):
        if not len(active):
            break
        before = tracks.passages.distances[active]
        if stage > 0:
            tracks.halve(active)
        tracks.advance(active)
        closer = tracks.passages.distances[active] < before
        if not len(shots.saddles):
            ends, starts = tracks.passages.ends[active], tracks.passages.starts[active]
            closer = ~_settled(flow, ends, starts)
        tracks.shoot(active[closer])
        idle[active] = torch.where(closer, 0, idle[active] + 1)
        going = tracks.passages.distances[active] > NEAR
        active = active[going & (idle[active] < IDLE_STAGES)]
    return tracks.passages


class _Tracks:
    """Pairs of neighbours on their way, and the closest passage of each so far."""

    def __init__(self, flow: Flow, borders: Borders, shots: BorderShots) -> None:
        self._flow = flow
        self._shots = shots
        wide = torch.nonzero(_apart(borders.left, borders.right))[:, 0]
        borders = borders.put(wide, narrowed(flow, borders[wide], HALVINGS))
        self._first = self._borders = borders
        self.passages = Passages.none(borders.left)
        self._fits = torch.zeros_like(borders.owners, dtype=torch.bool)
        self._taken = torch.zeros_like(borders.owners)
        self._visited = [(borders.owners[:0], borders.left[:0])]

    def halve(self, rows: Tensor) -> None:
        """Bring neighbours together, without leaving the border between them."""
        pairs = narrowed(self._flow, self._borders[rows], HALVINGS)
        self._borders = self._borders.put(rows, pairs)

    def advance(self, rows: Tensor) -> None:
        """Iterate neighbours for as long as they stay together."""
        given, left = rows, self._borders.left.clone()
        right = self._borders.right.clone()
        between = self._shots.lie_between(self._borders)
        self._fits = between.any(1)
        # Where no saddle is known that fits, any may come near on the way elsewhere.
        between = between | ~self._fits[:, None]
        for _ in range(STEPS_A_STAGE):
            here, there = left[rows], right[rows]
            self._look(rows, here, between[rows])
            going = ~_apart(here, there) & (self.passages.distances[rows] > PASSAGE)
            rows = rows[going]
            if not len(rows):
                break
            left[rows] = self._flow.step(here[going])
            right[rows] = self._flow.step(there[going])
            self._taken[rows] += 1
            self._visited.append((rows, left[rows]))
        self._borders = replace(self._borders, left=left, right=right)
        self.passages.ends[given] = left[given]

    def shoot(self, rows: Tensor) -> None:
        """Put orbits in the place of what has been followed, where there are any."""
        rows = rows[self._fits[rows]]
        if not len(rows):
            return
        starts = self.passages.starts
        owners = torch.cat([owners for owners, _ in self._visited])
        visited = torch.cat([states for _, states in self._visited])
        paths = [
            torch.cat([starts[row, None], visited[owners == row]])[: step + 1]
            for row, step in zip(
                rows.tolist(), self.passages.steps[rows].tolist(), strict=True
            )
        ]
        targets = self.passages.targets[rows]
        found = self._shots.shoot(self._first[rows], paths, targets)
        done = found.distances <= PASSAGE
        self.passages = self.passages.put(rows[done], found[done])

    def _look(self, rows: Tensor, states: States, between: Bool[Tensor, "n m"]) -> None:
        """Note which saddle is nearest, where none was so near before."""
        known = self._shots.states
        if not len(known):
            return
        away = distances_between(states, known)
        away, nearest = torch.where(between, away, torch.inf).min(1)
        past = self.passages
        rows = rows[closer := away < past.distances[rows]]
        past.targets[rows] = nearest[closer]
        past.states[rows] = states[closer]
        past.steps[rows] = self._taken[rows]
        past.distances[rows] = away[closer]


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


def _apart(left: States, right: States) -> Mask:
    """Which neighbours (n,) are too far from each other."""
    far: Mask = (left - right).norm(dim=1) > APART * (1 + left.norm(dim=1))
    return far
