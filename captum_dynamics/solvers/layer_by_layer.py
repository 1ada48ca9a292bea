"""A stack of layers, solved from the lowest on."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from tqdm import tqdm

from captum_dynamics._typing import Inputs, PerPoint, States
from captum_dynamics.dynamics import DynamicsMap
from captum_dynamics.solvers._base import Solution, Solver, Status
from captum_dynamics.solvers.reduced import Reduced


@dataclass(frozen=True)
class LayerByLayer(Solver):
    """Solve each section of a map at the fixed points of those before it.

    No layer hears of those above it, so that one sweep from the lowest on solves a
    whole model. Residuals are those of the whole map; a row has converged where they
    are within the tolerance and every layer's search has ended so.

    Attributes:
        solver: what solves each section.

    Raises:
        ValueError: by `solve`, for a map that has no `sections`.

    Example:
        >>> import torch, captum_dynamics as cd
        >>> lstm = cd.adapt(torch.nn.LSTM(2, 3))
        >>> start, none = torch.zeros(1, 6).double(), torch.zeros(1, 2).double()
        >>> cd.solvers.LayerByLayer().solve(lstm, start, none)
        Traceback (most recent call last):
        ...
        ValueError: Expected `dynamics` to have sections, got LSTMLayer without; ...
    """

    solver: Solver = field(default=Reduced())

    def tolerances(self, states: States) -> PerPoint:
        """Those of the search in each section."""
        return self.solver.tolerances(states)

    def bytes_per_row(self, dynamics: DynamicsMap) -> int:
        """What the widest section needs."""
        needs = (self.solver.bytes_per_row(s.dynamics) for s in dynamics.sections)
        return max(needs, default=8 * dynamics.state_dim)

    @torch.no_grad()
    def solve(
        self,
        dynamics: DynamicsMap,
        initial_states: States,
        inputs: Inputs,
        *,
        show_progress: bool = False,
    ) -> Solution:
        """Sweep the sections once, from the lowest on."""
        sections = dynamics.sections
        if not sections:
            raise ValueError(
                f"Expected `dynamics` to have sections, got {type(dynamics).__name__} "
                f"without; use another solver."
            )
        states = initial_states.clone()
        steps = torch.zeros(len(states), dtype=torch.long, device=states.device)
        status = torch.full_like(steps, int(Status.CONVERGED))
        for section in tqdm(sections, desc="Layers", disable=not show_progress):
            read = section.reads(states, inputs)
            own = states[:, section.columns]
            found = self.solver.solve(section.dynamics, own, read)
            states[:, section.columns] = found.states
            status = torch.maximum(status, found.status)
            steps = steps + found.steps
        norms = dynamics.residual(states, inputs).norm(dim=-1)
        lost = (status == Status.CONVERGED) & ~(norms <= self.tolerances(states))
        status = torch.where(lost, int(Status.STALLED), status)
        return Solution(states, norms, status, steps)
