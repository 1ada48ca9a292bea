"""Searching fixed and slow points, labelling what was found, merging what is one."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, fields, replace
from enum import IntEnum
from functools import partial

import torch
from torch import Tensor

from captum_dynamics import _checks, _linalg
from captum_dynamics._execution import BUDGET, row_chunks, run_units, work_units
from captum_dynamics._typing import (
    Counts,
    GivenInputs,
    Inputs,
    Mask,
    OtherStates,
    PerPoint,
    States,
)
from captum_dynamics.dynamics import DynamicsMap
from captum_dynamics.exceptions import ConvergenceWarning
from captum_dynamics.merging import connected_groups, nearest_leaders
from captum_dynamics.solvers import (
    Iteration,
    MixedPrecision,
    Solution,
    Solver,
    Status,
)

Q_SLOW = 1e-5
DEGENERATE_SINGULAR_VALUE = 1e-4
DEGENERATE_RADIUS = 1e-2
UNGATED_TOLERANCE = 1e-6
SAME_SLOPES = 1e-8


class Kind(IntEnum):
    """What a returned state is."""

    FIXED = 0
    """|g| within the solver's tolerance, and not by saturated gates alone."""
    SLOW = 1
    """Not fixed, but its speed q is below `q_slow`."""
    UNCONVERGED = 2
    """Neither fixed nor slow."""
    SPURIOUS = 3
    """|g| is tiny only because gates saturate, or outside the invariant box."""


@dataclass(frozen=True, eq=False)
class FixedPoints:
    """Where the searches ended: nothing is dropped, `kind` and `status` tell.

    Attributes:
        states: (n, d), in float64.
        inputs: (n, k), the constant input of each search.
        residual_norms: |F(h, x) - h| (n,), recomputed at `states`.
        status: (n,) how each search ended, a `Status`.
        kind: (n,) what each state is, a `Kind`.
        steps: (n,) updates used.
        multiplicity: (n,) searches that ended here; 1 until `unique()`.
        merge_radii: (n,) distance within which two points are one. For a fixed point
            it is twice the error bound |(J - I)^-1| max(|g|, 64 eps (1 + |h|)).
        degenerate: (n,) whether J - I is singular to 1e-4, so that the point may be
            one of a continuum; such points merge with every neighbour within 1e-2, and
            a continuum that is sampled so densely becomes one point.
    """

    states: States
    inputs: Inputs
    residual_norms: PerPoint
    status: Counts
    kind: Counts
    steps: Counts
    multiplicity: Counts
    merge_radii: PerPoint
    degenerate: Mask

    def __len__(self) -> int:
        """Number of points."""
        return self.states.shape[0]

    def __getitem__(self, selection: Tensor | slice) -> FixedPoints:
        """Select points by mask, indices or slice."""
        if not isinstance(selection, (Tensor, slice)):
            raise TypeError(
                f"Expected a mask, a tensor of indices or a slice, got "
                f"{type(selection).__name__}."
            )
        return FixedPoints(*(value[selection] for value in self._values()))

    @property
    def speed(self) -> PerPoint:
        """q = 1/2 |g|^2."""
        return 0.5 * self.residual_norms**2

    @property
    def speed_per_unit(self) -> PerPoint:
        """(1/d) |g|^2, the criterion of Maheswaranathan et al. (2019)."""
        return self.residual_norms**2 / self.states.shape[1]

    @property
    def converged(self) -> Mask:
        """Rows whose search met the solver's tolerance."""
        return self.status == Status.CONVERGED

    def unique(self) -> FixedPoints:
        """Merge points closer than their radii; each keeps its smallest residual.

        Only points with the same input and of the same kind merge. The result does
        not depend on the order of rows, and merging twice changes nothing.
        """
        same = torch.cat([self.inputs, self.kind[:, None].to(self.inputs)], dim=1)
        # Most searches end at states that others ended at exactly.
        leaders = nearest_leaders(self.states, same, 0.0)
        kept, row = torch.unique(leaders, return_inverse=True)
        groups = connected_groups(
            self.states[kept], self.merge_radii[kept], same[kept]
        )[row]
        # By residual within each group; the first of a group is its best.
        # Equal residuals are told apart by the states, whatever the order of rows.
        ranks = torch.unique(self.states, dim=0, return_inverse=True)[1]
        order = torch.argsort(ranks, stable=True)
        order = order[torch.argsort(self.residual_norms[order], stable=True)]
        order = order[torch.argsort(groups[order], stable=True)]
        starts = torch.ones_like(order, dtype=torch.bool)
        starts[1:] = groups[order][1:] != groups[order][:-1]
        best = order[starts]
        counts = self.multiplicity.new_zeros(len(best))
        counts = counts.index_add(0, groups, self.multiplicity)
        return replace(self[best], multiplicity=counts)

    def summary(self) -> str:
        """Count points by kind in one line."""
        counts = {kind: int((self.kind == kind).sum()) for kind in Kind}
        named = (f"{count} {kind.name.lower()}" for kind, count in counts.items())
        return f"{len(self)} points: {', '.join(named)}"

    def _values(self) -> tuple[Tensor, ...]:
        return tuple(getattr(self, field.name) for field in fields(self))


