"""Following the dynamics themselves: finds attractors only, but all that it reaches."""

from __future__ import annotations

from dataclasses import dataclass

from captum_dynamics._typing import Inputs, Memory, States
from captum_dynamics.dynamics import DynamicsMap
from captum_dynamics.solvers._base import IterativeSolver


@dataclass(frozen=True)
class Iteration(IterativeSolver):
    """h <- F(h, x) until it rests.

    Where it converges the point attracts its start, which no other solver promises.

    Example:
        >>> import torch, captum_dynamics as cd
        >>> switch = cd.FunctionAdapter(lambda h, x: torch.tanh(2 * h), 1, 0)
        >>> start, none = torch.ones(1, 1).double(), torch.zeros(1, 0).double()
        >>> cd.solvers.Iteration().solve(switch, start, none).status.tolist()
        [0]
    """

    max_steps: int = 10_000
    patience: int = 2_000

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
        """Take one step of the map."""
        moved = states + residuals
        return moved, dynamics.residual(moved, inputs), memory
