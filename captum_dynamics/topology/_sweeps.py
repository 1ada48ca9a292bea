"""Newton's step for whole orbits, by a sweep back in time and one forth.

An orbit from a p to a q is well determined by conditions at both ends, while its first
state alone says nothing of its end once small deviations have grown beyond rounding.
So all its states x_0, ..., x_T are unknowns. Newton's method asks for changes with

    dx_{t+1} = J_t dx_t + F(x_t) - x_{t+1},   L_q^T (x_T + dx_T - q) = 0,

and dx_0 along given directions. Going back, the condition at the end becomes one on
every dx_t: few rows, made orthonormal at every step so that they do not grow. The first
of them gives dx_0; going forth, each keeps rounding from growing along the directions
that it forbids. Neither sweep sees more than one Jacobian at a time.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from captum_dynamics import _linalg
from captum_dynamics._execution import row_chunks
from captum_dynamics.topology._flow import Flow

BUDGET = 64 * 2**20  # bytes for Jacobians held at once
Orbits = Float[Tensor, "t n d"]
Jumps = Float[Tensor, "s n d"]  # s = t - 1
Missed = Float[Tensor, "n v"]  # parts along unstable directions of the goal


def newton_step(
    flow: Flow,
    orbits: Orbits,
    jumps: Jumps,
    left: Float[Tensor, "n v d"],
    missed: Missed,
    tangents: Float[Tensor, "n v d"],
) -> tuple[Missed, Orbits]:
    """Changes that make orbits of pseudo-orbits, to first order.

    Args:
        flow: the map.
        orbits: states of n pseudo-orbits, after one another.
        jumps: F(x_t) - x_{t+1}.
        left: orthonormal rows L_q^T of the goal of each.
        missed: L_q^T (x_T - q).
        tangents: directions in which first states may change.

    Returns:
        Components of dx_0 along the tangents, and all changes; NaN where the conditions
        do not determine dx_0.
    """
    last, count, width = len(jumps), orbits.shape[1], orbits.shape[2]
    blocks = list(row_chunks(last, 8 * count * width**2, BUDGET))
    conditions = [left]
    sides = [-missed]
    slopes = orbits.new_zeros(0)
    for block in blocks[::-1]:
        slopes = _slopes(flow, orbits[block])
        for slope, jump in zip(slopes.flip(0), jumps[block].flip(0), strict=True):
            after = conditions[-1]
            side = sides[-1] - _linalg.products(after, jump)
            basis, factor = torch.linalg.qr((after @ slope).mT)
            solved = torch.linalg.solve_triangular(
                factor.mT, side[:, :, None], upper=False
            )
            conditions.append(basis.mT)
            sides.append(solved[:, :, 0])
    first = conditions[-1] @ tangents.mT
    turns = _linalg.solve(first, sides[-1])
    changes = [_linalg.products(tangents.mT, turns)]
    for block in blocks:
        # The sweep back has ended in the block in which this one begins.
        slopes = slopes if block.start == 0 else _slopes(flow, orbits[block])
        for time, slope in enumerate(slopes, start=block.start):
            change = _linalg.products(slope, changes[-1]) + jumps[time]
            condition, side = conditions[last - time - 1], sides[last - time - 1]
            off = side - _linalg.products(condition, change)
            changes.append(change + _linalg.products(condition.mT, off))
    return turns, torch.stack(changes)


def _slopes(flow: Flow, orbits: Orbits) -> Float[Tensor, "t n d d"]:
    steps, count, width = orbits.shape
    slopes = flow.jacobians(orbits.reshape(-1, width))
    return slopes.reshape(steps, count, width, width)
