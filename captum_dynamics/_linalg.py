"""The only batched solves and eigendecompositions; every solve is checked.

Batched LU on CPU with two threads or more and more than 144 columns returns wrong
numbers, raises or hangs in torch 2.13 (pytorch issue 142815). Nothing else in the
package may call `torch.linalg.solve`, `inv`, `lu_factor`, `det` or `slogdet`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Bool, Complex, Float, Int
from torch import Tensor
from torch.linalg import vector_norm

LARGEST_SAFE_BATCHED_LU = 144
GMRES_CHECK = 5  # products between two looks at what is left
Matrices = Float[Tensor, "n d d"]
Vectors = Float[Tensor, "n d"]
Products = Float[Tensor, "n m"]


def solve(
    matrices: Matrices,
    right_sides: Vectors,
    apply: Callable[[Vectors], Vectors] | None = None,
) -> Vectors:
    """Solve A x = b row by row; a row without a trustworthy solution is NaN.

    A solution is trusted when its residual is below sqrt(eps) (|A| |x| + |b|). Where
    `apply` gives A x without the matrices, they are not read again, and |A| is taken
    to be 1.
    """
    solutions = _solutions(matrices, right_sides[..., None])[..., 0]
    if apply is None:
        return _trusted(matrices, solutions, right_sides)
    sizes = vector_norm(solutions, dim=-1)
    return _near(apply(solutions), solutions, sizes, right_sides)


def _solutions(matrices: Matrices, right_sides: Tensor) -> Tensor:
    """Solve for columns by LU, in a batch only where that is safe."""
    if matrices.shape[-1] <= LARGEST_SAFE_BATCHED_LU:
        return _lu_solve(matrices, right_sides)
    solutions = torch.empty_like(right_sides)
    for row in range(len(matrices)):
        solutions[row] = _lu_solve(matrices[row], right_sides[row])
    return solutions


def _lu_solve(matrices: Tensor, columns: Tensor) -> Tensor:
    # LAPACK reads columns: of A^T, a row-major A is copied as it lies.
    factors, pivots, _ = torch.linalg.lu_factor_ex(matrices.mT)
    solutions: Tensor = torch.linalg.lu_solve(factors, pivots, columns, adjoint=True)
    return solutions


def gmres(
    apply: Callable[[Vectors], Vectors],
    right_sides: Vectors,
    *,
    steps: int,
    tolerance: float = 0.0,
) -> tuple[Vectors, Float[Tensor, " n"]]:
    """Minimise |A x - b| over the Krylov space of b, from products with A alone.

    A row that has |A x - b| <= tolerance |b|, or is on no way to it, takes no part of
    later products; when there is no other row, it ends before `steps`. Returns the
    solutions and |A x - b| / |b|, worked out afresh from the solutions (Saad and
    Schultz 1986, SIAM J. Sci. Stat. Comput. 7).
    """
    eps, tiny = torch.finfo(right_sides.dtype).eps, torch.finfo(right_sides.dtype).tiny
    sizes = vector_norm(right_sides, dim=-1).clamp_min(tiny)
    steps = min(steps, right_sides.shape[1])
    basis = right_sides.new_zeros(len(right_sides), steps + 1, right_sides.shape[1])
    hessenberg = right_sides.new_zeros(len(right_sides), steps + 1, steps)
    basis[:, 0] = right_sides / sizes[:, None]
    weights = right_sides.new_zeros(len(right_sides), steps)
    going = torch.ones_like(sizes, dtype=torch.bool)
    for step in range(steps):
        used = step + 1
        new, known = apply(basis[:, step]), basis[:, :used]
        before = vector_norm(new, dim=-1)
        for _ in range(2):  # once more, for what rounding left of the first time
            parts = products(known, new)
            new = new - products(known.mT, parts)
            hessenberg[:, :used, step] += parts
        length = vector_norm(new, dim=-1)
        # Rounding alone is no new direction: the space of this row is exhausted.
        length = torch.where(length > 10 * eps * before, length, 0.0)
        basis[:, used] = torch.where(length > 0, 1 / length, 0.0)[:, None] * new
        # A column for a direction that there is not is one that has no part in b.
        hessenberg[:, used, step] = torch.where(before > 0, length, 1.0)
        if used % GMRES_CHECK and used < steps:
            continue
        best, left = _krylov_weights(hessenberg[:, : used + 1, :used])
        pace = tolerance ** (used / (2 * steps)) if tolerance else math.inf
        weights[:, :used] = torch.where(going[:, None], best, weights[:, :used])
        going &= (tolerance < left) & (left <= pace)
        if not going.any():
            break
    solutions = products(basis[:, :-1].mT, weights * sizes[:, None])
    left = vector_norm(apply(solutions) - right_sides, dim=-1) / sizes
    return solutions, left.nan_to_num(torch.inf)


def _krylov_weights(
    hessenberg: Float[Tensor, "n m k"],
) -> tuple[Float[Tensor, "n k"], Float[Tensor, " n"]]:
    """Minimise |H w - e_1|, and the minimum."""
    first = torch.zeros_like(hessenberg[:, :, :1])
    first[:, 0] = 1
    weights = torch.linalg.lstsq(hessenberg, first).solution
    left = vector_norm(hessenberg @ weights - first, dim=(-2, -1))
    return weights[..., 0], left


def damped_least_squares(
    matrices: Matrices, right_sides: Vectors, damping: Float[Tensor, " n"]
) -> Vectors:
    """Minimise |A x - b|^2 + damping |x|^2 by Cholesky; failing rows are NaN."""
    gram = matrices.mT @ matrices
    gram.diagonal(dim1=-2, dim2=-1).add_(damping[:, None])
    projected = products(matrices.mT, right_sides)
    factors, failed = _cholesky(gram)
    solutions = torch.cholesky_solve(projected[..., None], factors, upper=True)[..., 0]
    solutions = torch.where(failed[:, None] == 0, solutions, torch.nan)
    return _trusted(gram, solutions, projected)


def products(matrices: Float[Tensor, "n m d"], vectors: Vectors) -> Products:
    """A x row by row: rows times A^T, many times as fast as A times columns."""
    return torch.bmm(vectors[:, None], matrices.mT)[:, 0]


def _cholesky(grams: Matrices) -> tuple[Matrices, Int[Tensor, " n"]]:
    # Upper factors of the transpose, as LAPACK stores columns: nothing is copied.
    factors, failed = torch.linalg.cholesky_ex(grams.mT, upper=True)
    return factors, failed


def smallest_singular(
    matrices: Matrices, *, steps: int = 8
) -> tuple[Float[Tensor, " n"], Vectors]:
    """Estimate the smallest singular value and its right vector by inverse iteration.

    The estimate lies at or above the true value, but for rounding of size eps |A|.
    """
    if matrices.shape[-1] <= LARGEST_SAFE_BATCHED_LU:
        return _inverse_iteration(matrices, steps)
    parts = [_inverse_iteration(matrix[None], steps) for matrix in matrices]
    if not parts:
        return matrices[:, 0, 0], matrices[:, 0]
    values, vectors = zip(*parts, strict=True)
    return torch.cat(values), torch.cat(vectors)


def _inverse_iteration(
    matrices: Matrices, steps: int
) -> tuple[Float[Tensor, " n"], Vectors]:
    size, eps = matrices.shape[-1], torch.finfo(matrices.dtype).eps
    factors, pivots, _ = torch.linalg.lu_factor_ex(matrices.mT)
    # A singular matrix has no inverse, but one next to it has: pivots are kept from
    # zero, those of the zero matrix, too.
    diagonal = factors.diagonal(dim1=-2, dim2=-1)
    least = eps * factors.abs().amax((-2, -1)).clamp_min(eps)[:, None]
    diagonal.copy_(torch.where(diagonal.abs() < least, least, diagonal))
    # A fixed start with no symmetry; any vector that is not orthogonal would do.
    start = torch.linspace(1.0, 2.0, size, dtype=matrices.dtype, device=matrices.device)
    vectors = (start * start.sin())[None, :, None].expand(len(matrices), size, 1)
    for _ in range(steps):
        vectors = torch.linalg.lu_solve(factors, pivots, vectors)
        vectors = torch.linalg.lu_solve(factors, pivots, vectors, adjoint=True)
        vectors = vectors / vector_norm(vectors, dim=1, keepdim=True)
    found = vectors[..., 0]
    return vector_norm(products(matrices, found), dim=-1), found


def smallest_singular_by_products(
    push: Callable[[Vectors], Vectors],
    pull: Callable[[Vectors], Vectors],
    like: Vectors,
    *,
    rounds: int = 3,
    steps: int = 60,
) -> Float[Tensor, " n"]:
    """Estimate the smallest singular value of A from products with A and A^T alone.

    Inverse iteration on A^T A, solved by GMRES; the estimate lies at or above the
    true value.
    """
    vectors = torch.linspace(1.0, 2.0, like.shape[1]).to(like).sin().expand_as(like)
    for _ in range(rounds):
        halfway, _ = gmres(pull, vectors, steps=steps)
        vectors, _ = gmres(push, halfway, steps=steps)
        vectors = vectors / vectors.norm(dim=-1, keepdim=True)
    smallest: Tensor = push(vectors).norm(dim=-1)
    return smallest


def smallest_singular_by_solves(
    solve: Callable[[Vectors], Vectors],
    solve_left: Callable[[Vectors], Vectors],
    like: Vectors,
    *,
    rounds: int = 3,
) -> Float[Tensor, " n"]:
    """Estimate the smallest singular value of A from A^-1 v and v A^-1.

    Inverse iteration on A^T A; the estimate lies at or above the true value.
    """
    vectors = torch.linspace(1.0, 2.0, like.shape[1]).to(like).sin().expand_as(like)
    for _ in range(rounds):
        vectors = solve(solve_left(vectors))
        vectors = vectors / vectors.norm(dim=-1, keepdim=True)
    back = solve_left(vectors)
    smallest: Tensor = 1 / back.norm(dim=-1)
    return smallest.nan_to_num(0.0)


def without_specks(matrices: Matrices) -> Matrices:
    """Set to zero what lies below the largest entry by the squared rounding unit.

    It is no part of any eigenvalue that double precision can tell. Entries of 1e-260
    beside some of 1e-22, as slopes of saturated units make, overflow LAPACK's
    balancing: MKL then does not converge, or writes beyond its memory.
    """
    sizes = matrices.abs()
    largest = sizes.amax((-2, -1), keepdim=True) if sizes.numel() else sizes
    specks = sizes < torch.finfo(matrices.dtype).eps ** 2 * largest
    return matrices.masked_fill(specks, 0.0)


def sorted_eigen(
    matrices: Matrices,
) -> tuple[Complex[Tensor, "n d"], Complex[Tensor, "n d d"]]:
    """Eigenvalues by decreasing magnitude, and right eigenvectors as columns.

    Of a conjugate pair the member with the positive imaginary part comes first.
    """
    values, vectors = torch.linalg.eig(without_specks(matrices))
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
    inverses = _solutions(matrices, eye.expand_as(matrices).contiguous())
    errors = (matrices @ inverses - eye).square().sum((-2, -1)).sqrt()
    trusted = torch.isfinite(errors) & (errors <= _sqrt_eps(eye) * len(eye))
    return torch.where(trusted[:, None, None], inverses, torch.nan)


def condition(matrices: Complex[Tensor, "n d d"]) -> Float[Tensor, " n"]:
    """Ratio of the largest to the smallest singular value."""
    values = torch.linalg.svdvals(matrices)
    ratio: Tensor = values[..., 0] / values[..., -1]
    return ratio


def determinant_signs(matrices: Matrices) -> Int[Tensor, " n"]:
    """Sign of each determinant, +1 or -1; 0 where rounding may have changed it.

    An LU factorisation is exact for a matrix A + E, whose determinant has the sign of
    det A where |E| is below the smallest singular value of A. E is measured.
    """
    if matrices.shape[-1] <= LARGEST_SAFE_BATCHED_LU:
        return _signs(matrices)
    signs = [_signs(matrix[None]) for matrix in matrices]
    return torch.cat(signs) if signs else _signs(matrices)


def powers_vanish(matrices: Matrices, *, doublings: int = 20) -> Bool[Tensor, " n"]:
    """Whether the powers of each matrix go to zero: its spectral radius is below 1.

    Squares each matrix again and again: a norm below 1, and clear of rounding, proves
    it. Where 2^20 steps show none, the radius is above 1 - 1e-6 or so.
    """
    vanish = torch.zeros(len(matrices), dtype=torch.bool, device=matrices.device)
    powers, rows = matrices, torch.arange(len(matrices), device=matrices.device)
    for _ in range(doublings + 1):
        norms = torch.linalg.matrix_norm(powers)
        vanish[rows[norms < 0.5]] = True
        going = (norms >= 0.5) & torch.isfinite(norms)
        powers, rows = powers[going], rows[going]
        powers = powers @ powers
    return vanish


def largest_growth(
    matrices: Matrices, rows: Float[Tensor, "m d"], steps: int
) -> Float[Tensor, "n m"]:
    """max_k |w A^k| / |w| over 0 <= k <= steps, for each A and each row w.

    Where A has a spectral radius above 1, A / radius takes its place: growth beyond
    that of the eigenvalues is what remains.
    """
    radius = torch.linalg.eigvals(without_specks(matrices)).abs().amax(-1).clamp_min(1)
    scaled = matrices / radius[:, None, None]
    pushed = rows / vector_norm(rows, dim=-1, keepdim=True)
    pushed = pushed.expand(len(matrices), -1, -1)
    largest: Tensor = vector_norm(pushed, dim=-1)
    for _ in range(steps):
        pushed = torch.bmm(pushed, scaled)
        # Not `fmax`: for a row w of zeros there is no growth, and NaN says so.
        largest = torch.maximum(largest, vector_norm(pushed, dim=-1))
    return largest


def _signs(matrices: Matrices) -> Int[Tensor, " n"]:
    size = matrices.shape[-1]
    factors, pivots, _ = torch.linalg.lu_factor_ex(matrices)
    permutation, lower, upper = torch.lu_unpack(factors, pivots)
    errors = torch.linalg.matrix_norm(permutation @ lower @ upper - matrices)
    smallest, _ = smallest_singular(matrices)
    # Ten times the limit to which a smallest singular value can be told from zero.
    limit = (
        10 * math.sqrt(size) * _sqrt_eps(matrices) * torch.linalg.matrix_norm(matrices)
    )
    trusted = (errors < smallest / 2) & (smallest > limit)  # False for NaN
    stay = torch.arange(1, size + 1, device=pivots.device, dtype=pivots.dtype)
    swaps = (pivots != stay).sum(-1)
    signs = upper.diagonal(dim1=-2, dim2=-1).sign().prod(-1) * (1 - 2 * (swaps % 2))
    return torch.where(trusted, signs, 0.0).long()


def _trusted(matrices: Matrices, solutions: Vectors, right_sides: Vectors) -> Vectors:
    sizes = vector_norm(matrices, dim=(-2, -1)) * vector_norm(solutions, dim=-1)
    return _near(products(matrices, solutions), solutions, sizes, right_sides)


def _near(
    reached: Vectors,
    solutions: Vectors,
    sizes: Float[Tensor, " n"],
    right_sides: Vectors,
) -> Vectors:
    """Solutions that `reached` A x near b, on the scale of `sizes` and |b|."""
    errors = vector_norm(reached - right_sides, dim=-1)
    bound = _sqrt_eps(right_sides) * (sizes + vector_norm(right_sides, dim=-1))
    trusted = (errors <= bound) & (errors < torch.inf)  # false for NaN
    return torch.where(trusted[:, None], solutions, torch.nan)


def _sqrt_eps(like: Tensor) -> float:
    return math.sqrt(torch.finfo(like.dtype).eps)
