"""Invariant subspaces of a matrix whose eigenvectors are nearly dependent.

A real Schur form, ordered by magnitude, is made block diagonal from its first row to
its last: a block is cut off by solving a Sylvester equation, and where the projector on
it is large, because its eigenvalues are too near to others, it first takes in the
nearest of them (after Bavely and Stewart 1979, SIAM J. Numer. Anal. 16, who bound the
solution of the Sylvester equation instead).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import schur
from scipy.linalg.lapack import dtrexc, dtrsyl

Square = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Blocks:
    """A basis in which a matrix is block diagonal.

    Attributes:
        basis: (d, d), orthonormal columns for each block, side by side.
        sizes: (b,) columns of each block.
        eigenvalues: (d,) of the blocks, each by decreasing magnitude.
    """

    basis: Square
    sizes: NDArray[np.int64]
    eigenvalues: NDArray[np.complex128]


def block_diagonalize(matrix: Square, largest_condition: float) -> Blocks:
    """Find a basis of invariant subspaces with a condition below the given one.

    There are as many subspaces as that allows, by decreasing largest magnitude.
    """
    # Of b subspaces it is at most b times the largest norm of a projector, or hardly
    # more, as that of the last one follows from the others.
    largest_projector = largest_condition / len(matrix)
    while True:
        blocks = _split(matrix, largest_projector)
        if np.linalg.cond(blocks.basis) < largest_condition:
            return blocks
        largest_projector /= 10  # below 1 nothing is cut off


def _split(matrix: Square, largest_projector: float) -> Blocks:
    form = _Form(matrix)
    width, start = len(matrix), 0
    ends: list[int] = []
    while start < width:
        values = form.values
        form.move(start + int(np.argmax(np.abs(values[start:]))), start)
        end = form.end_of(start)
        while end < width and not form.cut(start, end, largest_projector):
            values = form.values
            gaps = np.abs(values[start:end, None] - values[end:])
            form.move(end + int(np.argmin(gaps.min(axis=0))), end)
            end = form.end_of(end)
        ends.append(end)
        start = end
    return _sorted(form, np.diff([0, *ends]))


def _sorted(form: _Form, sizes: NDArray[np.int64]) -> Blocks:
    cuts = np.cumsum(sizes)[:-1]
    parts = np.split(form.basis, cuts, axis=1)
    values = [_by_size(part) for part in np.split(form.all_values, cuts)]
    order = np.argsort([-abs(part[0]) for part in values], kind="stable")
    return Blocks(
        np.concatenate([np.linalg.qr(parts[block])[0] for block in order], axis=1),
        sizes[order],
        np.concatenate([values[block] for block in order]),
    )


def _by_size(values: NDArray[np.complex128]) -> NDArray[np.complex128]:
    return values[np.lexsort((-values.imag, -np.round(np.abs(values), 12)))]


class _Form:
    """A X = X T with T quasi-triangular, whose 2 x 2 blocks hold pairs.

    L X = 1 too, in the rows of L that are not yet cut off.
    """

    def __init__(self, matrix: Square) -> None:
        triangular, basis = schur(matrix, output="real")
        # LAPACK works in place on columns. L is kept transposed.
        self.triangular = np.asfortranarray(triangular)
        self.basis = np.asfortranarray(basis)
        self.left = self.basis.copy(order="F")

    @property
    def all_values(self) -> NDArray[np.complex128]:
        """Eigenvalues (d,) along the diagonal; of a pair, the upper one first."""
        turns = self._turns
        values = np.diag(self.triangular).astype(np.complex128)
        values[:-1] += 1j * turns
        values[1:] -= 1j * turns
        return values

    @property
    def values(self) -> NDArray[np.complex128]:
        """The same, with the upper one of a pair in both of its places."""
        values = self.all_values
        upper: NDArray[np.complex128] = np.where(values.imag < 0, values.conj(), values)
        return upper

    @property
    def _turns(self) -> Square:
        below = np.diag(self.triangular, -1)
        turns: Square = np.sqrt(np.abs(below * np.diag(self.triangular, 1)))
        return np.where(below != 0, turns, 0.0)

    def end_of(self, start: int) -> int:
        """Where the diagonal block that starts here ends."""
        inner = start + 1
        paired = inner < len(self.basis) and self.triangular[inner, start] != 0
        return start + 2 if paired else inner

    def move(self, origin: int, place: int) -> None:
        """Move a diagonal block up, or as far as those on its way let it pass."""
        before = self.triangular.copy(order="F")
        places = origin + 1, place + 1
        kept = {"overwrite_a": 1, "overwrite_q": 1}
        _, self.basis, _ = dtrexc(before, self.basis, *places, **kept)
        self.triangular, self.left, _ = dtrexc(
            self.triangular, self.left, *places, **kept
        )

    def cut(self, start: int, end: int, largest_projector: float) -> bool:
        """Make T zero right of rows start to end, if the projector is small enough."""
        rows, rest = slice(start, end), slice(end, None)
        inner, outer = self.triangular[rows, rows], self.triangular[rest, rest]
        found, scale, info = dtrsyl(inner, outer, -self.triangular[rows, rest], isgn=-1)
        # info: eigenvalues are equal to rounding, and others were solved for.
        if info != 0:
            return False
        tilt = found / scale
        left = self.left[:, rows] - self.left[:, rest] @ tilt.T
        # |X L| = |R L|, for X = Q R. It is final, as no later cut changes these rows.
        triangle = np.linalg.qr(self.basis[:, rows], mode="r")
        if not np.linalg.norm(triangle @ left.T, 2) <= largest_projector:
            return False
        self.basis[:, rest] += self.basis[:, rows] @ tilt
        self.triangular[rows, rest] = 0
        return True
