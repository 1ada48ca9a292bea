"""Search a smaller map with the same fixed points, where there is one."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from captum_dynamics._typing import Inputs, PerPoint, States
from captum_dynamics.dynamics import DynamicsMap
from captum_dynamics.solvers._base import Solution, Solver, Status
from captum_dynamics.solvers.affine import Affine


@dataclass(frozen=True)
class Reduced(Solver):
    """Solve the `reduction` of a map, and put what follows from it in place.

    Layers that are affine in their recurrent state alone, behind windows of inputs,
    are so solved exactly. A map without a reduction is solved as it is.

    Attributes:
        solver: what searches the smaller map.

    Example:
        >>> import torch, captum_dynamics as cd
        >>> lstm = cd.adapt(torch.nn.LSTM(2, 3))
        >>> start, none = torch.zeros(1, 6).double(), torch.zeros(1, 2).double()
        >>> newton = cd.solvers.Newton()
        >>> cd.solvers.Reduced(newton).solve(lstm, start, none).status.tolist()
        [0]
    """

    solver: Solver = field(default=Affine())

    def tolerances(self, states: States) -> PerPoint:
        """Those of the search."""
        return self.solver.tolerances(states)

    def bytes_per_row(self, dynamics: DynamicsMap) -> int:
        """What the search of the smaller map needs."""
        reduction = dynamics.reduction
        searched = dynamics if reduction is None else reduction.dynamics
        return self.solver.bytes_per_row(searched)

    @torch.no_grad()
    def solve(
        self,
        dynamics: DynamicsMap,
        initial_states: States,
        inputs: Inputs,
        *,
        show_progress: bool = False,
    ) -> Solution:
        """Search the smaller map; a point must be one of the whole map too."""
        reduction = dynamics.reduction
        if reduction is None:
            return self.solver.solve(
                dynamics, initial_states, inputs, show_progress=show_progress
            )
        small = self.solver.solve(
            reduction.dynamics,
            reduction.restrict(initial_states),
            inputs,
            show_progress=show_progress,
        )
        states = reduction.lift(small.states, inputs)
        norms = dynamics.residual(states, inputs).norm(dim=-1)
        lost = (small.status == Status.CONVERGED) & (norms > self.tolerances(states))
        status = torch.where(lost, int(Status.STALLED), small.status)
        return Solution(states, norms, status, small.steps)
