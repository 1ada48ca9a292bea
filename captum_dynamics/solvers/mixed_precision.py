"""Search in single precision, finish in double: the default."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch

from captum_dynamics import _linalg
from captum_dynamics._execution import row_chunks
from captum_dynamics._typing import Counts, Inputs, Mask, PerPoint, States
from captum_dynamics.dynamics import DynamicsMap
from captum_dynamics.merging import nearest_leaders
from captum_dynamics.solvers._base import IterativeSolver, Solution, Solver, Status
from captum_dynamics.solvers.dogleg import Dogleg
from captum_dynamics.solvers.levenberg_marquardt import LevenbergMarquardt

SAME = 1e-3  # distance below which searches in single precision have met one point
# Smallest singular value of J - I below which two points may lie that close together.
CLOSE_PAIR = 0.05


@dataclass(frozen=True)
class MixedPrecision(Solver):
    """Find candidates in float32, and polish one search of each in float64.

    Searches that met at one point share its polished state. Where the point is nearly
    degenerate, so that two may lie close together, each search is polished by itself;
    a search without a candidate goes on in float64 from where it is. A map that has
    no single precision (`traits.float32`) is searched in float64 from the start.

    Attributes:
        coarse: the search in float32; its tolerance is reachable there.
        fine: the search in float64, whose tolerance holds for the result.
        rescue: the search that goes on where `fine` ends without convergence, as at
            points where J - I is singular.

    Example:
        >>> import torch, captum_dynamics as cd
        >>> gru = cd.adapt(torch.nn.GRU(3, 8))
        >>> starts, none = torch.zeros(2, 8).double(), torch.zeros(2, 3).double()
        >>> solution = cd.solvers.MixedPrecision().solve(gru, starts, none)
        >>> bool((solution.residual_norms < 1e-12).all())
        True
    """

    coarse: IterativeSolver = field(
        default=Dogleg(atol=4e-5, rtol=0.0, max_steps=40, patience=8)
    )
    fine: IterativeSolver = field(default=Dogleg(max_steps=100))
    rescue: IterativeSolver = field(
        default=LevenbergMarquardt(max_steps=100, patience=20)
    )

    def tolerances(self, states: States) -> PerPoint:
        """Those of the looser of the searches in double precision."""
        tolerances = self.fine.tolerances(states), self.rescue.tolerances(states)
        return torch.maximum(*tolerances)

    def bytes_per_row(self, dynamics: DynamicsMap) -> int:
        """What the search in double precision needs."""
        return self.fine.bytes_per_row(dynamics)

    @torch.no_grad()
    def solve(
        self,
        dynamics: DynamicsMap,
        initial_states: States,
        inputs: Inputs,
        *,
        show_progress: bool = False,
    ) -> Solution:
        """Search, gather what met, polish, and give every search its own row."""
        if not (dynamics.traits.float32 and dynamics.traits.float64):
            return self._finish(dynamics, initial_states, inputs, show_progress)
        found = self.coarse.solve(
            dynamics,
            initial_states.float(),
            inputs.float(),
            show_progress=show_progress,
        )
        lost = (found.status == Status.NONFINITE)[:, None]
        states = torch.where(lost, initial_states, found.states.to(initial_states))
        met = found.status == Status.CONVERGED
        leaders = _leaders(dynamics, states, inputs, met)
        polished = self._polish(dynamics, states, inputs, leaders)
        # A point that moved away while it was polished stands for itself alone.
        strays = (polished.states - states).norm(dim=-1) > SAME
        rows = torch.arange(len(states), device=states.device)
        if bool((strays & (leaders != rows)).any()):
            leaders = torch.where(strays, rows, leaders)
            polished = self._polish(dynamics, states, inputs, leaders)
        return replace(polished, steps=found.steps + polished.steps)

    def _finish(
        self,
        dynamics: DynamicsMap,
        states: States,
        inputs: Inputs,
        show_progress: bool = False,
    ) -> Solution:
        """Search in double precision, and again where that fails."""
        found = self.fine.solve(dynamics, states, inputs, show_progress=show_progress)
        failed = torch.nonzero(found.status != Status.CONVERGED)[:, 0]
        if not len(failed):
            return found
        # What left the numbers begins anew.
        left = (found.status[failed] == Status.NONFINITE)[:, None]
        starts = torch.where(left, states[failed], found.states[failed])
        again = self.rescue.solve(dynamics, starts, inputs[failed])
        return Solution(
            found.states.index_copy(0, failed, again.states),
            found.residual_norms.index_copy(0, failed, again.residual_norms),
            found.status.index_copy(0, failed, again.status),
            found.steps.index_add(0, failed, again.steps),
        )

    def _polish(
        self, dynamics: DynamicsMap, states: States, inputs: Inputs, leaders: Counts
    ) -> Solution:
        """Polish every leader, and give each row the result of its own."""
        kept, row = torch.unique(leaders, return_inverse=True)
        done = self._finish(dynamics, states[kept], inputs[kept])
        return Solution(
            done.states[row],
            done.residual_norms[row],
            done.status[row],
            done.steps[row],
        )


def _leaders(
    dynamics: DynamicsMap, states: States, inputs: Inputs, met: Mask
) -> Counts:
    """For every search the row of the one that is polished for it."""
    leaders = torch.arange(len(states), device=states.device)
    rows = torch.nonzero(met)[:, 0]
    leaders[rows] = rows[nearest_leaders(states[rows], inputs[rows], SAME)]
    kept = torch.unique(leaders[rows])
    simple = torch.zeros_like(met)
    for chunk in row_chunks(len(kept), 4 * 8 * dynamics.state_dim**2):
        part = kept[chunk]
        slopes = dynamics.tangent(states[part], inputs[part]).jacobians()
        slopes.diagonal(dim1=-2, dim2=-1).sub_(1)
        simple[part] = _linalg.smallest_singular(slopes)[0] >= CLOSE_PAIR
    own = torch.arange(len(states), device=states.device)
    return torch.where(simple[leaders], leaders, own)
