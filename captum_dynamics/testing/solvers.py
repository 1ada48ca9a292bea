"""What every solver must prove: it says the truth about where its searches ended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from captum_dynamics._typing import Inputs, States
from captum_dynamics.adapters import FunctionAdapter
from captum_dynamics.solvers import Solver, Status
from captum_dynamics.testing._known import KnownSystem
from captum_dynamics.testing.report import CheckReport, CheckRow
from captum_dynamics.testing.systems import all_systems

STARTS = 24
NEARBY = 0.94  # share of an attractor at which the search for it starts
ACCURACY = 1e-5
# Where a multiplier is 1 the residual vanishes with the cube of the distance.
DEGENERATE_ACCURACY = 1e-2


def check_solver(
    solver: Solver, systems: Sequence[KnownSystem] | None = None
) -> CheckReport:
    """Run a solver on known systems and compare what it claims with the answers.

    A solver need not find every point, nor converge from every start; where it says
    that it converged, there must be a fixed point. Nothing is raised: an error is a
    claim that failed, with its message.

    Args:
        solver: the solver, with the settings to be checked.
        systems: what it is made for, all systems by default. The first of them must
            have an attractor.

    Returns:
        A report; `passed` says whether all claims hold, `table()` which do not.

    Example:
        >>> import captum_dynamics as cd
        >>> check_solver(cd.solvers.LevenbergMarquardt()).passed
        True
    """
    systems = all_systems() if systems is None else systems
    rows: list[CheckRow] = []
    for system in systems:
        try:
            rows += _truthful(solver, system)
        except Exception as error:
            note = f"{type(error).__name__}: {error}"
            rows.append(CheckRow(f"{system.name}: no error", float("nan"), 0, note))
    for claims in (_finds_attractors, _keeps_rows_apart):
        try:
            rows += claims(solver, systems[0])
        except Exception as error:
            note = f"{type(error).__name__}: {error}"
            rows.append(CheckRow(f"{claims.__name__}", float("nan"), 0, note))
    return CheckReport(type(solver).__name__, (*rows,))


def _truthful(solver: Solver, system: KnownSystem) -> Iterator[CheckRow]:
    starts, inputs = _starts(system)
    kept = starts.clone()
    solution = solver.solve(system.dynamics, starts, inputs)
    yield CheckRow(
        f"{system.name}: starts not mutated", _largest((starts - kept).abs()), 0.0
    )
    norms = system.dynamics.residual(solution.states, inputs).norm(dim=-1)
    gap = _largest((norms - solution.residual_norms).nan_to_num(0.0).abs())
    yield CheckRow(f"{system.name}: residuals of the returned states", gap, 1e-15)
    converged = solution.status == Status.CONVERGED
    allowed = solver.tolerances(solution.states[converged])
    excess = _largest(norms[converged] / allowed)
    yield CheckRow(f"{system.name}: converged is within tolerance", excess, 1.0)
    singular = (system.indices == 0).any() and system.nearest is None
    limit = DEGENERATE_ACCURACY if bool(singular) else _accuracy(solver)
    error = _largest(system.distances(solution.states[converged]))
    yield CheckRow(f"{system.name}: converged at fixed points", error, limit)


def _finds_attractors(solver: Solver, system: KnownSystem) -> Iterator[CheckRow]:
    attractors = system.states[system.unstable_dims == 0]
    inputs = system.inputs.expand(len(attractors), -1)
    solution = solver.solve(system.dynamics, NEARBY * attractors, inputs)
    error = _largest((solution.states - attractors).abs())
    yield CheckRow("attractors are found from nearby", error, _accuracy(solver))


def _keeps_rows_apart(solver: Solver, system: KnownSystem) -> Iterator[CheckRow]:
    """Among the starts is one from which every step is NaN."""
    known = system.dynamics
    dynamics = FunctionAdapter(
        lambda h, x: torch.where((h > 5).any(1, True), torch.nan, known.step(h, x)),
        known.state_dim,
        known.input_dim,
    )
    near = NEARBY * system.states[system.unstable_dims == 0]
    starts = torch.stack([near[0], 9 + 0 * near[0], near[-1]])
    inputs = system.inputs.expand(3, -1)
    together = solver.solve(dynamics, starts, inputs)
    wrong = int(together.status[1] != Status.NONFINITE)
    yield CheckRow("a start that diverges is NONFINITE", wrong, 0)
    for row in (0, 2):
        alone = solver.solve(dynamics, starts[[row]], inputs[[row]])
        gap = _largest((alone.states - together.states[[row]]).abs())
        yield CheckRow(f"row {row} is the same alone", gap, 1e-10)


def _accuracy(solver: Solver) -> float:
    # |(J - I)^-1| is at most 50 at the simple points of the known systems.
    tolerance = solver.tolerances(torch.zeros(1, 1, dtype=torch.float64))
    return max(ACCURACY, 50 * float(tolerance))


def _starts(system: KnownSystem) -> tuple[States, Inputs]:
    generator = torch.Generator().manual_seed(0)
    starts = system.sample_starts(STARTS, generator=generator)
    return starts, system.inputs.expand(STARTS, -1)


def _largest(values: torch.Tensor) -> float:
    return float(values.max()) if values.numel() else 0.0
