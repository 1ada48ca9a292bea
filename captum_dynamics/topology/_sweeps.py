"""Newton's step for whole orbits, by a sweep back in time and one forth.

An orbit from a p to a q is well determined by conditions at both ends, while its first
state alone says nothing of its end once small deviations have grown beyond rounding.
So all its states x_0, ..., x_T are unknowns. Newton's method asks for changes with

    dx_{t+1} = J_t dx_t + F(x_t) - x_{t+1},   L_q^T (x_T + dx_T - q) = 0,

and dx_0 along given directions. Going back, the condition at the end becomes one on
every dx_t: few rows, made orthonormal every few steps so that they do not grow. The
first of them gives dx_0; going forth, these keep rounding from growing along the
directions that they forbid. Neither sweep multiplies Jacobians with each other.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from captum_dynamics import _linalg
from captum_dynamics._execution import row_chunks
from captum_dynamics.topology._flow import Flow

BUDGET = 8 * 2**20  # bytes for Jacobians held at once; more of them is no faster
STRIDE = 4  # steps in which rounding grows, but little
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
    blocks = list(row_chunks(last, 8 * count * (width + 1) ** 2, BUDGET))
    # Rows (L^T, -b) of conditions L^T dx = b.
    rows = torch.cat([left, missed[:, :, None]], 2)
    kept = {last: rows}
    steps = orbits.new_zeros(0)
    for block in blocks[::-1]:
        steps = _affine(flow, orbits[block], jumps[block])
        for time in range(block.stop - 1, block.start - 1, -1):
            rows = rows @ steps[time - block.start]
            if time % STRIDE == 0:
                factor = torch.linalg.qr(rows[:, :, :width].mT, mode="r").R
                rows = torch.linalg.solve_triangular(factor.mT, rows, upper=False)
                kept[time] = rows
    turns = _linalg.solve(rows[:, :, :width] @ tangents.mT, -rows[:, :, width])
    first = _linalg.products(tangents.mT, turns)
    changes = [torch.cat([first, torch.ones_like(first[:, :1])], 1)[:, :, None]]
    for block in blocks:
        # The sweep back has ended in the block in which this one begins.
        if block.start > 0:
            steps = _affine(flow, orbits[block], jumps[block])
        for time, step in enumerate(steps, start=block.start + 1):
            change = step @ changes[-1]
            if time in kept:
                rows = kept[time]
                change[:, :width] -= rows[:, :, :width].mT @ (rows @ change)
            changes.append(change)
    return turns, torch.stack(changes)[:, :, :width, 0]


def _affine(
    flow: Flow, orbits: Orbits, jumps: Jumps
) -> Float[Tensor, "t n d_plus_one d_plus_one"]:
    """The maps dx -> J dx + jump, as matrices that act on (dx, 1)."""
    steps, count, width = orbits.shape
    slopes = flow.jacobians(orbits.reshape(-1, width))
    maps = orbits.new_empty(steps, count, width + 1, width + 1)
    maps[..., :width, :width] = slopes.reshape(steps, count, width, width)
    maps[..., :width, width] = jumps
    maps[..., width, :width] = 0
    maps[..., width, width] = 1
    return maps
