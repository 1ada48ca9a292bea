"""How well a network's steps are told by linearizing it at slow points."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from captum_dynamics._typing import Inputs, PerPoint, States
from captum_dynamics.dynamics import DynamicsMap
from captum_dynamics.fixed_points import FixedPoints, Kind, find_slow_points
from captum_dynamics.recording import Trajectories

ANCHORS = 500
BATCH = 500  # states at once
JUDGED = 4000  # steps whose prediction is compared with the network's


@dataclass(frozen=True, eq=False)
class LinearPicture:
    """A network as linear maps at its slow points, the nearest of which is used.

    h' ~ F(p, x*) + J (h - p) + B (x - x*), with J and B at the slow point p nearest to
    h and the constant input x*.

    Attributes:
        dynamics: the map.
        anchors: (m, d) the slow points.
        constant: (1, k) the input x*.
    """

    dynamics: DynamicsMap
    anchors: Float[Tensor, "m d"]
    constant: Float[Tensor, "1 k"]

    def step(self, states: States, inputs: Inputs) -> States:
        """The next state, as the picture has it."""
        nearest = torch.cdist(states, self.anchors).argmin(1)
        points = self.anchors[nearest]
        constant = self.constant.expand(len(points), -1).contiguous()
        moved = self.dynamics.step(points, constant)
        tangent = self.dynamics.tangent(points, constant)
        return moved + tangent.push(states - points, inputs - constant)

    def one_step_errors(
        self, runs: Trajectories, *, generator: torch.Generator
    ) -> PerPoint:
        """|h' - its prediction| / |h'| of up to 4,000 steps of recorded runs.

        The relative one-step error of Maheswaranathan et al. (2019), section 4.4.
        """
        before = torch.cat([runs.initial_states[:, None], runs.states[:, :-1]], dim=1)
        rows = _sample(runs.valid, generator)
        after = runs.states[runs.valid][rows].double()
        states = before[runs.valid][rows].double()
        inputs = runs.inputs[runs.valid][rows].double()
        predicted = torch.cat(
            [
                self.step(states[start : start + BATCH], inputs[start : start + BATCH])
                for start in range(0, len(states), BATCH)
            ]
        )
        errors: PerPoint = (after - predicted).norm(dim=1) / after.norm(dim=1)
        return errors

    def free_run(self, runs: Trajectories) -> States:
        """Last states (n, d) of runs that follow the picture alone from the start."""
        states = runs.initial_states.double()
        last = states.clone()
        for step in range(runs.inputs.shape[1]):
            going = runs.valid[:, step]
            states = self.step(states, runs.inputs[:, step].double())
            last[going] = states[going]
        return last


def linear_picture(
    dynamics: DynamicsMap,
    runs: Trajectories,
    constant: Float[Tensor, "1 k"],
    *,
    steps: int,
    q_slow: float,
    generator: torch.Generator,
) -> LinearPicture:
    """Relax 500 visited states for some steps and keep those that are slow.

    Args:
        dynamics: the map.
        runs: recorded runs.
        constant: the constant input (1, k).
        steps: steps of relaxation.
        q_slow: speed below which a state counts as slow.
        generator: source of randomness.

    Returns:
        The picture; the slowest state is kept where none is slow.
    """
    visited = runs.sample_states(ANCHORS, generator=generator)
    found = find_slow_points(dynamics, visited, constant, steps=steps, q_slow=q_slow)
    return LinearPicture(dynamics, _slow(found).states, constant.double())


def _slow(found: FixedPoints) -> FixedPoints:
    slow = found[(found.kind == Kind.SLOW) | (found.kind == Kind.FIXED)]
    return slow if len(slow) else found[found.residual_norms.argsort()[:1]]


def _sample(valid: Bool[Tensor, "n t"], generator: torch.Generator) -> Tensor:
    return torch.randperm(int(valid.sum()), generator=generator)[:JUDGED]
