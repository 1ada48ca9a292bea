"""How near trajectories come to goals, once they have left where they began."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from captum_dynamics._typing import OtherStates, States
from captum_dynamics.topology._flow import Flow
from captum_dynamics.topology.continua import distances_between

LONGEST_APPROACH = 2000  # steps in which an approach to a goal is looked for
IDLE_STEPS = 100  # after which it is over, if no trajectory has come nearer any goal
NEARER = 0.999  # by this factor
LEFT = 0.6  # share of the way to a goal that a trajectory must first be away


def approaches(
    flow: Flow, starts: States, centres: States, goals: OtherStates, leaving: int
) -> tuple[Float[Tensor, "n m"], Int[Tensor, "n m"]]:
    """Least distances of trajectories from goals, once they have left, and their times.

    Distances are relative to those of the goals from the centres, which trajectories
    have left after some steps.
    """
    states, idle = starts, 0
    apart = distances_between(centres, goals)
    ratios = torch.full_like(apart, torch.inf)
    when = torch.zeros_like(ratios, dtype=torch.long)
    for time in range(1, LONGEST_APPROACH + 1):
        states = flow.step(states)
        left = (states - centres).norm(dim=1, keepdim=True)
        now = distances_between(states, goals) / apart
        now = torch.where(left > LEFT * apart, now, torch.inf)
        idle = 0 if bool((now < NEARER * ratios).any()) else idle + 1
        if time > leaving and idle > IDLE_STEPS:
            break
        when = torch.where(now < ratios, time, when)
        ratios = torch.minimum(now, ratios)
    return ratios, when
