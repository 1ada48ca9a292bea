"""Pseudo-arclength: predict along the tangent, correct across it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from captum_dynamics import _linalg
from captum_dynamics.continuation._path import OnePlace, Path

MOST_CORRECTIONS = 8
# Distance from the unit circle within which a multiplier counts as on it: what stays
# neutral along a whole branch does not cross it with every rounding.
MARGIN = 1e-9


@dataclass(frozen=True, eq=False)
class Place:
    """One point of a branch: z, the unit tangent that leads on, |g|, the spectrum."""

    z: OnePlace
    tangent: OnePlace
    residual_norm: float
    multipliers: Complex[Tensor, " d"]

    @property
    def s(self) -> float:
        """How far along the path."""
        return float(self.z[-1])

    @property
    def unstable_dim(self) -> int:
        """Number of multipliers outside the unit circle."""
        return int((self.multipliers.abs() > 1 + MARGIN).sum())

    @property
    def above_one(self) -> int:
        """Number of real multipliers above 1: its parity is the sign of det(J - I)."""
        return int((self._real & (self.multipliers.real > 1 + MARGIN)).sum())

    @property
    def below_minus_one(self) -> int:
        """Number of real multipliers below -1."""
        return int((self._real & (self.multipliers.real < -1 - MARGIN)).sum())

    @property
    def heading(self) -> int:
        """Whether s grows (1), falls (-1) or stays (0) along the branch."""
        ahead = float(self.tangent[-1])
        return 0 if abs(ahead) <= MARGIN else int(math.copysign(1, ahead))

    @property
    def label(self) -> tuple[int, int, int, int]:
        """What changes at an event, and only there."""
        parities = self.above_one % 2, self.below_minus_one % 2
        return (self.unstable_dim, *parities, self.heading)

    @property
    def _real(self) -> Tensor:
        # A pair of real multipliers that meet may be torn apart by rounding, no other.
        return self.multipliers.imag == 0


def place_at(path: Path, z: OnePlace, normal: OnePlace) -> Place | None:
    """Work out a point of a branch, with the tangent on the side of `normal`."""
    jacobian = path.jacobian(z)
    last = torch.zeros_like(z)
    last[-1] = 1
    matrix = _bordered(path.derivative(z, jacobian), normal)
    tangent = _linalg.solve(matrix[None], last[None])[0]
    if not bool(torch.isfinite(tangent).all()):
        return None
    return with_tangent(path, z, tangent / tangent.norm(), jacobian)


def with_tangent(
    path: Path, z: OnePlace, tangent: OnePlace, jacobian: Tensor | None = None
) -> Place:
    """A point of a branch whose tangent is known."""
    slopes = path.jacobian(z) if jacobian is None else jacobian
    values, _ = _linalg.sorted_eigen(slopes[None])
    residual = float(path.residuals(z[None]).norm())
    return Place(z, tangent, residual, values[0])


def correct(
    path: Path, guess: OnePlace, normal: OnePlace, atol: float
) -> OnePlace | None:
    """Newton's method on [g(z); normal . (z - guess)]; None where it fails.

    It takes one step more than the tolerance asks for: close to an event a state may be
    far from the curve and have a small residual all the same.
    """
    z, met = guess, None
    for _ in range(MOST_CORRECTIONS + 1):
        residual = path.residuals(z[None])[0]
        size = 1 + float(z[:-1].norm()) * path.scale
        if met is not None:
            return z if float(residual.norm()) <= atol * size else met
        if float(residual.norm()) <= atol * size:
            met = z
        across = (normal * (guess - z)).sum()
        matrix = _bordered(path.derivative(z), normal)
        right_side = torch.cat([-residual, across[None]])
        z = z + _linalg.solve(matrix[None], right_side[None])[0]
        if not bool(torch.isfinite(z).all()):
            return met
    return met


def first_tangent(path: Path, z: OnePlace) -> OnePlace | None:
    """Kernel of dg/dz on the side of growing s; None where it is no single line."""
    _, sizes, rows = torch.linalg.svd(path.derivative(z))
    eps = torch.finfo(z.dtype).eps
    if not bool(sizes[-1] > 64 * eps * len(z) * sizes[0]):
        return None
    tangent: Tensor = rows[-1]
    return -tangent if bool(tangent[-1] < 0) else tangent


def _bordered(
    derivative: Float[Tensor, "d z"], normal: OnePlace
) -> Float[Tensor, "z z"]:
    return torch.cat([derivative, normal[None]])
