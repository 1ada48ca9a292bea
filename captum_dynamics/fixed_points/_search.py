"""Searching fixed and slow points from many starts."""

from __future__ import annotations

import warnings
from concurrent.futures import Executor
from functools import partial

import torch

from captum_dynamics import _checks
from captum_dynamics._execution import BUDGET, run_units, work_units
from captum_dynamics._typing import GivenInputs, Inputs, OtherStates, States
from captum_dynamics.dynamics import DynamicsMap
from captum_dynamics.exceptions import ConvergenceWarning
from captum_dynamics.fixed_points._labels import fits_dense, label
from captum_dynamics.fixed_points._points import FixedPoints
from captum_dynamics.solvers import (
    Cascade,
    Iteration,
    LayerByLayer,
    MixedPrecision,
    NewtonKrylov,
    Reduced,
    Solver,
    Status,
)

Q_SLOW = 1e-5
# Measured: from this width on products with J cost less than to factorise it, also
# where they fail for some rows.
WIDE = 256


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
        solver: how to search; by default `MixedPrecision()`, from a width of 256 on
            with `NewtonKrylov` as its first search, and `NewtonKrylov()` alone where
            four Jacobians of one state do not fit `budget`; a map that is affine in its
            state, or in what is left of it at rest, is solved by `Reduced()` first, a
            stack of such by `LayerByLayer()`.
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
    if solver is None:
        solver = _default_solver(dynamics, budget)
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
    points = FixedPoints.concatenate(parts)
    if not points.converged.any():
        _warn_all_failed(points)
    return points


@torch.no_grad()
def find_slow_points(
    dynamics: DynamicsMap,
    initial_states: States,
    inputs: GivenInputs,
    *,
    solver: Solver | None = None,
    steps: int = 50,
    q_slow: float = Q_SLOW,
) -> FixedPoints:
    """Find states where the dynamics linger, near visited ones.

    By default visited states are relaxed for some steps: fast directions die out and
    the states lie on the slow manifold, where there is one. Minimising q to the end
    would move them off it, to its few true fixed points; with
    `solver=LevenbergMarquardt(atol=(2 * q) ** 0.5)` it stops at a speed q.

    Args:
        dynamics: the map.
        initial_states: visited states (n, d).
        inputs: constant input, (n, k) or (1, k).
        solver: how to slow down; by default `Iteration`, which relaxes.
        steps: steps of relaxation, where no solver is given.
        q_slow: speed below which a point counts as slow.

    Returns:
        One row a start; `kind` is SLOW where the speed allows it, and FIXED where |g|
        is within the tolerance of a fixed point. See `captum_dynamics.leading_modes`
        and `FixedPoints.speed` for how slow each is.

    Example:
        >>> import torch, captum_dynamics as cd
        >>> leak = cd.FunctionAdapter(lambda h, x: 0.999 * h, 1, 0)
        >>> points = cd.find_slow_points(leak, torch.ones(1, 1), torch.zeros(1, 0))
        >>> points.kind.tolist() == [cd.Kind.SLOW]
        True
    """
    _checks.check_positive("steps", steps)
    _checks.check_positive("q_slow", q_slow)
    starts, inputs = _checked(dynamics, initial_states, inputs)
    relaxation = Iteration(max_steps=steps, patience=steps + 1)
    solution = (solver or relaxation).solve(dynamics, starts, inputs)
    at_rest = solution.residual_norms <= relaxation.tolerances(solution.states)
    return label(dynamics, solution, inputs, q_slow, at_rest)


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


def _default_solver(dynamics: DynamicsMap, budget: int) -> Solver:
    parts = [section.dynamics for section in dynamics.sections]
    if parts and all(_is_affine_at_rest(part) for part in parts):
        return LayerByLayer()
    reduction = dynamics.reduction
    searched = dynamics if reduction is None else reduction.dynamics
    affine, small = _is_affine_at_rest(dynamics), searched.state_dim < WIDE
    if not fits_dense(dynamics.state_dim, budget):
        return Reduced() if affine else NewtonKrylov()
    general = MixedPrecision() if small else MixedPrecision.wide()
    # Where I - A is singular the points of a continuum, if any, are left to find.
    return Cascade(Reduced(), general) if affine else general


def _is_affine_at_rest(dynamics: DynamicsMap) -> bool:
    reduction = dynamics.reduction
    searched = dynamics if reduction is None else reduction.dynamics
    return searched.traits.affine_in_state


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
    return label(dynamics, solution, inputs, q_slow, solution.converged)


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
