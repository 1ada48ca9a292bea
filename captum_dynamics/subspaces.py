"""Invariant subspaces: what the dynamics around a point keep apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from captum_dynamics import _checks, _linalg
from captum_dynamics._schur import block_diagonalize
from captum_dynamics._typing import (
    Counts,
    Eigenvalues,
    Eigenvectors,
    Jacobians,
    PerPoint,
)

LARGEST_CONDITION = 1e6
"""Condition of the eigenvectors above which single modes mean little."""

Columns = Int[Tensor, "n d"]


@dataclass(frozen=True, eq=False)
class InvariantSubspaces:
    """State spaces divided into subspaces that J maps into themselves.

    A subspace is one real mode, or a conjugate pair. Where the eigenvectors of a point
    are nearly dependent (condition of 1e6 or more) it may hold more modes: those that
    cannot be told apart. The projectors P = R L of all subspaces of a point sum to the
    identity, and commute with J.

    Attributes:
        right: (n, d, d), a real basis of each state space; the columns of one subspace
            are orthonormal and side by side.
        left: (n, d, d), with left @ right = identity.
        labels: (n, d), the subspace that each column belongs to: 0, 1, ..., by
            decreasing largest magnitude.
        eigenvalues: (n, d), those of J on the subspaces, column by column.

    References:
        Bavely and Stewart (1979), SIAM J. Numer. Anal. 16, 359-367.
    """

    right: Jacobians
    left: Jacobians
    labels: Columns
    eigenvalues: Eigenvalues

    def __len__(self) -> int:
        """Number of points."""
        return len(self.labels)

    @property
    def counts(self) -> Counts:
        """Number of subspaces (n,) of each point."""
        return self.labels.amax(-1) + 1

    @property
    def most(self) -> int:
        """Number of subspaces s of the point that has most of them."""
        return int(self.labels.max()) + 1 if len(self) else 0

    @property
    def dimensions(self) -> Int[Tensor, "n s"]:
        """Dimensions of the subspaces; 0 where a point has fewer of them."""
        zeros = self.labels.new_zeros(len(self), self.most)
        return zeros.scatter_add(1, self.labels, torch.ones_like(self.labels))

    @property
    def leading_eigenvalues(self) -> Complex[Tensor, "n s"]:
        """Eigenvalue of largest magnitude in each subspace; NaN where there is none.

        Of a pair, it is the one with the positive imaginary part.
        """
        leading = torch.full(
            (len(self), self.most),
            complex(torch.nan, torch.nan),
            dtype=self.eigenvalues.dtype,
            device=self.labels.device,
        )
        first = torch.ones_like(self.labels, dtype=torch.bool)
        first[:, 1:] = self.labels.diff(dim=-1) > 0
        rows = torch.nonzero(first)[:, 0]
        leading[rows, self.labels[first]] = self.eigenvalues[first]
        return leading

    @property
    def time_constants(self) -> Float[Tensor, "n s"]:
        """Steps in which the slowest mode of a subspace falls to 1/e; NaN if it grows.

        A subspace of several modes may first grow; see
        `Linearization.transient_growth`.
        """
        return decay_times(self.leading_eigenvalues)

    def projector(self, point: int, subspace: int) -> Float[Tensor, "d d"]:
        """P = R L of one subspace of one point: what it holds of a deviation.

        Args:
            point: Which point.
            subspace: Which of its subspaces, by decreasing magnitude.

        Returns:
            The projector, of a rank that is the subspace's dimension.

        Raises:
            ValueError: If the point has no such subspace.
        """
        members = self.labels[point] == subspace
        if not members.any():
            raise ValueError(
                f"Expected `subspace` of point {point} to be from 0 to "
                f"{int(self.counts[point]) - 1}, got {subspace}."
            )
        return self.right[point][:, members] @ self.left[point][members]

    def divide(
        self, point: int, cotangents: Float[Tensor, "m d"], states: Float[Tensor, "m d"]
    ) -> Float[Tensor, "m s"]:
        """Divide v . u among the subspaces of a point: v P u for each of them.

        Args:
            point: Which point.
            cotangents: v, one a row.
            states: u, one a row.

        Returns:
            Parts that sum to v . u; zero for subspaces that the point has not.
        """
        by_column = (cotangents @ self.right[point]) * (states @ self.left[point].mT)
        parts = by_column.new_zeros(len(by_column), self.most)
        return parts.index_add(1, self.labels[point], by_column)

    def restrict(
        self, point: int, cotangents: Float[Tensor, "m d"], subspace: int
    ) -> Float[Tensor, "m d"]:
        """Restrict cotangents v to one subspace: v P; zero if the point has it not."""
        members = self.labels[point] == subspace
        right, left = self.right[point][:, members], self.left[point][members]
        return (cotangents @ right) @ left


def decay_times(eigenvalues: Tensor) -> Tensor:
    """1/|ln|lambda||: steps to fall to 1/e; infinite at 1, NaN where it grows."""
    sizes = eigenvalues.abs()
    return torch.where(sizes <= 1, -1 / sizes.log(), torch.nan).abs()


def invariant_subspaces(
    jacobians: Jacobians,
    eigenvalues: Eigenvalues,
    right_eigenvectors: Eigenvectors,
    condition: PerPoint,
) -> InvariantSubspaces:
    """Divide state spaces by eigenvectors, or by a Schur form where they fail."""
    _checks.check_finite("jacobians", jacobians)
    # In single precision no basis of a condition near 1e6 could be inverted.
    jacobians, eigenvalues = jacobians.double(), eigenvalues.to(torch.complex128)
    bases = torch.empty_like(jacobians)
    labels = torch.empty(jacobians.shape[:2], dtype=torch.long, device=jacobians.device)
    values = torch.empty_like(eigenvalues)
    independent = condition < LARGEST_CONDITION  # false for NaN
    for row, apart in enumerate(independent.tolist()):
        if apart:
            given = eigenvalues[row], right_eigenvectors[row].to(eigenvalues)
            bases[row], labels[row], values[row] = _real_modes(*given)
        else:
            bases[row], labels[row], values[row] = _schur_blocks(jacobians[row])
    return InvariantSubspaces(bases, _linalg.real_inverse(bases), labels, values)


def _real_modes(values: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Real basis of eigenvectors: of a pair, its plane."""
    upper = torch.nonzero(values.imag >= 0)[:, 0]
    subspaces = torch.arange(len(upper), device=upper.device)
    sizes = 1 + (values[upper].imag > 0).long()
    labels = subspaces.repeat_interleave(sizes)
    columns = upper.repeat_interleave(sizes)
    second = torch.zeros_like(labels, dtype=torch.bool)
    second[1:] = labels.diff() == 0
    chosen = vectors[:, columns]
    basis = torch.where(second, chosen.imag, chosen.real)
    basis = basis / basis.norm(dim=0)
    # The second axis of a plane, orthogonal to its first.
    before = basis.roll(1, dims=1)
    across = basis - (basis * before).sum(0) * before
    basis = torch.where(second, across / across.norm(dim=0), basis)
    found = values[columns]
    return basis, labels, torch.where(second, found.conj(), found)


def _schur_blocks(jacobian: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    blocks = block_diagonalize(jacobian.cpu().numpy(), LARGEST_CONDITION)
    labels = np.repeat(np.arange(len(blocks.sizes)), blocks.sizes)
    found = (blocks.basis, labels, blocks.eigenvalues)
    basis, members, values = (
        torch.from_numpy(part).to(jacobian.device) for part in found
    )
    return basis, members, values
