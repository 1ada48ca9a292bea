"""How fast states move along a curve of slow points, which way, and where they stop."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor

from captum_dynamics._checks import check_positive
from captum_dynamics._typing import Mask, PerPoint, States

STILL = 1e-12  # of 1 + length: rounding of the map, and no motion


@dataclass(frozen=True, eq=False)
class SpeedProfile:
    """The motion along a line or ring of slow points, at points in their order.

    Attributes:
        arcs: (n,) arc length from the first point, in the units of the state.
        speeds: (n,) projection of F(h) - h on the unit tangent, in such units a step:
            positive where states move towards larger arc lengths. What still fades
            across the curve is left out: of F(h) - h the part in the slow mode counts.
        rows: (n,) which of the manifold's points these are.
        length: of the whole curve; of a ring once round.
        closed: whether the curve is a ring.
    """

    arcs: PerPoint
    speeds: PerPoint
    rows: Int[Tensor, " n"]
    length: float
    closed: bool

    def __len__(self) -> int:
        """Number of points."""
        return len(self.arcs)

    @property
    def _moves(self) -> Mask:
        """Whether each point (n,) moves at all, by more than rounding."""
        return self.speeds.abs() > STILL * (1 + self.length)

    @property
    def _crossings(self) -> list[tuple[float, bool]]:
        """Arc length of every change of sign, and whether states come from both sides.

        Between the two points that it is found between, the speed is taken to be
        linear; where points between them are at rest, it is in their middle.
        """
        moving = torch.nonzero(self._moves).flatten().tolist()
        if self.closed:
            moving += [row + len(self) for row in moving[:1]]
        arcs, speeds = self._over(2)
        found = []
        for i, j in pairwise(moving):
            if speeds[i] * speeds[j] > 0:
                continue
            if j == i + 1:
                share = speeds[i] / (speeds[i] - speeds[j])
                place = arcs[i] + share * (arcs[j] - arcs[i])
            else:
                place = 0.5 * (arcs[i + 1] + arcs[j - 1])
            found.append((place % self.length if self.closed else place, speeds[i] > 0))
        return sorted(found)

    @property
    def zeros(self) -> Float[Tensor, " z"]:
        """Arc lengths (z,) at which the speed changes its sign, in order."""
        return self.arcs.new_tensor([place for place, _ in self._crossings])

    @property
    def stable(self) -> Mask:
        """Whether states near each zero (z,) return to it along the curve."""
        return torch.tensor([stable for _, stable in self._crossings], dtype=torch.bool)

    @property
    def pairs(self) -> int:
        """Number m of stable zeros; on a ring each has an unstable one beside it."""
        return int(self.stable.sum())

    @property
    def largest(self) -> float:
        """Largest |speed|: no memory on the curve errs faster (Sagodi et al., 2024)."""
        return float(self.speeds.abs().max()) if len(self) else 0.0

    def summary(self) -> str:
        """Say where the motion stops."""
        zeros, rests = len(self.zeros), self.pairs
        if not zeros:
            return "its speed does not change sign"
        return (
            f"its speed changes sign at {zeros} {'place' if zeros == 1 else 'places'}, "
            f"{rests} of them stable"
        )

    def drift_times(self, share: float = 0.1) -> PerPoint:
        """Steps (n,) in which a state drifts by a share of the curve's length.

        It is the integral of ds / |speed| from each point on, in the direction of its
        motion, with the speed linear between points; infinite where the state comes to
        rest, or the curve ends, before it has drifted so far.

        Args:
            share: of the length, above 0 and below 1.
        """
        check_positive("share", share)
        # A ring is gone round thrice, so that both ways lead on from the middle turn.
        arcs, speeds = self._over(3)
        backwards = [-arc for arc in reversed(arcs)], [-v for v in reversed(speeds)]
        times = []
        shift = len(self) if self.closed else 0
        for row in range(shift, shift + len(self)):
            ahead = speeds[row] > 0
            way = (arcs, speeds) if ahead else backwards
            start = row if ahead else len(arcs) - 1 - row
            times.append(_travel(*way, start, share * self.length))
        return self.arcs.new_tensor(times)

    def _over(self, turns: int) -> tuple[list[float], list[float]]:
        """Arc lengths and speeds as lists, of a ring over some turns."""
        arcs = self.arcs.tolist()
        speeds = torch.where(self._moves, self.speeds, 0.0).tolist()
        if not self.closed:
            return arcs, speeds
        starts = [turn * self.length for turn in range(turns)]
        return [start + arc for start in starts for arc in arcs], speeds * turns


def _travel(
    arcs: list[float], speeds: list[float], start: int, distance: float
) -> float:
    """Steps from one point forwards over a distance; infinite where it is not made."""
    total, left = 0.0, distance
    for i in range(start, len(arcs) - 1):
        step, before, after = arcs[i + 1] - arcs[i], speeds[i], speeds[i + 1]
        if before <= 0:
            return float("inf")
        part = min(1.0, left / step) if step > 0 else 1.0
        end = before + part * (after - before)
        if end <= 0:
            return float("inf")
        # Of ds / v with v linear in s: the mean of 1 / v is ln(v2 / v1) / (v2 - v1).
        change = (end - before) / before
        mean = _log_ratio(change) / before
        total, left = total + part * step * mean, left - part * step
        if left <= 1e-12 * distance:
            return total
    return float("inf")


def _log_ratio(change: float) -> float:
    """ln(1 + c) / c, with its limit 1 at zero."""
    return 1.0 if change == 0 else math.log1p(change) / change


def measure_speeds(
    states: States, motion: States, rows: Int[Tensor, " n"], *, closed: bool
) -> SpeedProfile:
    """Project motion on the tangents of a curve through states, in their order."""
    if len(states) < 2:
        return no_profile(states)
    before, after = states.roll(1, 0), states.roll(-1, 0)
    if not closed:
        before[0], after[-1] = states[0], states[-1]
    chords = after - before
    tangents = chords / chords.norm(dim=1, keepdim=True).clamp_min(1e-300)
    steps = states.diff(dim=0).norm(dim=1)
    arcs = torch.cat([steps.new_zeros(1), steps.cumsum(0)])
    length = float(arcs[-1])
    if closed:
        length += float((states[0] - states[-1]).norm())
    return SpeedProfile(arcs, (motion * tangents).sum(1), rows, length, closed)


def no_profile(states: States) -> SpeedProfile:
    """The profile of points that form no curve: it is empty."""
    none = states.new_zeros(0)
    return SpeedProfile(none, none, none.long(), 0.0, False)
