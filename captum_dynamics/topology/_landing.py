"""The last part of a way to a saddle, along its stable manifold.

Near a saddle q a state drifts off along q's unstable directions, by rounding if by
nothing else, and where q's slowest stable mode takes hundreds of steps no trajectory
that starts far away can come close. So the state is corrected again and again along
those directions, by far less than its distance from q, such that it would still be on
its way S steps later: L_q^T (F^S(h + R_q a) - q) = 0.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from captum_dynamics import _linalg
from captum_dynamics._typing import Counts, PerPoint, States
from captum_dynamics.topology._flow import Flow
from captum_dynamics.topology._passages import PASSAGE
from captum_dynamics.topology._saddle import Saddle

LARGEST_JUMP = 1e-5  # of a correction, relative to 1 + |h|
NEWTON = 2  # steps for one correction
ROUNDS = 200
IDLE_ROUNDS = 3  # that bring a state no nearer

Modes = Float[Tensor, "n v d"]


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
        goal, axes = goals[active], right[active]
        jumps = _correction(flow, now, axes, goal, left[active], look)
        now = now + (jumps[:, None] @ axes)[:, 0]
        small = jumps.norm(dim=1) <= LARGEST_JUMP * (1 + now.norm(dim=1))  # not NaN
        before = distances[active]
        taken = (look + 1) // 2
        for time in range(int(taken.max())):
            going = (time < taken) & small & (distances[active] > PASSAGE)
            now = torch.where(going[:, None], flow.step(now), now)
            steps[active] += going
            away = (now - goal).norm(dim=1)
            closer = small & (away < distances[active])
            distances[active] = torch.where(closer, away, distances[active])
        states[active] = now
        closer = distances[active] < before
        idle[active] = torch.where(closer, 0, idle[active] + 1)
        on_way = small & (distances[active] > PASSAGE) & (idle[active] < IDLE_ROUNDS)
        active = active[on_way]
    return distances, steps


def _correction(
    flow: Flow, states: States, axes: Modes, goals: States, left: Modes, looks: Counts
) -> Float[Tensor, "n v"]:
    """How far to move (n, v) each state along the unstable directions of its goal."""
    jumps = torch.zeros_like(axes[:, :, 0])
    for _ in range(NEWTON):
        now = states + (jumps[:, None] @ axes)[:, 0]
        ends, slopes = _look_ahead(flow, now, axes, looks)
        missed = _linalg.products(left, ends - goals)
        jumps = jumps + _linalg.solve(left @ slopes.mT, -missed)
    return jumps


def _look_ahead(
    flow: Flow, states: States, axes: Modes, looks: Counts
) -> tuple[States, Modes]:
    """States S steps later, and what has become of the axes there."""
    across, moved = axes.shape[1], axes
    for time in range(int(looks.max())):
        going = (time < looks)[:, None]
        pushed = flow.push(states.repeat_interleave(across, 0), moved.flatten(0, 1))
        moved = torch.where(going[:, None], pushed.reshape(axes.shape), moved)
        states = torch.where(going, flow.step(states), states)
    return states, moved
