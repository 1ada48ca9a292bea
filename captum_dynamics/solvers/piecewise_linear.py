"""Following the linear regions of a map to one that holds its own zero."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from captum_dynamics._typing import Inputs, Mask, Memory, States
from captum_dynamics.dynamics import DynamicsMap
from captum_dynamics.solvers._base import IterativeSolver
from captum_dynamics.solvers.affine import steps_to_zero

# Relative distance below which a state has been there before.
SAME = 1e-10


@dataclass(frozen=True)
class PiecewiseLinear(IterativeSolver):
    """Solve the region a row is in, go to the region the solution lies in, repeat.

    Where a region holds its own solution, the row is at a fixed point, exactly; where
    it does not, that point is virtual, and only says which region comes next. Regions
    may follow each other in a circle: a row that comes back to where it was goes half
    of the way instead, and so leaves the circle. A region without a solution, or with
    a line of them, is left by a step of the map.

    It is made for maps with `traits.piecewise_linear`; elsewhere it is Newton's method.
    A finite number of starts proves nothing: see `enumerate_fixed_points`.

    References:
        Eisenmann et al. (2023), Bifurcations and loss jumps in RNN training, NeurIPS
        (SCYFI); Brent (1980), BIT 20, for finding that a sequence has become periodic.

    Example:
        >>> import torch, captum_dynamics as cd
        >>> fold = cd.FunctionAdapter(lambda h, x: torch.relu(1 - 2 * h), 1, 0)
        >>> start, none = torch.ones(1, 1).double(), torch.zeros(1, 0).double()
        >>> solution = cd.solvers.PiecewiseLinear().solve(fold, start, none)
        >>> round(float(solution.states), 12), int(solution.steps)
        (0.333333333333, 2)
    """

    def start(self, states: States) -> Memory:
        """A state to come back to, the steps since then, and after how many to move on.

        These numbers double, so that a circle of any length is noticed.
        """
        counts = torch.tensor([[0.0, 1.0]]).to(states).expand(len(states), -1)
        return torch.cat([states, counts], dim=1)

    def update(
        self,
        dynamics: DynamicsMap,
        states: States,
        inputs: Inputs,
        residuals: States,
        memory: Memory,
    ) -> tuple[States, States, Memory]:
        """Go to the zero of each row's region, or half of the way."""
        steps = steps_to_zero(dynamics, states, inputs, residuals)
        steps = torch.where(torch.isfinite(steps), steps, residuals)
        width = states.shape[1]
        mark, since, horizon = torch.split(memory, [width, 1, 1], dim=1)
        targets = states + steps
        # A short step is no circle, but the end of a search.
        back = (_same(targets, mark) & ~_same(targets, states))[:, None]
        new = states + torch.where(back, 0.5, 1.0).to(steps) * steps
        due = since + 1 >= horizon
        mark = torch.where(due, new, mark)
        horizon = torch.where(due, 2 * horizon, horizon)
        since = torch.where(due, 0.0, since + 1)
        memory = torch.cat([mark, since, horizon], dim=1)
        return new, dynamics.residual(new, inputs), memory


def _same(states: States, others: States) -> Mask:
    scales = 1 + others.norm(dim=1)
    same: Mask = (states - others).norm(dim=1) <= SAME * scales
    return same
