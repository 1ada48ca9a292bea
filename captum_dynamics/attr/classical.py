"""Classical: one linearization around one point, as in the paper."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from captum_dynamics import _checks
from captum_dynamics._typing import (
    Inputs,
    InputSequences,
    PerPoint,
    States,
    StateSequences,
)
from captum_dynamics.adapters import RecurrentAdapter
from captum_dynamics.attr._base import (
    Adjoints,
    Estimator,
    FittedEstimator,
    calibrating_steps,
)
from captum_dynamics.attr._runs import RunPair
from captum_dynamics.fixed_points import Kind, find_fixed_points

STARTS = 16
"""Searches for the default point: a basin they all miss holds few visited states."""


@dataclass(frozen=True, eq=False)
class Classical(Estimator):
    """Linearize once, around a fixed or slow point h* at the reference input x*.

    h_t ~ F(h*, x*) + J (h_{t-1} - h*) + B (x_t - x*), so that an input's contribution
    is w J^(T-t) B (x_t - x*). For comparison with the paper: as a prediction of the
    output this picture is usually far off, and Captum's delta says how far.

    Args:
        point: The state h* (d,); by default the fixed point nearest to the mean
            visited state, or the slowest state found where none is fixed. Of a
            bidirectional layer, a given one serves all of its systems.

    References:
        Maheswaranathan et al. (2019), arXiv 1906.10720, section 2.

    Example:
        >>> import torch
        >>> from captum_dynamics.attr import Classical
        >>> Classical(point=torch.zeros(8)).point.shape
        torch.Size([8])
    """

    point: Tensor | None = None

    def fit(
        self, runs: Iterable[RunPair], generator: torch.Generator
    ) -> FittedEstimator:
        """Find the point where none is given, and linearize there."""
        kept = list(runs)
        dynamics = kept[0].dynamics
        chosen = list(zip(kept, calibrating_steps(kept), strict=True))
        read = torch.cat([pair.baseline_inputs[steps] for pair, steps in chosen])
        visited = torch.cat([pair.states[steps] for pair, steps in chosen])
        reference = read.mean(0, keepdim=True)
        if self.point is None:
            point = _central_point(dynamics, visited, reference, generator)
        else:
            point = _checks.check_inputs(
                "point", self.point, 1, dynamics.state_dim, dynamics.device
            )
            point = point.detach().clone().to(visited)
        return _Linear(
            point,
            reference,
            dynamics.step(point, reference),
            dynamics.jacobians(point, reference)[0],
            dynamics.input_jacobians(point, reference)[0],
        )


def _central_point(
    dynamics: RecurrentAdapter,
    visited: States,
    reference: Float[Tensor, "1 k"],
    generator: torch.Generator,
) -> Float[Tensor, "1 d"]:
    order = torch.randperm(len(visited), generator=generator)[:STARTS]
    points = find_fixed_points(dynamics, visited[order.to(visited.device)], reference)
    fixed = points.states[points.kind == Kind.FIXED]
    if len(fixed) == 0:
        return points.states[points.residual_norms.argmin()][None]
    return fixed[(fixed - visited.mean(0)).norm(dim=-1).argmin()][None]


@dataclass(frozen=True, eq=False)
class _Linear(FittedEstimator):
    point: States
    reference: Inputs
    rest: States
    jacobian: Float[Tensor, "d d"]
    input_jacobian: Float[Tensor, "d k"]

    def adjoints(self, runs: RunPair) -> Adjoints:
        carried = [torch.zeros_like(runs.initial_states)]
        for step in reversed(range(runs.inputs.shape[1])):
            carried[-1] = carried[-1] + runs.injections[:, step]
            carried.append(carried[-1] @ self.jacobian)
        states = torch.stack(carried[::-1], dim=1)
        return Adjoints(states, self.gradients(runs, states[:, 1:]))

    def gradients(self, runs: RunPair, cotangents: StateSequences) -> InputSequences:
        return cotangents @ self.input_jacobian

    def drives(self, runs: RunPair) -> StateSequences:
        return self._driven(runs.input_differences)

    def free_run(self, runs: RunPair) -> StateSequences:
        states, visited = runs.initial_states, []
        driven = self._driven(runs.inputs - self.reference)
        for step in range(runs.inputs.shape[1]):
            moved = (states - self.point) @ self.jacobian.mT
            states = self.rest + moved + driven[:, step]
            visited.append(states)
        return torch.stack(visited, dim=1)

    def constants(self, runs: RunPair, adjoints: Adjoints) -> PerPoint:
        offsets = self._driven(runs.baseline_inputs - self.reference)
        offsets = offsets + self.rest - self.point @ self.jacobian.mT
        initial = (adjoints.states[:, 0] * runs.initial_states).sum(-1)
        along = (adjoints.states[:, 1:] * offsets).sum((1, 2))
        return along + initial + runs.intercepts

    def _driven(self, differences: InputSequences) -> StateSequences:
        return differences @ self.input_jacobian.mT
