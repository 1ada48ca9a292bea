"""Where trajectories end: at a known attractor, at rest elsewhere, or not yet."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm

from captum_dynamics._execution import row_chunks
from captum_dynamics._typing import (
    Counts,
    Inputs,
    OtherStates,
    PerOther,
    PerPoint,
    States,
)
from captum_dynamics.dynamics import DynamicsMap
from captum_dynamics.topology._deadline import Deadline

UNRESOLVED = -1
NEVER = Deadline()
STEPS_BETWEEN_CHECKS = 16
# A state within this share of the way to the nearest other node is captured.
CAPTURE_SHARE = 1e-2
LARGEST_CAPTURE = 1e-3
AT_REST = 1e-8  # residual below which an end that is no known attractor rests


@dataclass(frozen=True, eq=False)
class Destinations:
    """Ends of trajectories, one a row.

    Attributes:
        targets: index of the attractor reached, or -1.
        distances: from the end to that attractor; NaN without one.
        steps: steps taken, to within the interval between two checks.
        states: the ends themselves.
        residual_norms: |F(h) - h| at the ends.
    """

    targets: Counts
    distances: PerPoint
    steps: Counts
    states: States
    residual_norms: PerPoint

    def select(self, rows: Tensor) -> Destinations:
        """Some of the trajectories."""
        return Destinations(
            self.targets[rows],
            self.distances[rows],
            self.steps[rows],
            self.states[rows],
            self.residual_norms[rows],
        )


def follow(
    dynamics: DynamicsMap,
    starts: States,
    inputs: Inputs,
    attractors: OtherStates,
    *,
    capture: PerOther,
    max_steps: int,
    deadline: Deadline = NEVER,
    show_progress: bool = False,
    desc: str = "Following",
) -> Destinations:
    """Iterate every start until it is captured by an attractor, or time is up.

    A state that is back, bit by bit, where it was some steps ago is never captured.
    """
    ends = starts.clone()
    targets = torch.full((len(starts),), UNRESOLVED, device=starts.device)
    steps = torch.full((len(starts),), max_steps, device=starts.device)
    distances = starts.new_full((len(starts),), torch.nan)
    total = len(starts)
    with tqdm(total=total, desc=desc, disable=not show_progress, leave=False) as bar:
        for rows in row_chunks(total, 8 * 16 * dynamics.state_dim):
            active = torch.arange(rows.start, rows.stop, device=starts.device)
            step = 0
            while True:
                reached, away = _captured(ends[active], attractors, capture)
                found = reached != UNRESOLVED
                targets[active[found]] = reached[found]
                distances[active[found]] = away[found]
                steps[active[found]] = step
                bar.update(int(found.sum()))
                active = active[~found]
                if not len(active) or step >= max_steps or deadline.passed:
                    break
                before = ends[active]
                ends[active] = _advance(dynamics, before, inputs[active])
                step += STEPS_BETWEEN_CHECKS
                back = (ends[active] == before).all(-1)
                steps[active[back]] = step
                bar.update(int(back.sum()))
                active = active[~back]
            bar.update(len(active))
    norms = dynamics.residual(ends, inputs).norm(dim=-1)
    return Destinations(targets, distances, steps, ends, norms)


def capture_radii(states: States, attractors: OtherStates) -> PerOther:
    """Distance at which each attractor captures, small against its neighbours."""
    gaps = torch.cdist(attractors, states, compute_mode="donot_use_mm_for_euclid_dist")
    others = torch.where(gaps > 0, gaps, torch.inf).amin(-1)
    return (CAPTURE_SHARE * others).clamp_max(LARGEST_CAPTURE)


def _captured(
    states: States, attractors: OtherStates, capture: PerOther
) -> tuple[Counts, PerPoint]:
    if not len(attractors):
        nowhere = torch.full((len(states),), UNRESOLVED, device=states.device)
        return nowhere, states.new_full((len(states),), torch.nan)
    gaps = torch.cdist(states, attractors, compute_mode="donot_use_mm_for_euclid_dist")
    away, nearest = gaps.min(-1)
    return torch.where(away <= capture[nearest], nearest, UNRESOLVED), away


def _advance(dynamics: DynamicsMap, states: States, inputs: Inputs) -> States:
    for _ in range(STEPS_BETWEEN_CHECKS):
        states = dynamics.step(states, inputs)
    return states
