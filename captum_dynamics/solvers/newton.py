"""Newton's method on the residual."""

from __future__ import annotations

from dataclasses import dataclass

from captum_dynamics._typing import Inputs, Memory, States
from captum_dynamics.dynamics import DynamicsMap
from captum_dynamics.solvers._base import IterativeSolver


@dataclass(frozen=True)
class Newton(IterativeSolver):
    """Full steps (J - I) p = -g: stable and unstable points alike, close to them.

    Far from a point it may jump or diverge, and it jumps over slow manifolds; a row
    whose J - I is singular ends as NONFINITE.

    Attributes:
        damping: share of the step that is taken.

    Example:
        >>> import torch, captum_dynamics as cd
        >>> switch = cd.FunctionAdapter(lambda h, x: torch.tanh(2 * h), 1, 0)
        >>> start, none = torch.ones(1, 1).double(), torch.zeros(1, 0).double()
        >>> int(cd.solvers.Newton().solve(switch, start, none).steps) < 8
        True
    """

    damping: float = 1.0

    def update(
        self,
        dynamics: DynamicsMap,
        states: States,
        inputs: Inputs,
        residuals: States,
        memory: Memory,
    ) -> tuple[States, States, Memory]:
        """Take one damped Newton step."""
        directions = dynamics.tangent(states, inputs).newton_direction(residuals)
        moved = states + self.damping * directions
        return moved, dynamics.residual(moved, inputs), memory
