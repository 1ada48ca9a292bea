"""Levenberg-Marquardt on the residual: the default, robust near slow manifolds."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from captum_dynamics import _linalg
from captum_dynamics._typing import Inputs, Memory, States
from captum_dynamics.dynamics import DynamicsMap
from captum_dynamics.solvers._base import IterativeSolver, into_box


@dataclass(frozen=True)
class LevenbergMarquardt(IterativeSolver):
    """Minimise |g|^2 with steps (A^T A + mu |g| I) p = -A^T g, A = J - I.

    Damping in proportion to |g| keeps convergence quadratic where the fixed points
    form a continuum (Fan and Yuan 2005, Computing 74). Steps never leave the box
    that the map maps into itself, where it is known.

    Attributes:
        damping: initial mu of every row.
        decrease: factor on mu after a step that lowered |g|.
        increase: factor on mu after a step that did not, and was not taken.

    Example:
        >>> import torch, captum_dynamics as cd
        >>> switch = cd.FunctionAdapter(lambda h, x: torch.tanh(2 * h), 1, 0)
        >>> solver = cd.solvers.LevenbergMarquardt(atol=1e-10)
        >>> start, none = torch.ones(1, 1).double(), torch.zeros(1, 0).double()
        >>> solver.solve(switch, start, none).states.round(decimals=6).tolist()
        [[0.957504]]
    """

    damping: float = 1e-2
    decrease: float = 0.2
    increase: float = 4.0

    def start(self, states: States) -> Memory:
        """One damping factor mu a row."""
        return states.new_full((len(states), 1), self.damping)

    def update(
        self,
        dynamics: DynamicsMap,
        states: States,
        inputs: Inputs,
        residuals: States,
        memory: Memory,
    ) -> tuple[States, States, Memory]:
        """Try one damped step; rows it does not improve stay and damp more."""
        slopes = dynamics.tangent(states, inputs).jacobians()
        slopes.diagonal(dim1=-2, dim2=-1).sub_(1)
        norms = residuals.norm(dim=-1)
        steps = _linalg.damped_least_squares(slopes, -residuals, memory[:, 0] * norms)
        trials = into_box(states + steps, dynamics, inputs)
        left = dynamics.residual(trials, inputs)
        better = left.norm(dim=-1) < norms  # False for NaN
        factors = torch.where(better, self.decrease, self.increase).to(memory)
        damping = (memory * factors[:, None]).clamp_min(_least_damping(states))
        taken = better[:, None]
        moved = torch.where(taken, trials, states)
        return moved, torch.where(taken, left, residuals), damping


def _least_damping(states: States) -> float:
    # Below the square of the rounding unit damping changes no solution.
    return float(torch.finfo(states.dtype).eps) ** 2
