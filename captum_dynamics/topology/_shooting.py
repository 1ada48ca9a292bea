"""Shooting at saddles: the direction that leads from one point to another.

Of a trajectory that ends at a saddle q, the part along q's unstable directions goes to
zero. So a direction v on the unstable sphere of p is sought with

    L_q^T (F^T(p + axes v) - q) = 0,

L_q a basis of the unstable left eigenspace of q, T a time at which the trajectory is
close to q, first its closest approach and then ever later (projection boundary
conditions: Beyn 1990, IMA J. Numer. Anal. 10). Many pairs (p, q) are solved at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from captum_dynamics import _linalg
from captum_dynamics._typing import Counts, Mask, PerPoint, States
from captum_dynamics.topology._edge_tracking import PASSAGE
from captum_dynamics.topology._flow import Flow

LARGEST_TURN = 0.3  # of the direction in one step, in radians
SETTLED_TURN = 1e-2  # a smaller one solves the equation at this T well enough
LATER = 6  # steps that T grows by then
FINAL_TURN = 1e-4  # what a hit may still be away from the direction that solves it
ITERATIONS = 60
PATIENCE = 10  # iterations in which a passage must come closer
PROGRESS = 0.9  # by this factor
LONGEST = 4000  # steps; a trajectory that takes longer is left alone

Axes = Float[Tensor, "n u d"]
Directions = Float[Tensor, "n u"]
Across = Float[Tensor, "n v"]  # components across a direction, or along q's modes


@dataclass(frozen=True, eq=False)
class Aims:
    """Pairs of points, one a row, with a first direction from the one to the other.

    Attributes:
        centres: where to start from (n, d).
        axes: the scaled unstable axes there (n, u, d).
        goals: the points aimed at (n, d).
        left: a basis (n, v, d), v = u - 1, of their unstable left eigenspace.
        directions: first directions (n, u), of unit length.
        times: steps (n,) after which each of those comes nearest to its goal.
    """

    centres: States
    axes: Axes
    goals: States
    left: Float[Tensor, "n v d"]
    directions: Directions
    times: Counts

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self.centres)

    def __getitem__(self, rows: Tensor) -> Aims:
        """Pairs by index or mask."""
        parts = (getattr(self, name)[rows] for name in Aims.__dataclass_fields__)
        return Aims(*parts)


@dataclass(frozen=True, eq=False)
class Shots:
    """What shooting reached, one a row.

    Attributes:
        directions: the last directions (n, u).
        distances: closest passage (n,) by the goal.
        steps: steps (n,) until then.
        states: where the trajectory was then (n, d).
        hit: whether the passage is close, and the direction has settled (n,).
    """

    directions: Directions
    distances: PerPoint
    steps: Counts
    states: States
    hit: Mask


@torch.no_grad()
def shoot(flow: Flow, aims: Aims) -> Shots:
    """Turn every direction until its trajectory passes by the goal, or time is up."""
    directions, times = aims.directions.clone(), aims.times.clone()
    distances = aims.centres.new_full((len(aims),), torch.inf)
    steps, states = torch.zeros_like(times), aims.centres.clone()
    hit = torch.zeros_like(times, dtype=torch.bool)
    best = torch.full_like(distances, torch.inf)  # when hope was last checked
    active = torch.arange(len(aims), device=times.device)
    for iteration in range(ITERATIONS):
        if not len(active):
            break
        part, now = aims[active], directions[active]
        tangent = _tangent_space(now)
        missed, slopes, away, when, nearest = fly(
            flow, part, now, tangent, times[active]
        )
        turn = _linalg.solve(slopes, -missed)
        size = turn.norm(dim=1)
        distances[active], steps[active], states[active] = away, when, nearest
        hit[active] = (away < PASSAGE) & (size < FINAL_TURN)
        turn = turn * (LARGEST_TURN / size).clamp_max(1.0)[:, None]
        new = now + (turn[:, None] @ tangent)[:, 0]
        going = ~hit[active] & torch.isfinite(size) & (times[active] < LONGEST)
        if iteration % PATIENCE == 0:
            going &= away < best[active] * PROGRESS
            best[active] = torch.minimum(best[active], away)
        rows = active[going]
        directions[rows] = (new / new.norm(dim=1, keepdim=True))[going]
        times[rows] += LATER * (size[going] < SETTLED_TURN)
        active = rows
    return Shots(directions, distances, steps, states, hit)


def _tangent_space(directions: Directions) -> Float[Tensor, "n v u"]:
    """Orthonormal vectors across each direction."""
    full = torch.linalg.qr(directions[:, :, None], mode="complete").Q
    across: Tensor = full[:, :, 1:].mT
    return across


def fly(
    flow: Flow,
    aims: Aims,
    directions: Directions,
    tangent: Float[Tensor, "n v u"],
    times: Counts,
) -> tuple[Across, Float[Tensor, "n v v"], PerPoint, Counts, States]:
    """Miss along the unstable directions of the goal at T, and its slope.

    Also the closest passage until a little later, its time and its state.
    """
    count, across = tangent.shape[:2]
    states = aims.centres + (directions[:, None] @ aims.axes)[:, 0]
    moved = (tangent @ aims.axes).flatten(0, 1)
    missed = torch.zeros_like(states)
    slopes = torch.zeros_like(moved)
    away = (states - aims.goals).norm(dim=1)
    when, nearest = torch.zeros_like(times), states
    last = int(times.max())
    for time in range(1, last + LATER + 1):
        if time <= last:
            moved = flow.push(states.repeat_interleave(across, 0), moved)
        states = flow.step(states)
        gaps = states - aims.goals
        distance = gaps.norm(dim=1)
        closer = (distance < away) & (time <= times + LATER)
        away = torch.where(closer, distance, away)
        when = torch.where(closer, time, when)
        nearest = torch.where(closer[:, None], states, nearest)
        due = times == time
        missed = torch.where(due[:, None], gaps, missed)
        slopes = torch.where(due.repeat_interleave(across)[:, None], moved, slopes)
    missed_part = (aims.left @ missed[:, :, None])[:, :, 0]
    slope_part = aims.left @ slopes.reshape(count, across, -1).mT
    return missed_part, slope_part, away, when, nearest
