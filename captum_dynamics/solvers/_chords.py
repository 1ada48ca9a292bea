"""The chord method: one solve for many states near one point, and for all steps."""

from __future__ import annotations

from torch.linalg import vector_norm

from captum_dynamics import _linalg
from captum_dynamics._typing import Inputs, Mask, OneInput, OneState, States
from captum_dynamics.dynamics import DynamicsMap
from captum_dynamics.solvers._base import Solver

STEPS = 12  # beyond which a solve for each state is no dearer


def follow_chords(
    dynamics: DynamicsMap,
    point: OneState,
    one_input: OneInput,
    states: States,
    solver: Solver,
) -> tuple[States, Mask]:
    """Newton's method with the Jacobian at `point` throughout.

    Returns:
        Where the states went, and which had come to rest, by the tolerance of
        `solver`, a step before at the latest.
    """
    slopes = dynamics.tangent(point[None], one_input[None]).jacobians()
    slopes.diagonal(dim1=-2, dim2=-1).sub_(1)
    inverse = _linalg.real_inverse(slopes)[0]
    inputs: Inputs = one_input.expand(len(states), -1)
    for _ in range(STEPS):
        residuals = dynamics.residual(states, inputs)
        rest: Mask = vector_norm(residuals, dim=-1) <= solver.tolerances(states)
        if rest.all():
            break
        states = states - residuals @ inverse.mT
    return states, rest