@torch.no_grad()
def find_fixed_points(
    dynamics: DynamicsMap,
    initial_states: States,
    inputs: GivenInputs,
    *,
    solver: Solver | None = None,
    extra_starts: int = 0,
    q_slow: float = Q_SLOW,
    generator: torch.Generator | None = None,
    executor: Executor | None = None,
    budget: int = BUDGET,
    show_progress: bool = False,
) -> FixedPoints:
    """Find fixed points of F(., x) from many starts.

    Every start gives one row, in order; call `.unique()` for the distinct points. A
    finite search proves nothing about points it did not meet.

    Args:
        dynamics: the map.
        initial_states: starts (n, d), usually `runs.sample_states(512)`.
        inputs: constant input of each search, (n, k), or (1, k) for all.
        solver: how to search; by default `MixedPrecision()`.
        extra_starts: further starts drawn from the given ones: three quarters are
            mixtures of two to four of them, one quarter is uniform in their box.
        q_slow: speed 1/2 |g|^2 below which a point that is not fixed counts as slow.
        generator: source of randomness for `extra_starts`.
        executor: workers that share the starts: any `concurrent.futures.Executor`, of
            threads, spawned processes or a dask cluster. How starts are cut depends on
            their number and `budget` alone, so that results are the same without one.
        budget: bytes that the search may hold at once, on each worker.
        show_progress: show a progress bar over starts, or over units of work.

    Returns:
        One row a start, in float64, with residuals recomputed at the states.

    Raises:
        ValueError: no start, or shapes, devices or values that do not fit.
        TypeError: an `executor` that is none, or work its processes cannot be sent.

    Warns:
        ConvergenceWarning: when no search at all converged.
        ExecutionWarning: when workers died and their share was done here.

    References:
        Sussillo and Barak (2013), Opening the black box, Neural Computation 25(3).

    Example:
        >>> import torch, captum_dynamics as cd
        >>> dynamics = cd.adapt(torch.nn.GRU(3, 8))
        >>> starts = torch.rand(16, 8, generator=torch.Generator().manual_seed(0))
        >>> points = cd.find_fixed_points(dynamics, starts, torch.zeros(1, 3))
        >>> points.unique().summary()
        '1 points: 1 fixed, 0 slow, 0 unconverged, 0 spurious'
    """
    _checks.check_positive("q_slow", q_slow)
    _checks.check_positive("budget", budget)
    _checks.check_not_negative("extra_starts", extra_starts)
    _checks.check_executor("executor", executor)
    starts, inputs = _checked(dynamics, initial_states, inputs)
    if extra_starts:
        mixed = mix_states(starts, extra_starts, generator=generator)
        donors = torch.arange(extra_starts, device=starts.device) % len(starts)
        starts, inputs = torch.cat([starts, mixed]), torch.cat([inputs, inputs[donors]])
    solver = MixedPrecision() if solver is None else solver
    units = work_units(len(starts), solver.bytes_per_row(dynamics), budget)
    alone = len(units) == 1 and executor is None
    search = partial(_search, dynamics, solver, q_slow, show_progress and alone)
    parts = run_units(
        search,
        [(starts[rows], inputs[rows]) for rows in units],
        executor,
        show=show_progress and not alone,
        desc="Fixed points",
    )
    points = _join(parts)
    if not points.converged.any():
        _warn_all_failed(points)
    return points


