"""First ways to a saddle: a trajectory that comes near, a jump, and an arrival."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from captum_dynamics._typing import Counts, States
from captum_dynamics.topology._flow import Flow
from captum_dynamics.topology._saddle import Saddle
from captum_dynamics.topology._shooting import Aims
from captum_dynamics.topology._sweeps import Orbits
from captum_dynamics.topology._unstable import UnstableFrame

LONGEST = 4000  # steps of an arrival; a goal that needs more is left alone


def first_ways(
    goal: Saddle,
    frames: Sequence[UnstableFrame],
    paths: Sequence[Float[Tensor, "_ d"]],
) -> Aims:
    """Ways (n,) that come near one goal, all of one length, the last states jumping.

    Args:
        goal: the saddle.
        frames: the unstable axes of the point that each way leaves.
        paths: trajectories from the unit spheres of these frames to near the goal.
    """
    parts = [_outside(frame, path) for frame, path in zip(frames, paths, strict=True)]
    # An orbit along a weak direction needs time, which a trajectory that left along a
    # strong one did not take.
    length = max(*(len(way) for _, way in parts), *(frame.steps for frame in frames))
    full = []
    for _, way in parts:
        tail = arrival(goal, way[-1:], length - len(way))
        full.append(torch.cat([way, tail[:, 0]]))
    return Aims(
        goal.state.expand(len(full), -1),
        goal.left.expand(len(full), -1, -1),
        torch.stack([frame.centre for frame in frames]),
        torch.stack([frame.axes for frame in frames]),
        torch.stack([direction for direction, _ in parts]),
        torch.stack(full, 1),
    )


def paths(flow: Flow, starts: States, times: Counts) -> list[Float[Tensor, "_ d"]]:
    """What states (n, d) go through in some steps (n,)."""
    states, visited = starts, [starts]
    for _ in range(int(times.max())):
        states = flow.step(states)
        visited.append(states)
    together = torch.stack(visited, 1)
    return [
        path[: time + 1] for path, time in zip(together, times.tolist(), strict=True)
    ]


def arrival(goal: Saddle, states: States, steps: int) -> Orbits:
    """What would follow after states (n, d), were it for the stable modes alone."""
    away, tail = states - goal.state, [states.new_zeros(0, *states.shape)]
    for _ in range(steps):
        away = away @ goal.decay.T
        tail.append(goal.state + away[None])
    return torch.cat(tail)


def arrival_steps(goal: Saddle, states: States, within: float) -> int | None:
    """Steps of an arrival that take all states (n, d) there; None if they are many."""
    away = states - goal.state
    for step in range(LONGEST):
        away = away @ goal.decay.T
        if bool((away.norm(dim=1) <= within).all()):
            return step + 1
    return None


def _outside(
    frame: UnstableFrame, path: Float[Tensor, "t d"]
) -> tuple[Float[Tensor, " u"], Float[Tensor, "s d"]]:
    """The part of a path from where it leaves the unit sphere, and in which direction.

    Its first state is put on the sphere.
    """
    parts = frame.coordinates(path)
    inside = parts[1:].norm(dim=1) <= 1
    first = int(inside.long().cumprod(0).sum())
    direction = parts[first] / parts[first].norm()
    return direction, torch.cat([frame.starts(direction[None]), path[first + 1 :]])
