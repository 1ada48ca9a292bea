"""Newton-Krylov: for maps so wide that no Jacobian should be formed."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from captum_dynamics import _linalg
from captum_dynamics._execution import BUDGET, row_chunks
from captum_dynamics._typing import States
from captum_dynamics.dynamics import DynamicsMap
from captum_dynamics.solvers._base import WORKING_SET
from captum_dynamics.solvers._trust_region import TrustRegion
from captum_dynamics.tangent import TangentMap


@dataclass(frozen=True)
class NewtonKrylov(TrustRegion):
    """Minimise |g| in a trust region; Newton's direction by GMRES on products J v.

    GMRES fails where many multipliers surround 1, as they do near slow manifolds. That
    is detected, and the row is solved with its Jacobian where one fits the memory, or
    else steps along steepest descent.

    Attributes:
        krylov_dims: products with J for one direction.
        forcing: largest |(J - I) p + g| / |g| of a direction that is used.
        fallback_bytes: size of a Jacobian up to which a failure is solved with it.

    References:
        Knoll and Keyes (2004), Jacobian-free Newton-Krylov methods, J. Comput. Phys.
        193; Dembo, Eisenstat and Steihaug (1982), Inexact Newton methods.

    Example:
        >>> import torch, captum_dynamics as cd
        >>> gru = cd.adapt(torch.nn.GRU(3, 300))
        >>> start, none = torch.zeros(1, 300).double(), torch.zeros(1, 3).double()
        >>> cd.solvers.NewtonKrylov().solve(gru, start, none).status.tolist()
        [0]
    """

    krylov_dims: int = 40
    forcing: float = 0.1
    fallback_bytes: int = BUDGET // 4

    def bytes_per_row(self, dynamics: DynamicsMap) -> int:
        """The Krylov basis, in float64, with as much again to work in."""
        return 2 * 8 * (self.krylov_dims + 8) * dynamics.state_dim

    def direction(
        self, tangent: TangentMap, states: States, residuals: States
    ) -> States:
        """Newton's direction by products; where they fail, by a solve if it fits."""
        directions, left = _linalg.gmres(
            lambda v: tangent.push(v) - v,
            -residuals,
            steps=self.krylov_dims,
            tolerance=self.forcing,
        )
        failed = left > self.forcing
        directions = torch.where(failed[:, None], torch.nan, directions)
        width = states.shape[1]
        if failed.any() and states.element_size() * width**2 <= self.fallback_bytes:
            rows = torch.nonzero(failed)[:, 0]
            for chunk in row_chunks(len(rows), 4 * 8 * width**2, WORKING_SET):
                part = rows[chunk]
                solved = tangent.select(part).newton_direction(residuals[part])
                directions[part] = solved
        return directions
