"""A saddle as something to arrive at: what is left to go, and in which directions."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from captum_dynamics import _linalg
from captum_dynamics._typing import OneJacobian, OneState
from captum_dynamics.linearization import Linearization

GAIN = 1e3  # by which the strongest direction grows in S steps
LONGEST_LOOK = 400  # steps S


@dataclass(frozen=True, eq=False)
class Saddle:
    """A point with bases of its unstable eigenspaces.

    Attributes:
        state: the point (d,).
        left: an orthonormal basis (v, d) of the left one; NaN where it is not known.
        right: an orthonormal basis (v, d) of the right one.
        decay: the Jacobian (d, d) there without its unstable part.
        look: steps S in which its strongest direction grows by `GAIN`.
    """

    state: OneState
    left: Float[Tensor, "v d"]
    right: Float[Tensor, "v d"]
    decay: OneJacobian
    look: int


def saddle(linearization: Linearization, row: int) -> Saddle:
    """One point of a linearization, as something to arrive at."""
    values = linearization.eigenvalues[row]
    chosen = (values.abs() > 1 + linearization.margin) & (values.imag >= 0)
    turns = values[chosen].imag != 0
    strongest = math.log(float(values.abs().max()))
    left = _basis(linearization.left_eigenvectors[row][chosen], turns)
    right = _basis(linearization.right_eigenvectors[row].T[chosen], turns)
    unstable = right.T @ _linalg.real_inverse((left @ right.T)[None])[0] @ left
    jacobian = linearization.jacobians[row]
    return Saddle(
        linearization.points.states[row],
        left,
        right,
        jacobian - jacobian @ unstable,
        min(LONGEST_LOOK, math.ceil(math.log(GAIN) / strongest)),
    )


def _basis(vectors: Tensor, turns: Tensor) -> Tensor:
    """Orthonormal rows that span the real and imaginary parts of vectors."""
    parts = torch.cat([vectors.real, vectors.imag[turns]])
    rows: Tensor = torch.linalg.qr(parts.T).Q.T
    return rows
