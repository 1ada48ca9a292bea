"""Minimisation of the speed q by Adam: the field's reference method."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from captum_dynamics._typing import Inputs, Memory, States
from captum_dynamics.dynamics import DynamicsMap
from captum_dynamics.solvers._base import IterativeSolver


@dataclass(frozen=True)
class GradientDescent(IterativeSolver):
    """Minimise q = 1/2 |g|^2 by Adam (Sussillo and Barak 2013; Kingma and Ba 2015).

    Kept for comparison: it needs many more steps than `LevenbergMarquardt` and ends
    at slow points where a minimum of q is not a zero. Every row has its own moments.

    Attributes:
        learning_rate: first step length of every coordinate.
        decay: factor on the learning rate after each step.

    Example:
        >>> import torch, captum_dynamics as cd
        >>> switch = cd.FunctionAdapter(lambda h, x: torch.tanh(2 * h), 1, 0)
        >>> start, none = torch.ones(1, 1).double(), torch.zeros(1, 0).double()
        >>> cd.solvers.GradientDescent().solve(switch, start, none).status.tolist()
        [0]
    """

    atol: float = 1e-6
    max_steps: int = 5000
    patience: int = 500
    learning_rate: float = 0.1
    decay: float = 0.998

    def start(self, states: States) -> Memory:
        """First and second moments of every coordinate, and the steps taken."""
        return states.new_zeros(len(states), 2 * states.shape[1] + 1)

    def bytes_per_row(self, dynamics: DynamicsMap) -> int:
        """A few states: no Jacobian is ever formed."""
        return 16 * 8 * dynamics.state_dim

    def update(
        self,
        dynamics: DynamicsMap,
        states: States,
        inputs: Inputs,
        residuals: States,
        memory: Memory,
    ) -> tuple[States, States, Memory]:
        """Take one Adam step down the gradient (J - I)^T g of q."""
        gradients = dynamics.vjp(states, inputs, residuals)[0] - residuals
        width = states.shape[1]
        first, second, taken = torch.split(memory, [width, width, 1], dim=1)
        taken = taken + 1
        first = 0.9 * first + 0.1 * gradients
        second = 0.999 * second + 0.001 * gradients**2
        mean = first / (1 - 0.9**taken)
        spread = (second / (1 - 0.999**taken)).sqrt() + 1e-12
        rate = self.learning_rate * self.decay**taken
        moved = states - rate * mean / spread
        memory = torch.cat([first, second, taken], dim=1)
        return moved, dynamics.residual(moved, inputs), memory
