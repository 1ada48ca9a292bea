"""What a solver is, and the one loop they share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import torch
from torch.linalg import vector_norm
from tqdm import tqdm

from captum_dynamics import _checks
from captum_dynamics._execution import row_chunks
from captum_dynamics._typing import Counts, Inputs, Mask, Memory, PerPoint, States
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

    @property
    def converged(self) -> Mask:
        """Searches that met their tolerance."""
        return self.status == Status.CONVERGED


class Solver(ABC):
    """Finds zeros of g = F(h, x) - h, row by row."""

    @abstractmethod
    def solve(
        self,
        dynamics: DynamicsMap,
        initial_states: States,
        inputs: Inputs,
        *,
        show_progress: bool = False,
    ) -> Solution:
        """Search from every start, in the dtype of the starts."""

    @abstractmethod
    def tolerances(self, states: States) -> PerPoint:
        """Largest |g| (n,) with which a search may call itself converged."""

    @abstractmethod
    def bytes_per_row(self, dynamics: DynamicsMap) -> int:
        """Working memory of one row."""


@dataclass(frozen=True)
class IterativeSolver(Solver):
    """A solver that improves its states step by step.

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
    ) -> tuple[States, States, Memory]:
        """Improve every row once: new states, their residuals, and new memory.

        A row that should stay may return its own state.
        """

    def start(self, states: States) -> Memory:
        """Memory (n, m) that rows carry from step to step; none by default."""
        return states.new_zeros(len(states), 0)

    def tolerances(self, states: States) -> PerPoint:
        """atol + rtol |h|, but no less than the rounding of the map itself."""
        sizes = vector_norm(states, dim=-1)
        rounding = 4 * torch.finfo(states.dtype).eps * (1 + sizes)
        return torch.maximum(self.atol + self.rtol * sizes, rounding)

    def bytes_per_row(self, dynamics: DynamicsMap) -> int:
        """Four Jacobians in float64."""
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
            for rows in row_chunks(total, self.bytes_per_row(dynamics), WORKING_SET):
                search.run(rows, bar)
        return search.solution()


def into_box(states: States, dynamics: DynamicsMap, inputs: Inputs) -> States:
    """Move states into the box that the map maps into itself, where it is known."""
    box = dynamics.invariant_box(inputs)
    return states if box is None else states.clamp(*box)


class _Search:
    """The rows of one call of `solve`, finished and unfinished."""

    def __init__(
        self, solver: IterativeSolver, dynamics: DynamicsMap, starts: States, x: Inputs
    ) -> None:
        self._solver = solver
        self._dynamics = dynamics
        self._inputs = x
        self._states = starts.clone()
        self._steps = torch.zeros(len(starts), dtype=torch.long, device=starts.device)
        self._status = torch.full_like(self._steps, int(Status.MAX_STEPS))

    def run(self, part: slice, bar: tqdm[Any]) -> None:
        """Search from some of the starts until all of them have ended."""
        solver, dynamics = self._solver, self._dynamics
        states, inputs = self._states[part], self._inputs[part]
        rows = torch.arange(part.start, part.stop, device=states.device)
        residuals, memory = dynamics.residual(states, inputs), solver.start(states)
        best = states.new_full((len(rows),), torch.inf)
        idle = torch.zeros_like(rows)
        for step in range(solver.max_steps + 1):
            norms = vector_norm(residuals, dim=-1)
            idle = (idle + 1).masked_fill_(norms < 0.99 * best, 0)
            best = torch.minimum(best, norms)
            ended = self._verdicts(states, norms, idle)
            finished = ended != Status.MAX_STEPS
            if step == solver.max_steps:
                finished.fill_(True)
            done = int(finished.sum())
            if done:
                self._keep(rows[finished], states[finished], ended[finished], step)
                bar.update(done)
                if done == len(rows):
                    return
                going = torch.nonzero(~finished)[:, 0]
                rows, states, inputs, residuals, memory, best, idle = (
                    column.index_select(0, going)
                    for column in (rows, states, inputs, residuals, memory, best, idle)
                )
            states, residuals, memory = solver.update(
                dynamics, states, inputs, residuals, memory
            )

    def solution(self) -> Solution:
        """All rows, with residuals recomputed at the states that are returned."""
        norms = self._dynamics.residual(self._states, self._inputs).norm(dim=-1)
        return Solution(self._states, norms, self._status, self._steps)

    def _verdicts(self, states: States, norms: PerPoint, idle: Counts) -> Counts:
        solver = self._solver
        verdicts = torch.full_like(idle, int(Status.MAX_STEPS))
        verdicts.masked_fill_(idle >= solver.patience, int(Status.STALLED))
        converged = norms <= solver.tolerances(states)
        verdicts.masked_fill_(converged, int(Status.CONVERGED))
        # Not below infinity, or no number.
        return verdicts.masked_fill_(~(norms < torch.inf), int(Status.NONFINITE))

    def _keep(self, rows: Counts, states: States, ended: Counts, step: int) -> None:
        self._states[rows] = states
        self._status[rows] = ended
        self._steps[rows] = step
