"""Angles between directions: cosines, what chance gives, and tangents of points."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from scipy.special import betainc
from torch import Tensor

from captum_dynamics import _checks
from captum_dynamics._typing import (
    Eigenvectors,
    OtherStates,
    PerPoint,
    States,
)

PATCH = 12  # points whose main axes are a tangent


def random_cosines(dim: int, edges: Tensor, *, span: int = 1) -> Tensor:
    """Share of random unit vectors whose |cos| with a fixed line falls in each bin.

    In d dimensions cos^2 with a subspace of s dimensions is Beta(s/2, (d - s)/2); in
    a whole space every vector lies. This is what alignments of unrelated directions
    look like.

    Args:
        dim: d, at least 1.
        edges: increasing edges (b + 1,) of the bins, from 0 to 1.
        span: s, 1 for a line and 2 for a plane.

    Returns:
        Shares (b,), which sum to 1.

    Example:
        >>> import torch
        >>> edges = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
        >>> [round(share, 3) for share in random_cosines(3, edges).tolist()]
        [0.5, 0.5]
        >>> [round(share, 3) for share in random_cosines(100, edges).tolist()]
        [1.0, 0.0]
    """
    _checks.check_positive("dim", dim)
    squares = edges.detach().cpu().double().numpy() ** 2
    if dim <= span:
        below = (squares >= 1).astype(float)
    else:
        below = betainc(span / 2, (dim - span) / 2, squares)
    return torch.from_numpy(np.diff(below)).to(edges)


def cosines(axes: Float[Tensor, "m 2 d"], directions: Float[Tensor, "m d"]) -> Tensor:
    """|cos| of unit directions with the line or plane that orthonormal axes span."""
    along = (axes @ directions[:, :, None])[..., 0]
    found: Tensor = along.norm(dim=1).clamp(max=1)  # rounding may leave 1 + eps
    return found


def tangent_spaces(
    states: States, cloud: OtherStates, dim: int
) -> Float[Tensor, "n s d"]:
    """Main axes of each state's nearest neighbours in the cloud, orthonormal rows."""
    count = min(PATCH, len(cloud))
    near = torch.cdist(states, cloud).topk(count, largest=False).indices
    patches = cloud[near]
    centred = patches - patches.mean(1, keepdim=True)
    axes: Tensor = torch.linalg.svd(centred, full_matrices=False)[2][:, :dim]
    return axes


def mode_angles(tangents: Float[Tensor, "n s d"], right: Eigenvectors) -> PerPoint:
    """Degrees (n,) of the largest principal angle with the first s modes' space.

    Of a conjugate pair both members count, also where it stands at the border.

    References:
        Bjorck and Golub (1973), Numerical methods for computing angles between linear
        subspaces, Mathematics of Computation 27.
    """
    dim = tangents.shape[1]
    modes = right[:, :, :dim]
    spans = torch.cat([modes.real, modes.imag], dim=2)
    basis, sizes, _ = torch.linalg.svd(spans, full_matrices=False)
    basis = basis * (sizes > 1e-8 * sizes[:, :1])[:, None, :]
    overlaps = torch.linalg.svdvals(tangents @ basis)[:, dim - 1]
    angles: Tensor = torch.rad2deg(torch.arccos(overlaps.clamp(0, 1)))
    return angles
