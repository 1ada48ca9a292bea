"""What a solver is, and the one loop they share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import torch
from tqdm import tqdm

from captum_dynamics import _checks
from captum_dynamics._execution import row_chunks
from captum_dynamics._typing import Counts, Inputs, Memory, PerPoint, States
from captum_dynamics.dynamics import DynamicsMap

# Measured: with 16 to 32 MiB at once a search takes half the time of 512 MiB, because
# the allocator reuses its blocks instead of asking for fresh pages in every step.
WORKING_SET = 32 * 2**20


class Status(IntEnum):
    """How the search from one start ended."""

    CONVERGED = 0
    """|g| <= atol + rtol |h|."""
    MAX_STEPS = 1
    """The budget of steps ran out: raise `max_steps`."""
    STALLED = 2
    """No progress for `patience` steps: often a slow point, or a cycle."""
    NONFINITE = 3
    """The state left the finite numbers: start elsewhere, or bound the steps."""


@dataclass(frozen=True, eq=False)
class Solution:
    """Where each search ended; residuals are those of the returned states."""

    states: States
    residual_norms: PerPoint
    status: Counts
    steps: Counts


@dataclass(frozen=True)
class Solver(ABC):
    """Finds zeros of g = F(h, x) - h, row by row.

    A subclass states `update`, and `start` where it carries memory from step to step.
    The loop, its budget, statuses and the removal of finished rows are supplied.

    Attributes:
        atol: absolute tolerance on |g|.
        rtol: tolerance on |g| relative to |h|.
        max_steps: budget of updates for each start.
        patience: updates without a better |g| (by 1 %) after which a row has stalled.
    """

    atol: float = 1e-12
    rtol: float = 1e-14
    max_steps: int = 300
    patience: int = 60

    def __post_init__(self) -> None:
        """Refuse settings no search can meet."""
        _checks.check_positive("atol", self.atol)
        _checks.check_positive("max_steps", self.max_steps)
        _checks.check_positive("patience", self.patience)

    @abstractmethod
    def update(
        self,
        dynamics: DynamicsMap,
        states: States,
        inputs: Inputs,
        residuals: States,
        memory: Memory,
    ) -> tuple[States, Memory]:
        """Improve every row once; a row that should stay may return its own state."""

    def start(self, states: States) -> Memory:
        """Memory (n, m) that rows carry from step to step; none by default."""
        return states.new_zeros(len(states), 0)

    def bytes_per_row(self, dynamics: DynamicsMap) -> int:
        """Working memory of one row; by default four Jacobians in float64."""
        return 4 * 8 * dynamics.state_dim**2

    @torch.no_grad()
    def solve(
        self,
        dynamics: DynamicsMap,
        initial_states: States,
        inputs: Inputs,
        *,
        show_progress: bool = False,
    ) -> Solution:
        """Search from every start; rows that finish leave the batch."""
        search = _Search(self, dynamics, initial_states, inputs)
        total = len(initial_states)
        bar: tqdm[Any]
        with tqdm(total=total, desc="Fixed points", disable=not show_progress) as bar:
            chunks = row_chunks(total, self.bytes_per_row(dynamics), WORKING_SET)
            for rows in chunks:
                search.run(torch.arange(rows.start, rows.stop), bar)
        return search.solution()


class _Search:
    """The rows of one call of `solve`, finished and unfinished."""

    def __init__(
        self, solver: Solver, dynamics: DynamicsMap, starts: States, inputs: Inputs
    ) -> None:
        self._solver = solver
        self._dynamics = dynamics
        self._inputs = inputs
        self._states = starts.clone()
        self._status = torch.full((len(starts),), int(Status.MAX_STEPS))
        self._steps = torch.zeros(len(starts), dtype=torch.long)

    def run(self, rows: torch.Tensor, bar: tqdm[Any]) -> None:
        """Search from the starts at `rows` until all of them have ended."""
        solver, dynamics = self._solver, self._dynamics
        rows = rows.to(self._states.device)
        states, inputs = self._states[rows], self._inputs[rows]
        memory = solver.start(states)
        best = states.new_full((len(rows),), torch.inf)
        last_gain = torch.zeros(len(rows), dtype=torch.long, device=states.device)
        for step in range(solver.max_steps + 1):
            residuals = dynamics.residual(states, inputs)
            norms = residuals.norm(dim=-1)
            gained = norms < 0.99 * best
            best = torch.where(gained, norms, best)
            last_gain = torch.where(gained, step, last_gain)
            ended = self._verdicts(states, norms, step - last_gain)
            finished = (ended != Status.MAX_STEPS) | (step == solver.max_steps)
            self._keep(rows, states, ended, step, finished)
            bar.update(int(finished.sum()))
            going = ~finished
            if not going.any():
                return
            rows, inputs, best = rows[going], inputs[going], best[going]
            last_gain = last_gain[going]
            states, memory = solver.update(
                dynamics, states[going], inputs, residuals[going], memory[going]
            )

    def solution(self) -> Solution:
        """All rows, with residuals recomputed at the states that are returned."""
        norms = self._dynamics.residual(self._states, self._inputs).norm(dim=-1)
        device = self._states.device
        status, steps = self._status.to(device), self._steps.to(device)
        return Solution(self._states, norms, status, steps)

    def _verdicts(
        self, states: States, norms: PerPoint, idle: torch.Tensor
    ) -> torch.Tensor:
        solver = self._solver
        sizes = states.norm(dim=-1)
        # No residual can be expected below the rounding of the map itself.
        rounding = 4 * torch.finfo(states.dtype).eps * (1 + sizes)
        converged = norms <= torch.maximum(solver.atol + solver.rtol * sizes, rounding)
        verdicts = torch.full_like(idle, int(Status.MAX_STEPS))
        verdicts[idle >= solver.patience] = int(Status.STALLED)
        verdicts[converged] = int(Status.CONVERGED)
        verdicts[~torch.isfinite(norms)] = int(Status.NONFINITE)
        return verdicts

    def _keep(
        self,
        rows: torch.Tensor,
        states: States,
        ended: torch.Tensor,
        step: int,
        finished: torch.Tensor,
    ) -> None:
        done = rows[finished]
        self._states[done] = states[finished]
        self._status[done.cpu()] = ended[finished].cpu()
        self._steps[done.cpu()] = step
