"""The last part of a way to a saddle, along its stable manifold.

Near a saddle q a state drifts off along q's unstable directions, by rounding if by
nothing else, and where q's slowest stable mode takes hundreds of steps no trajectory
that starts far away can come close. So the state is corrected again and again along
those directions, by far less than its distance from q, such that it would still be on
its way S steps later: L_q^T (F^S(h + R_q a) - q) = 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from captum_dynamics import _linalg
from captum_dynamics._typing import Counts, PerPoint, States
from captum_dynamics.linearization import Linearization
from captum_dynamics.topology._edge_tracking import PASSAGE
from captum_dynamics.topology._flow import Flow
from captum_dynamics.topology._shooting import Aims, fly

LARGEST_JUMP = 1e-5  # of a correction, relative to 1 + |h|
GAIN = 1e3  # by which the strongest direction grows in S steps
NEWTON = 2  # steps for one correction
ROUNDS = 200
IDLE_ROUNDS = 3  # that bring a state no nearer
LONGEST_LOOK = 400  # steps S


@dataclass(frozen=True, eq=False)
class Saddle:
    """A point with bases of its unstable eigenspaces.

    Attributes:
        state: the point (d,).
        left: an orthonormal basis (v, d) of the left one; NaN where it is not known.
        right: an orthonormal basis (v, d) of the right one.
        look: steps S in which its strongest direction grows by `GAIN`.
    """

    state: Float[Tensor, " d"]
    left: Float[Tensor, "v d"]
    right: Float[Tensor, "v d"]
    look: int


def saddle(linearization: Linearization, row: int) -> Saddle:
    """One point of a linearization, as something to land on."""
    values = linearization.eigenvalues[row]
    chosen = (values.abs() > 1 + linearization.margin) & (values.imag >= 0)
    turns = values[chosen].imag != 0
    strongest = math.log(float(values.abs().max()))
    return Saddle(
        linearization.points.states[row],
        _basis(linearization.left_eigenvectors[row][chosen], turns),
        _basis(linearization.right_eigenvectors[row].T[chosen], turns),
        min(LONGEST_LOOK, math.ceil(math.log(GAIN) / strongest)),
    )


def _basis(vectors: Tensor, turns: Tensor) -> Tensor:
    """Orthonormal rows that span the real and imaginary parts of vectors."""
    parts = torch.cat([vectors.real, vectors.imag[turns]])
    rows: Tensor = torch.linalg.qr(parts.T).Q.T
    return rows


@torch.no_grad()
def land(flow: Flow, states: States, saddles: list[Saddle]) -> tuple[PerPoint, Counts]:
    """Closest passage (n,) of each state by its own saddle, and steps until then."""
    distances = states.new_full((len(states),), torch.inf)
    steps = torch.zeros(len(states), dtype=torch.long, device=states.device)
    if not saddles:
        return distances, steps
    goals = torch.stack([s.state for s in saddles])
    left = torch.stack([s.left for s in saddles])
    right = torch.stack([s.right for s in saddles])
    looks = torch.tensor([s.look for s in saddles], device=states.device)
    distances = (states - goals).norm(dim=1)
    states, idle = states.clone(), torch.zeros_like(steps)
    active = torch.nonzero(distances > PASSAGE)[:, 0]
    for _ in range(ROUNDS):
        if not len(active):
            break
        now, look = states[active], looks[active]
        axes = right[active]
        still = torch.zeros_like(axes[:, :, 0])
        aims = Aims(now, axes, goals[active], left[active], still, look)
        jumps = _correction(flow, aims)
        now = now + (jumps[:, None] @ aims.axes)[:, 0]
        small = jumps.norm(dim=1) <= LARGEST_JUMP * (1 + now.norm(dim=1))  # not NaN
        before = distances[active]
        taken = (look + 1) // 2
        for time in range(int(taken.max())):
            going = (time < taken) & small & (distances[active] > PASSAGE)
            now = torch.where(going[:, None], flow.step(now), now)
            steps[active] += going
            away = (now - aims.goals).norm(dim=1)
            closer = small & (away < distances[active])
            distances[active] = torch.where(closer, away, distances[active])
        states[active] = now
        closer = distances[active] < before
        idle[active] = torch.where(closer, 0, idle[active] + 1)
        on_way = small & (distances[active] > PASSAGE) & (idle[active] < IDLE_ROUNDS)
        active = active[on_way]
    return distances, steps


def _correction(flow: Flow, aims: Aims) -> Float[Tensor, "n v"]:
    """How far to move (n, v) each state along the unstable directions of its goal."""
    count, across = aims.left.shape[:2]
    units = torch.eye(across).to(aims.centres).expand(count, -1, -1)
    jumps = aims.directions
    for _ in range(NEWTON):
        missed, slopes, *_ = fly(flow, aims, jumps, units, aims.times)
        jumps = jumps + _linalg.solve(slopes, -missed)
    return jumps