@torch.no_grad()
def find_slow_points(
    dynamics: DynamicsMap,
    initial_states: States,
    inputs: GivenInputs,
    *,
    steps: int = 50,
    q_slow: float = Q_SLOW,
) -> FixedPoints:
    """Relax visited states for some steps, and keep where they are then.

    Fast directions die out and the states lie on the slow manifold, where there is
    one. Minimising q to the end would move them off it, to its few true fixed points.

    Args:
        dynamics: the map.
        initial_states: visited states (n, d).
        inputs: constant input, (n, k) or (1, k).
        steps: steps of relaxation.
        q_slow: speed below which a point counts as slow.

    Returns:
        One row a start; `kind` is SLOW where the speed allows it.

    Example:
        >>> import torch, captum_dynamics as cd
        >>> leak = cd.FunctionAdapter(lambda h, x: 0.999 * h, 1, 0)
        >>> points = cd.find_slow_points(leak, torch.ones(1, 1), torch.zeros(1, 0))
        >>> points.kind.tolist() == [cd.Kind.SLOW]
        True
    """
    _checks.check_positive("steps", steps)
    starts, inputs = _checked(dynamics, initial_states, inputs)
    relaxation = Iteration(max_steps=steps, patience=steps + 1)
    return _label(dynamics, relaxation.solve(dynamics, starts, inputs), inputs, q_slow)


def mix_states(
    states: States, count: int, *, generator: torch.Generator | None = None
) -> OtherStates:
    """Draw starts: 3/4 mixtures of two to four given states, 1/4 in their box."""
    mixtures = count - count // 4
    picks = torch.randint(len(states), (mixtures, 4), generator=generator)
    # Exponential draws, in double: their shares of the sum are uniform on a simplex.
    draws = torch.rand(mixtures, 4, generator=generator).to(states)
    weights = draws.clamp_min(torch.finfo(states.dtype).tiny).log().neg()
    used = torch.randint(2, 5, (mixtures, 1), generator=generator)
    weights = torch.where((torch.arange(4) < used).to(weights.device), weights, 0.0)
    weights = weights / weights.sum(1, keepdim=True)
    mixed = (weights[..., None] * states[picks.to(states.device)]).sum(1)
    low, high = states.min(0).values, states.max(0).values
    shape = (count - mixtures, states.shape[1])
    boxed = low + (high - low) * torch.rand(shape, generator=generator).to(states)
    return torch.cat([mixed, boxed])


def _checked(
    dynamics: DynamicsMap, initial_states: States, inputs: GivenInputs
) -> tuple[States, Inputs]:
    starts, inputs = dynamics.check(initial_states, inputs, "initial_states")
    _checks.check_rows("initial_states", starts)
    return starts.detach().to(dynamics.dtype), inputs.detach().to(dynamics.dtype)


@torch.no_grad()  # grad mode belongs to a thread, and this may run in another one
def _search(
    dynamics: DynamicsMap,
    solver: Solver,
    q_slow: float,
    show_progress: bool,
    starts: States,
    inputs: Inputs,
) -> FixedPoints:
    solution = solver.solve(dynamics, starts, inputs, show_progress=show_progress)
    return _label(dynamics, solution, inputs, q_slow)


def _join(parts: Sequence[FixedPoints]) -> FixedPoints:
    columns = zip(*(part._values() for part in parts), strict=True)
    return FixedPoints(*(torch.cat(column) for column in columns))


