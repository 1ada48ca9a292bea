"""Search in single precision, finish in double: the default."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from captum_dynamics import _linalg
from captum_dynamics._execution import row_chunks
from captum_dynamics._typing import Counts, Inputs, Mask, PerPoint, States
from captum_dynamics.dynamics import DynamicsMap
from captum_dynamics.merging import nearest_leaders
from captum_dynamics.solvers._base import Solution, Solver, Status
from captum_dynamics.solvers._chords import follow_chords
from captum_dynamics.solvers.cascade import Cascade
from captum_dynamics.solvers.dogleg import Dogleg
from captum_dynamics.solvers.krylov import NewtonKrylov
from captum_dynamics.solvers.levenberg_marquardt import LevenbergMarquardt

COARSE = 4e-5  # |g| that searches in single precision reach
CAREFUL = LevenbergMarquardt(atol=COARSE, rtol=0.0, max_steps=40, patience=5)
SAME = 1e-3  # distance below which searches in single precision have met one point
# Smallest singular value of J - I below which two points may lie that close together.
CLOSE_PAIR = 0.05
# Searches that met there, times the cube of their width, from which on one solve for
# all of them pays. Measured.
LEAST_WORK = 1.5e7
# |g|, in units of 1 + |h|, above which a search that stalled in single precision is at
# a minimum of |g| that is not zero.
HOPELESS = 1e-4


@dataclass(frozen=True)
class MixedPrecision(Solver):
    """Find candidates in float32, and polish one search of each in float64.

    Searches that met at one point share its polished state. Where the point is nearly
    degenerate, so that two may lie close together, each search ends at its own.
    A search without a candidate goes on in float64 from where it is, unless it stalled
    far from rest. A map that has no single precision (`traits.float32`) is searched in
    float64 from the start; one that has a `reduction` is searched there.

    Attributes:
        coarse: the search in float32; its tolerance is reachable there.
        fine: the search in float64, whose tolerance holds for the result.

    Example:
        >>> import torch, captum_dynamics as cd
        >>> gru = cd.adapt(torch.nn.GRU(3, 8))
        >>> starts, none = torch.zeros(2, 8).double(), torch.zeros(2, 3).double()
        >>> solution = cd.solvers.MixedPrecision().solve(gru, starts, none)
        >>> bool((solution.residual_norms < 1e-12).all())
        True
    """

    coarse: Solver = field(
        default=Cascade(
            Dogleg(atol=COARSE, rtol=0.0, max_steps=10, patience=5, radius=2.0),
            CAREFUL,
        )
    )
    fine: Solver = field(
        default=Cascade(
            Dogleg(max_steps=50, patience=10),
            LevenbergMarquardt(max_steps=60, patience=10),
        )
    )

    @classmethod
    def wide(cls) -> MixedPrecision:
        """For wide maps: Newton's direction by products first, where they suffice."""
        products = NewtonKrylov(
            atol=COARSE, rtol=0.0, max_steps=15, patience=5, radius=2.0
        )
        return cls(coarse=Cascade(products, CAREFUL))

    def tolerances(self, states: States) -> PerPoint:
        """Those of the search in double precision."""
        return self.fine.tolerances(states)

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
        reduction = dynamics.reduction
        if reduction is None:
            return self._search(dynamics, initial_states, inputs, show_progress)
        small = self._search(
            reduction.dynamics,
            reduction.restrict(initial_states),
            inputs,
            show_progress,
        )
        lifted = reduction.lift(small.states, inputs)
        leaders = nearest_leaders(lifted, inputs, 0.0)
        found = small.status == Status.CONVERGED
        return self._polish(dynamics, lifted, inputs, leaders, found, small)

    def _search(
        self,
        dynamics: DynamicsMap,
        initial_states: States,
        inputs: Inputs,
        show_progress: bool,
    ) -> Solution:
        if not (dynamics.traits.float32 and dynamics.traits.float64):
            return self.fine.solve(
                dynamics, initial_states, inputs, show_progress=show_progress
            )
        found = self.coarse.solve(
            dynamics,
            initial_states.float(),
            inputs.float(),
            show_progress=show_progress,
        )
        lost = (found.status == Status.NONFINITE)[:, None]
        states = torch.where(lost, initial_states, found.states.to(initial_states))
        met = found.status == Status.CONVERGED
        far = found.residual_norms > HOPELESS * (1 + found.states.norm(dim=-1))
        worthwhile = ~((found.status == Status.STALLED) & far)
        own = torch.arange(len(states), device=states.device)
        groups, crowded = _groups(dynamics, states, inputs, met)
        states = self._gather(dynamics, states, inputs, groups, crowded)
        leaders = torch.where(crowded, own, groups)
        polished = self._polish(dynamics, states, inputs, leaders, worthwhile, found)
        # A point that moved away while it was polished stands for itself alone.
        strays = met & ((polished.states - states).norm(dim=-1) > SAME)
        if not bool((strays & (leaders != own)).any()):
            return polished
        leaders = torch.where(strays, own, leaders)
        return self._polish(dynamics, states, inputs, leaders, worthwhile, found)

    def _gather(
        self,
        dynamics: DynamicsMap,
        states: States,
        inputs: Inputs,
        groups: Counts,
        crowded: Mask,
    ) -> States:
        """Bring searches that met a nearly degenerate point close to where each ends.

        A polish takes one solve a step; the chord method takes one for all searches
        that met, and each still ends at its own point. What it does not bring to rest
        stays where it was, to be polished by itself.
        """
        members = torch.bincount(groups[crowded], minlength=len(states))
        work = members * float(dynamics.state_dim) ** 3
        heads = torch.nonzero(work >= LEAST_WORK)[:, 0]
        if not len(heads):
            return states
        done = self.fine.solve(dynamics, states[heads], inputs[heads])
        heads = heads[done.converged]
        states = states.index_copy(0, heads, done.states[done.converged])
        for head in heads.tolist():
            rows = torch.nonzero(crowded & (groups == head))[:, 0]
            ends, rest = follow_chords(
                dynamics, states[head], inputs[head], states[rows], self.fine
            )
            near = (ends - states[rows]).norm(dim=-1) < 10 * SAME
            states[rows] = torch.where((rest & near)[:, None], ends, states[rows])
        return states

    def _polish(
        self,
        dynamics: DynamicsMap,
        states: States,
        inputs: Inputs,
        leaders: Counts,
        worthwhile: Mask,
        before: Solution,
    ) -> Solution:
        """Go on in double precision from every leader that is worth it.

        Each row gets the result of its leader; the others stay where they are.
        """
        kept, row = torch.unique(leaders[worthwhile], return_inverse=True)
        done = self.fine.solve(dynamics, states[kept], inputs[kept])
        rest = dynamics.residual(states, inputs).norm(dim=-1)
        rows = torch.nonzero(worthwhile)[:, 0]
        return Solution(
            states.index_copy(0, rows, done.states[row]),
            rest.index_copy(0, rows, done.residual_norms[row]),
            before.status.index_copy(0, rows, done.status[row]),
            before.steps.index_add(0, rows, done.steps[row]),
        )


def _groups(
    dynamics: DynamicsMap, states: States, inputs: Inputs, met: Mask
) -> tuple[Counts, Mask]:
    """Row of the search that leads each group of those that met, its own if none.

    Also, whether it is a crowded one: near a point so degenerate that there may be two.
    """
    groups = torch.arange(len(states), device=states.device)
    rows = torch.nonzero(met)[:, 0]
    groups[rows] = rows[nearest_leaders(states[rows], inputs[rows], SAME)]
    kept = torch.unique(groups[rows])
    crowded = torch.zeros_like(met)
    for chunk in row_chunks(len(kept), 4 * 8 * dynamics.state_dim**2):
        part = kept[chunk]
        slopes = dynamics.tangent(states[part], inputs[part]).jacobians()
        slopes.diagonal(dim1=-2, dim2=-1).sub_(1)
        crowded[part] = ~(_linalg.smallest_singular(slopes)[0] >= CLOSE_PAIR)
    return groups, crowded[groups]
