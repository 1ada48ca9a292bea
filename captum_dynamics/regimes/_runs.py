"""Runs that are followed for long, and what is found of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from captum_dynamics._execution import progress
from captum_dynamics._typing import Counts, Inputs, Mask, OneInput, States
from captum_dynamics.dynamics import DynamicsMap
from captum_dynamics.regimes._endings import Ending

ESCAPED = 1e6  # times 1 + the largest start: beyond that a run has left
RETURNED = 1e-3  # times 1 + |h|: this close to a cycle or point a run is on it
WINDOWS = 9  # sixteenths of a run in which sizes are compared, from its half to its end
Found = tuple[Ending, Tensor]  # an end, and the rows of the runs that ended there
Levels = Float[Tensor, "n w d"]


@dataclass(frozen=True, eq=False)
class Problem:
    """A map under one constant input, and how long it is followed.

    Attributes:
        dynamics: the map.
        starts: (n, d) where the runs start.
        one_input: the constant input (k,).
        longest: largest period that is looked for.
        steps: steps of each run before it is judged.
        count: Lyapunov exponents of each end.
        show_progress: show progress bars.
    """

    dynamics: DynamicsMap
    starts: States
    one_input: OneInput
    longest: int
    steps: int
    count: int
    show_progress: bool

    def inputs(self, states: States) -> Inputs:
        """The input of each of some states."""
        return self.one_input.expand(len(states), -1)

    def step(self, states: States) -> States:
        """Move states by one step."""
        return self.dynamics.step(states, self.inputs(states))


@dataclass(frozen=True, eq=False)
class Followed:
    """Runs after their last step.

    Attributes:
        states: (n, d); of a run that left every bound, the last state before.
        steps: (n,) steps until `states`.
        escaped: (n,) runs that left.
        levels: (n, 9, d) mean size of each unit in sixteenths of the run, the first of
            which ends at its half; zero where all runs ended early.
    """

    states: States
    steps: Counts
    escaped: Mask
    levels: Levels


def follow(problem: Problem) -> Followed:
    """Follow runs until each rests, repeats or has left, or time is up."""
    states, total = problem.starts, problem.steps
    reach = ESCAPED * (1 + states.norm(dim=-1).max())
    steps = torch.zeros(len(states), dtype=torch.long, device=states.device)
    escaped = steps > 0
    levels = states.new_zeros(len(states), WINDOWS, states.shape[1])
    part = max(1, total // 16)
    times = progress(range(total), show=problem.show_progress, desc="Long runs")
    for step in times:
        if step % problem.longest == 0:
            past, closest = states, torch.full_like(states[:, 0], torch.inf)
        moved = problem.step(states)
        escaped = escaped | ~(moved.norm(dim=-1) <= reach)  # also where it is NaN
        states = torch.where(escaped[:, None], states, moved)
        steps = steps + (~escaped).long()
        closest = torch.minimum(closest, (states - past).norm(dim=-1))
        for window in range(WINDOWS):
            if 0 <= (8 + window) * total // 16 - 1 - step < part:
                levels[:, window] += states.abs() / part
        # A run that left stands still here.
        met = (step + 1) % problem.longest == 0 and bool((closest < rest(states)).all())
        if met:
            return Followed(states, steps, escaped, torch.zeros_like(levels))
    return Followed(states, steps, escaped, levels)


def rest(states: Tensor) -> float:
    """Residual below which a state is at rest: 7e-9 in double precision."""
    return 0.5 * math.sqrt(torch.finfo(states.dtype).eps)


def nearness(states: States) -> Float[Tensor, " n"]:
    """Distance (n,) from each state within which another is the same."""
    distance: Tensor = RETURNED * (1 + states.norm(dim=-1))
    return distance
