"""Homology over two elements, of cells and their boundaries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class ChainComplex:
    """Cells by dimension, with the boundary of each as a set of cells.

    Attributes:
        cells: for every dimension from 0, its cells.
        boundaries: of each cell, those of one dimension less in its boundary.
    """

    cells: Sequence[Sequence[int]]
    boundaries: Mapping[int, frozenset[int]]

    @property
    def gaps(self) -> tuple[tuple[int, int], ...]:
        """Pairs (p, r) with an odd number of ways from p over one cell to r.

        Boundaries have no boundary: where all is known, there is no such pair.
        """
        found = []
        for cell in (cell for level in self.cells for cell in level):
            ends: frozenset[int] = frozenset()
            for middle in self.boundaries[cell]:
                ends ^= self.boundaries[middle]
            found += [(cell, end) for end in sorted(ends)]
        return tuple(found)

    @property
    def betti(self) -> tuple[int, ...]:
        """Betti number of every dimension; defined where there are no gaps."""
        ranks = [_rank(self.boundaries[cell] for cell in level) for level in self.cells]
        counts = [len(level) for level in self.cells]
        above = [*ranks, 0][1:]
        return tuple(n - r - a for n, r, a in zip(counts, ranks, above, strict=True))


def _rank(sets: Iterable[frozenset[int]]) -> int:
    """Number of independent sets, when their sum is the symmetric difference."""
    pivots: dict[int, frozenset[int]] = {}
    for left in sets:
        while left and max(left) in pivots:
            left ^= pivots[max(left)]
        if left:
            pivots[max(left)] = left
    return len(pivots)
