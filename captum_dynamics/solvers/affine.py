"""One linear solve, for maps that are affine in their state."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from captum_dynamics._typing import Inputs, Memory, PerPoint, States
from captum_dynamics.dynamics import DynamicsMap
from captum_dynamics.solvers._base import IterativeSolver
from captum_dynamics.tangent import TangentMap

# Differences of an affine map vanish to rounding; those of others do not.
ROUNDING = 1e-9
# A matrix is singular that makes a step longer than |g| by the inverse of this.
SINGULAR = 1e-12


@dataclass(frozen=True)
class Affine(IterativeSolver):
    """Solve (I - A) h = b, with A and b read from the map F(h, x) = A(x) h + b(x).

    Every start leads to the one fixed point. Where I - A is singular there is none, or
    a continuum: a row then ends at some point of the continuum, or stays where it
    started, as STALLED.

    That the map is affine is not believed but checked, along a line through every
    state on the way; a map that is not raises a `ValueError`.

    Example:
        >>> import torch, captum_dynamics as cd
        >>> leak = cd.FunctionAdapter(lambda h, x: 0.9 * h + 1, 1, 0)
        >>> start, none = torch.zeros(1, 1).double(), torch.zeros(1, 0).double()
        >>> solution = cd.solvers.Affine().solve(leak, start, none)
        >>> round(float(solution.states), 12), int(solution.steps)
        (10.0, 1)
    """

    max_steps: int = 3  # one solve, and what it takes to polish its rounding
    patience: int = 2

    def update(
        self,
        dynamics: DynamicsMap,
        states: States,
        inputs: Inputs,
        residuals: States,
        memory: Memory,
    ) -> tuple[States, States, Memory]:
        """Solve for the fixed point; a row without one stays."""
        steps = steps_to_zero(dynamics, states, inputs, residuals)
        _check_affine(dynamics, states, inputs, residuals)
        moved = states + torch.where(torch.isfinite(steps), steps, 0.0)
        return moved, dynamics.residual(moved, inputs), memory


def steps_to_zero(
    dynamics: DynamicsMap, states: States, inputs: Inputs, residuals: States
) -> States:
    """Steps to the zeros of the affine maps around each state; NaN without one."""
    tangent = dynamics.tangent(states, inputs)
    steps = tangent.newton_direction(residuals)
    # So long a step is a quotient of rounding errors; at its end, so far away that all
    # residuals drown in rounding, anything would pass for fixed.
    least = SINGULAR * _slope_size(tangent, states) * steps.norm(dim=1)
    return torch.where((residuals.norm(dim=1) > least)[:, None], steps, torch.nan)


def _slope_size(tangent: TangentMap, states: States) -> PerPoint:
    """About the Frobenius norm of J - I, by what it does to a vector of signs."""
    generator = torch.Generator().manual_seed(0)
    signs = torch.randint(2, states.shape, generator=generator).to(states) * 2 - 1
    size: PerPoint = (tangent.push(signs) - signs).norm(dim=1)
    return size


def _check_affine(
    dynamics: DynamicsMap, states: States, inputs: Inputs, residuals: States
) -> None:
    """Refuse a map with a second difference along a line that no symmetry favours."""
    ramp = torch.linspace(1.0, 2.0, states.shape[1]).to(states)
    lines = (1 + states.norm(dim=1, keepdim=True)) * ramp * ramp.sin()
    # Two lengths: through a centre of symmetry one alone would show nothing.
    ahead = dynamics.residual(states + 2 * lines, inputs)
    behind = dynamics.residual(states - lines, inputs)
    bends = (ahead - 3 * residuals + 2 * behind).norm(dim=1)
    scales = 1 + states.norm(dim=1) + ahead.norm(dim=1) + behind.norm(dim=1)
    bent = bends > ROUNDING * scales  # False for NaN
    if bent.any():
        raise ValueError(
            f"Expected `dynamics` to be affine in the state for `Affine`, got a "
            f"second difference of {float(bends[bent].max()):.1e} from "
            f"{int(bent.sum())} of {len(states)} starts; use another solver."
        )
