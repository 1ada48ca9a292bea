"""What every row of a search is, and how far around it points are the same."""

from __future__ import annotations

import torch

from captum_dynamics import _linalg
from captum_dynamics._execution import BUDGET, row_chunks
from captum_dynamics._typing import Inputs, Mask, PerPoint, States
from captum_dynamics.dynamics import DynamicsMap
from captum_dynamics.fixed_points._points import FixedPoints, Kind
from captum_dynamics.merging import nearest_leaders
from captum_dynamics.solvers import Solution
from captum_dynamics.tangent import TangentMap

DEGENERATE_SINGULAR_VALUE = 1e-4
DEGENERATE_RADIUS = 1e-2
UNGATED_TOLERANCE = 1e-6
SAME_SLOPES = 1e-8


def label(
    dynamics: DynamicsMap,
    solution: Solution,
    inputs: Inputs,
    q_slow: float,
    at_rest: Mask,
) -> FixedPoints:
    """Tell fixed points, which are `at_rest`, from slow and spurious ones.

    The error of a fixed point is bounded, and with it the distance within which two
    are one.
    """
    states, norms = solution.states, solution.residual_norms
    kind = torch.full_like(solution.status, int(Kind.UNCONVERGED))
    kind[0.5 * norms**2 < q_slow] = int(Kind.SLOW)
    kind[at_rest] = int(Kind.FIXED)
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
        tangent = dynamics.tangent(states[part], inputs[part])
        smallest[part] = _smallest_singular(tangent, states[part])
    smallest[rows] = smallest[leaders]
    degenerate = smallest < DEGENERATE_SINGULAR_VALUE
    simple = 2 * torch.maximum(norms, rounding) / smallest
    radii = torch.where(fixed, torch.maximum(simple, rounding), rounding)
    return torch.where(degenerate, DEGENERATE_RADIUS, radii), degenerate


def _smallest_singular(tangent: TangentMap, states: States) -> PerPoint:
    """Of J - I, at each state."""
    if fits_dense(states.shape[1], BUDGET):
        slopes = tangent.jacobians()
        slopes.diagonal(dim1=-2, dim2=-1).sub_(1)
        return _linalg.smallest_singular(slopes)[0]
    if tangent.resolvents is not None:
        solve, solve_left = tangent.resolvents
        one = torch.ones_like(states[:, :1])
        return _linalg.smallest_singular_by_solves(
            lambda v: solve(v, one), lambda v: solve_left(v, one), states
        )
    return _linalg.smallest_singular_by_products(
        lambda v: tangent.push(v) - v, lambda v: tangent.pull(v)[0] - v, states
    )


def fits_dense(width: int, budget: int) -> bool:
    """Whether one row may be searched with its Jacobian."""
    return 4 * 8 * width**2 <= budget
