"""Events as regular solutions: the fixed-point equation extended by its degeneracy."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from captum_dynamics import _linalg
from captum_dynamics._typing import OneState
from captum_dynamics.continuation._path import OnePlace, Path, difference_step

MOST_STEPS = 12
Unknowns = Float[Tensor, "n u"]


def multiplier_at(path: Path, near: OnePlace, target: float) -> OnePlace | None:
    """Solve [g; J v - target v; v0 . v - 1] for z and v: a fold (1) or a flip (-1).

    Govaerts (2000), Numerical Methods for Bifurcations of Dynamical Equilibria.
    """
    shifted = path.jacobian(near).clone()
    shifted.diagonal().sub_(target)
    first = _linalg.smallest_singular(shifted[None])[1][0]
    width = len(near)

    def equations(unknowns: Unknowns) -> Unknowns:
        z, v = unknowns[:, :width], unknowns[:, width:]
        moved = path.push(z, v) - target * v
        length = (v * first).sum(1, keepdim=True) - 1
        return torch.cat([path.residuals(z), moved, length], 1)

    found = _newton(equations, torch.cat([near, first]))
    return None if found is None else found[:width]


def pair_on_circle(
    path: Path, near: OnePlace, guess: complex
) -> tuple[OnePlace, complex] | None:
    """Solve for a multiplier exp(i angle) with vector a + i b: a Neimark-Sacker point.

    The vector's length and phase are fixed by its product with the first guess.
    """
    values, vectors = _linalg.sorted_eigen(path.jacobian(near)[None])
    row = int((values[0] - guess).abs().argmin())
    first, angle = vectors[0, :, row], float(values[0, row].angle())
    width, d = len(near), len(first)
    real, imag = first.real, first.imag

    def equations(unknowns: Unknowns) -> Unknowns:
        z, a, b, turn = torch.split(unknowns, [width, d, d, 1], 1)
        cos, sin = turn.cos(), turn.sin()
        length = (a * real + b * imag).sum(1, keepdim=True) - 1
        phase = (b * real - a * imag).sum(1, keepdim=True)
        parts = [
            path.residuals(z),
            path.push(z, a) - cos * a + sin * b,
            path.push(z, b) - sin * a - cos * b,
            length,
            phase,
        ]
        return torch.cat(parts, 1)

    start = torch.cat([near, real, imag, near.new_tensor([angle])])
    found = _newton(equations, start)
    if found is None:
        return None
    turn = float(found[-1])
    return found[:width], complex(math.cos(turn), math.sin(turn))


def branch_point(path: Path, near: OnePlace) -> tuple[OnePlace, OneState] | None:
    """Solve [g + mu w; w dg/dz; w . w - 1] for z, w and mu, which must come out zero.

    Where two curves only pass close to each other, mu is what keeps them apart. Moore
    (1980), Numer. Funct. Anal. Optim. 2.
    """
    width = len(near)
    left = torch.linalg.svd(path.derivative(near))[0][:, -1]

    def equations(unknowns: Unknowns) -> Unknowns:
        z, w, mu = torch.split(unknowns, [width, width - 1, 1], 1)
        length = w.square().sum(1, keepdim=True) - 1
        return torch.cat([path.residuals(z) + mu * w, path.pull(z, w), length], 1)

    found = _newton(equations, torch.cat([near, left, near.new_zeros(1)]))
    if found is None or abs(float(found[-1])) > _tolerance(found):
        return None
    return found[:width], found[width:-1]


def _newton(
    equations: Callable[[Unknowns], Unknowns], guess: Float[Tensor, " u"]
) -> Float[Tensor, " u"] | None:
    """Newton's method with central differences; None where it does not converge."""
    x, step = guess, difference_step(guess)
    shifts = step * torch.eye(len(guess), dtype=guess.dtype, device=guess.device)
    best, least = None, _tolerance(guess)
    for _ in range(MOST_STEPS):
        value = equations(x[None])[0]
        size = float(value.norm())
        # To the limit of rounding: what no step makes smaller any more is the answer.
        if not size < least:
            if best is not None or not math.isfinite(size):
                break
        else:
            best, least = x, size
        rise = equations(x + shifts) - equations(x - shifts)
        matrix = (rise / (2 * step)).T.contiguous()
        x = x - _linalg.solve(matrix[None], value[None])[0]
        if not bool(torch.isfinite(x).all()):
            break
    return best


def _tolerance(unknowns: Float[Tensor, " u"]) -> float:
    """Residual below which an extended system counts as solved."""
    return difference_step(unknowns) ** 2 * (1 + float(unknowns.norm()))
