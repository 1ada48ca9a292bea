"""Another solver for the searches in which the first one fails."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from captum_dynamics._typing import Inputs, PerPoint, States
from captum_dynamics.dynamics import DynamicsMap
from captum_dynamics.solvers._base import Solution, Solver, Status


@dataclass(frozen=True)
class Cascade(Solver):
    """Search with one solver, and anew with another where it does not converge.

    A cheap method for the many, a careful one for the few: `Dogleg` first, then
    `LevenbergMarquardt`, which follows curved valleys of slow states and converges
    where J - I is singular.

    Attributes:
        first: the solver of all searches.
        then: the solver of those that did not converge, from their start: where the
            first one ended is a dead end as a rule.

    Example:
        >>> import torch, captum_dynamics as cd
        >>> from captum_dynamics.solvers import Cascade, Iteration, Newton
        >>> flip = cd.FunctionAdapter(lambda h, x: torch.tanh(-2 * h), 1, 0)
        >>> start, none = torch.ones(1, 1).double(), torch.zeros(1, 0).double()
        >>> both = Cascade(Iteration(patience=20), Newton())
        >>> both.solve(flip, start, none).status.tolist()
        [0]
    """

    first: Solver
    then: Solver

    def tolerances(self, states: States) -> PerPoint:
        """The looser of both."""
        first, then = self.first.tolerances(states), self.then.tolerances(states)
        return torch.maximum(first, then)

    def bytes_per_row(self, dynamics: DynamicsMap) -> int:
        """The larger of both."""
        first, then = (s.bytes_per_row(dynamics) for s in (self.first, self.then))
        return max(first, then)

    @torch.no_grad()
    def solve(
        self,
        dynamics: DynamicsMap,
        initial_states: States,
        inputs: Inputs,
        *,
        show_progress: bool = False,
    ) -> Solution:
        """Search from every start, and again from every end that is no fixed point."""
        found = self.first.solve(
            dynamics, initial_states, inputs, show_progress=show_progress
        )
        failed = torch.nonzero(found.status != Status.CONVERGED)[:, 0]
        if not len(failed):
            return found
        again = self.then.solve(
            dynamics,
            initial_states[failed],
            inputs[failed],
            show_progress=show_progress,
        )
        return Solution(
            found.states.index_copy(0, failed, again.states),
            found.residual_norms.index_copy(0, failed, again.residual_norms),
            found.status.index_copy(0, failed, again.status),
            found.steps.index_add(0, failed, again.steps),
        )
