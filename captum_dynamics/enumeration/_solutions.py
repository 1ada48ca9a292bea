"""All solutions of u = M relu(u) + e: the regions that a tree leaves, one by one."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.optimize import linprog
from torch import Tensor
from tqdm import tqdm

from captum_dynamics import _linalg
from captum_dynamics._execution import row_chunks
from captum_dynamics.enumeration._regions import Patterns, Tree
from captum_dynamics.enumeration._units import UnitEquation, Units

Singular = Bool[Tensor, "q m"]  # patterns of regions with a multiplier of 1
Vector = Float[np.ndarray, " m"]
Matrix = Float[np.ndarray, "m m"]

# Relative size of the smallest singular value below which a matrix counts as singular.
SINGULAR = 1e-9
# Relative error up to which a point counts as a solution of singular equations.
SOLVED = 1e-12
# Accuracy of the linear programs, the best that their solver offers, and its code for
# constraints that exclude each other.
FEASIBLE = 1e-10
UNSOLVABLE = 2
# A singular region costs a linear program of milliseconds. More of them than this are
# a property of the map, such as a recurrent matrix that is the identity.
MOST_SINGULAR = 1000


def all_solutions(equation: UnitEquation, *, show_progress: bool) -> Units:
    """Every solution; of each continuum within a region one point.

    A solution on the border of regions is found in each of them.
    """
    weights, offsets = equation.weights, equation.offsets
    units = len(offsets)
    if not units:
        return offsets.new_zeros(1, 0)
    found, singular = [offsets.new_zeros(0, units)], 0
    with tqdm(total=2**units, desc="Regions", disable=not show_progress) as bar:
        for patterns, decided in Tree(weights, offsets).survivors():
            for rows in row_chunks(len(patterns), 4 * 8 * units**2):
                simple, doubtful = _solve(equation, patterns[rows])
                singular += len(doubtful)
                if singular > MOST_SINGULAR:
                    raise _too_degenerate(singular)
                points = [_point_inside(equation, on) for on in doubtful]
                found += [simple, *(p[None] for p in points if p is not None)]
            bar.update(decided - bar.n)
    return torch.cat(found)


def _solve(equation: UnitEquation, on: Patterns) -> tuple[Units, Singular]:
    """Solutions in the given regions, and the regions where I - M D is singular."""
    matrices, signs = _systems(equation, on)
    offsets = equation.offsets.expand(len(on), -1)
    units = _linalg.solve(matrices, offsets)
    sizes = torch.linalg.svdvals(matrices)
    largest, smallest = sizes[:, 0], sizes[:, -1]
    residuals = (matrices @ units[..., None])[..., 0] - offsets
    rounding = offsets.shape[1] * torch.finfo(offsets.dtype).eps
    errors = residuals.norm(dim=1) + rounding * (largest * units.norm(dim=1))
    regular = torch.isfinite(errors) & (smallest > SINGULAR * largest)
    # On a border a unit is zero but for its error: it belongs to both sides.
    inside = (signs * units <= 2 * (errors / smallest)[:, None]).all(1)
    return units[regular & inside], on[~regular]


def _point_inside(equation: UnitEquation, on: Tensor) -> Tensor | None:
    """A solution in one region whose equations are singular, or None without one."""
    matrices, signs = _systems(equation, on[None])
    matrix, sides = matrices[0].cpu().numpy(), signs[0].cpu().numpy()
    offsets = equation.offsets.cpu().numpy()
    depth, deepest = _deepest(matrix, offsets, sides)
    if depth < -FEASIBLE:
        return None
    # What the program leaves of the equations is taken away with the least change.
    rest = np.linalg.lstsq(matrix, offsets - matrix @ deepest, rcond=SINGULAR)[0]
    # Singular but for rounding, a region may yet hold a single point of its own.
    single = _linalg.solve(matrices, equation.offsets[None])[0]
    for units in (deepest + rest, single.cpu().numpy()):
        errors = np.abs(matrix @ units - offsets).max(), (sides * units).max()
        if max(errors) <= SOLVED * (1 + np.abs(units).max()):  # False for NaN
            return torch.from_numpy(units).to(equation.offsets)
    raise _undecided()


def _deepest(matrix: Matrix, offsets: Vector, sides: Vector) -> tuple[float, Vector]:
    """Largest depth t <= 1 with s u <= -t, solved by linear programming, and its u."""
    ones = np.ones((len(sides), 1))
    program = linprog(
        [*np.zeros(len(sides)), -1.0],
        A_ub=np.hstack([np.diag(sides), ones]),
        b_ub=np.zeros(len(sides)),
        A_eq=np.hstack([matrix, 0 * ones]),
        b_eq=offsets,
        bounds=[*[(None, None)] * len(sides), (None, 1.0)],
        options={"primal_feasibility_tolerance": FEASIBLE},
    )
    if program.status == UNSOLVABLE:
        return -math.inf, np.zeros_like(offsets)
    if program.x is None:
        raise _undecided()
    return float(program.x[-1]), program.x[:-1]


def _systems(equation: UnitEquation, on: Patterns) -> tuple[Tensor, Tensor]:
    """I - M D of each region, and signs s with s u <= 0 in it."""
    active = on.to(equation.offsets)
    eye = torch.eye(on.shape[1], dtype=active.dtype, device=active.device)
    return eye - equation.weights * active[:, None], 1 - 2 * active


def _too_degenerate(count: int) -> ValueError:
    return ValueError(
        f"Expected `dynamics` to have at most {MOST_SINGULAR} regions with a "
        f"multiplier of 1, got {count} or more: too many continua of fixed points to "
        f"enumerate; use `find_fixed_points`."
    )


def _undecided() -> ValueError:
    return ValueError(
        "Expected `dynamics` to have regions that can be told apart in double "
        "precision, got one with a multiplier of 1 whose fixed points can neither be "
        "found nor excluded; use `find_fixed_points`."
    )