def _label(
    dynamics: DynamicsMap, solution: Solution, inputs: Inputs, q_slow: float
) -> FixedPoints:
    states, norms = solution.states, solution.residual_norms
    kind = torch.full_like(solution.status, int(Kind.UNCONVERGED))
    kind[0.5 * norms**2 < q_slow] = int(Kind.SLOW)
    kind[solution.status == Status.CONVERGED] = int(Kind.FIXED)
    hidden = _outside_box(dynamics, states, inputs) | _gated(dynamics, states, inputs)
    kind[hidden & (kind != Kind.UNCONVERGED)] = int(Kind.SPURIOUS)
    radii, degenerate = _merge_radii(dynamics, solution, inputs, kind == Kind.FIXED)
    ones = torch.ones_like(solution.steps)
    return FixedPoints(
        states,
        inputs.clone(),
        norms,
        solution.status,
        kind,
        solution.steps,
        ones,
        radii,
        degenerate,
    )


def _outside_box(dynamics: DynamicsMap, states: States, inputs: Inputs) -> Mask:
    box = dynamics.invariant_box(inputs)
    if box is None:
        return torch.zeros(len(states), dtype=torch.bool, device=states.device)
    low, high = box
    slack = UNGATED_TOLERANCE * (1 + high.abs())
    return ((states < low - slack) | (states > high + slack)).any(-1)


def _gated(dynamics: DynamicsMap, states: States, inputs: Inputs) -> Mask:
    """Points at rest only through saturated gates.

    1 - z below 1e-6 hides an ungated residual of 1e-6 from a tolerance of 1e-12.
    Slow points are compared with their own residual by the same factor.
    """
    ungated = dynamics.ungated_residual(states, inputs).norm(dim=-1)
    gated = dynamics.residual(states, inputs).norm(dim=-1)
    allowed = torch.maximum(gated * 1e6, UNGATED_TOLERANCE * (1 + states.norm(dim=-1)))
    hidden: Mask = ungated > allowed
    return hidden


def _merge_radii(
    dynamics: DynamicsMap, solution: Solution, inputs: Inputs, fixed: Mask
) -> tuple[PerPoint, Mask]:
    """Error-based merge radii of fixed points; others merge only when identical."""
    states, norms = solution.states, solution.residual_norms
    rounding = 64 * torch.finfo(states.dtype).eps * (1 + states.norm(dim=-1))
    smallest = torch.full_like(norms, torch.inf)
    rows = torch.nonzero(fixed)[:, 0]
    # Among states this close J - I is the same to many more digits than are needed.
    leaders = rows[nearest_leaders(states[rows], inputs[rows], SAME_SLOPES)]
    kept = torch.unique(leaders)
    for chunk in row_chunks(len(kept), 4 * 8 * dynamics.state_dim**2):
        part = kept[chunk]
        slopes = dynamics.tangent(states[part], inputs[part]).jacobians()
        slopes.diagonal(dim1=-2, dim2=-1).sub_(1)
        smallest[part] = _linalg.smallest_singular(slopes)[0]
    smallest[rows] = smallest[leaders]
    degenerate = smallest < DEGENERATE_SINGULAR_VALUE
    simple = 2 * torch.maximum(norms, rounding) / smallest
    radii = torch.where(fixed, torch.maximum(simple, rounding), rounding)
    return torch.where(degenerate, DEGENERATE_RADIUS, radii), degenerate


def _warn_all_failed(points: FixedPoints) -> None:
    statuses = {s.name: int((points.status == s).sum()) for s in Status}
    counts = ", ".join(f"{n} {name}" for name, n in statuses.items() if n)
    smallest = float(points.residual_norms.nan_to_num(torch.inf).min())
    warnings.warn(
        f"None of {len(points)} searches converged ({counts}; smallest |g| = "
        f"{smallest:.1e}). The rows are returned with their status: try more or other "
        f"`initial_states`, a larger `max_steps`, or `find_slow_points`.",
        ConvergenceWarning,
        stacklevel=3,
    )
