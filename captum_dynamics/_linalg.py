"""The only batched solves and eigendecompositions; every solve is checked.

Batched LU on CPU with two threads or more and more than 144 columns returns wrong
numbers, raises or hangs in torch 2.13 (pytorch issue 142815). Nothing else in the
package may call `torch.linalg.solve`, `inv`, `lu_factor`, `det` or `slogdet`.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Complex, Float
from torch import Tensor

LARGEST_SAFE_BATCHED_LU = 144
Matrices = Float[Tensor, "n d d"]
Vectors = Float[Tensor, "n d"]


def solve(matrices: Matrices, right_sides: Vectors) -> Vectors:
    """Solve A x = b row by row; a row without a trustworthy solution is NaN.

    A solution is trusted when its residual is below sqrt(eps) (|A| |x| + |b|).
    """
    solutions = _solutions(matrices, right_sides[..., None])
    return _trusted(matrices, solutions[..., 0], right_sides)


def damped_least_squares(
    matrices: Matrices, right_sides: Vectors, damping: Float[Tensor, " n"]
) -> Vectors:
    """Minimise |A x - b|^2 + damping |x|^2 by Cholesky; failing rows are NaN."""
    gram = matrices.mT @ matrices
    gram.diagonal(dim1=-2, dim2=-1).add_(damping[:, None])
    projected = (matrices.mT @ right_sides[..., None])[..., 0]
    factors, failed = torch.linalg.cholesky_ex(gram)
    solutions = torch.cholesky_solve(projected[..., None], factors)[..., 0]
    solutions = torch.where(failed[:, None] == 0, solutions, torch.nan)
    return _trusted(gram, solutions, projected)


def smallest_singular(
    matrices: Matrices, *, steps: int = 8
) -> tuple[Float[Tensor, " n"], Vectors]:
    """Estimate the smallest singular value and its right vector by inverse iteration.

    The estimate lies at or above the true value, and no lower than about 1e-7 |A|
    in float64: enough to tell a simple fixed point from a degenerate one.
    """
    size = matrices.shape[-1]
    eps = torch.finfo(matrices.dtype).eps
    # Above zero also for the zero matrix, which has a smallest singular value, too.
    shift = size * eps * matrices.square().sum((-2, -1)).clamp_min(eps)
    gram = matrices.mT @ matrices
    gram.diagonal(dim1=-2, dim2=-1).add_(shift[:, None])
    factors, _ = torch.linalg.cholesky_ex(gram)
    # A fixed start with no symmetry; any vector that is not orthogonal would do.
    start = torch.linspace(1.0, 2.0, size, dtype=matrices.dtype, device=matrices.device)
    vectors = (start * start.sin())[None, :, None].expand(len(matrices), size, 1)
    for _ in range(steps):
        vectors = torch.cholesky_solve(vectors, factors)
        vectors = vectors / vectors.norm(dim=1, keepdim=True)
    return (matrices @ vectors).norm(dim=1)[:, 0], vectors[..., 0]


def sorted_eigen(
    matrices: Matrices,
) -> tuple[Complex[Tensor, "n d"], Complex[Tensor, "n d d"]]:
    """Eigenvalues by decreasing magnitude, and right eigenvectors as columns.

    Of a conjugate pair the member with the positive imaginary part comes first.
    """
    values, vectors = torch.linalg.eig(matrices)
    # Equal magnitudes differ by round-off; rounding keeps pairs together, in order.
    digits = 12
    by_phase = torch.argsort(values.imag, dim=-1, descending=True, stable=True)
    magnitudes = values.abs().gather(-1, by_phase).double()
    rounded = torch.round(magnitudes, decimals=digits)
    by_size = torch.argsort(rounded, dim=-1, descending=True, stable=True)
    order = by_phase.gather(-1, by_size)
    columns = order[:, None, :].expand_as(vectors)
    return values.gather(-1, order), vectors.gather(-1, columns)


def inverse(
    matrices: Complex[Tensor, "n d d"],
) -> Complex[Tensor, "n d d"]:
    """Invert one matrix at a time; a matrix without a trustworthy inverse is NaN."""
    eye = torch.eye(matrices.shape[-1], dtype=matrices.dtype, device=matrices.device)
    inverses = []
    for matrix in matrices:
        result = torch.linalg.solve_ex(matrix, eye).result
        error = (matrix @ result - eye).norm()
        bound = _sqrt_eps(eye.real) * (matrix.norm() * result.norm() + eye.norm())
        trusted = torch.isfinite(error) & (error <= bound)
        inverses.append(torch.where(trusted, result, torch.nan))
    return torch.stack(inverses) if inverses else matrices.clone()


def real_inverse(matrices: Matrices) -> Matrices:
    """Invert real matrices; a matrix without a trustworthy inverse is NaN."""
    eye = torch.eye(matrices.shape[-1], dtype=matrices.dtype, device=matrices.device)
    inverses = _solutions(matrices, eye.expand_as(matrices))
    errors = (matrices @ inverses - eye).square().sum((-2, -1)).sqrt()
    trusted = torch.isfinite(errors) & (errors <= _sqrt_eps(eye) * len(eye))
    return torch.where(trusted[:, None, None], inverses, torch.nan)


def condition(matrices: Complex[Tensor, "n d d"]) -> Float[Tensor, " n"]:
    """Ratio of the largest to the smallest singular value."""
    values = torch.linalg.svdvals(matrices)
    ratio: Tensor = values[..., 0] / values[..., -1]
    return ratio


def _solutions(
    matrices: Matrices, right_sides: Float[Tensor, "n d m"]
) -> Float[Tensor, "n d m"]:
    """Solve by LU, in a batch only where that is safe."""
    if matrices.shape[-1] <= LARGEST_SAFE_BATCHED_LU:
        solutions: Tensor = torch.linalg.solve_ex(matrices, right_sides)[0]
        return solutions
    pairs = zip(matrices, right_sides, strict=True)
    solved = [torch.linalg.solve_ex(a, b)[0] for a, b in pairs]
    return torch.stack(solved) if solved else torch.zeros_like(right_sides)


def _trusted(matrices: Matrices, solutions: Vectors, right_sides: Vectors) -> Vectors:
    residuals = ((matrices @ solutions[..., None])[..., 0] - right_sides).norm(dim=-1)
    sizes = matrices.square().sum((-2, -1)).sqrt() * solutions.norm(dim=-1)
    bound = _sqrt_eps(right_sides) * (sizes + right_sides.norm(dim=-1))
    trusted = torch.isfinite(residuals) & (residuals <= bound)
    return torch.where(trusted[:, None], solutions, torch.nan)


def _sqrt_eps(like: Tensor) -> float:
    return math.sqrt(torch.finfo(like.dtype).eps)
