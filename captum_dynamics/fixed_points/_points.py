"""Points that searches ended at: one labelled row each, merged where they are one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from enum import IntEnum

import torch
from torch import Tensor

from captum_dynamics._typing import Counts, Inputs, Mask, PerPoint, States
from captum_dynamics.merging import connected_groups, nearest_leaders
from captum_dynamics.solvers import Status
from captum_dynamics.symmetry import Symmetry, orbit_groups


class Kind(IntEnum):
    """What a returned state is."""

    FIXED = 0
    """|g| within the solver's tolerance, and not by saturated gates alone."""
    SLOW = 1
    """Not fixed, but its speed q is below `q_slow`."""
    UNCONVERGED = 2
    """Neither fixed nor slow."""
    SPURIOUS = 3
    """|g| is tiny only because gates saturate, or outside the invariant box."""


@dataclass(frozen=True, eq=False)
class FixedPoints:
    """Where the searches ended: nothing is dropped, `kind` and `status` tell.

    Attributes:
        states: (n, d), in float64.
        inputs: (n, k), the constant input of each search.
        residual_norms: |F(h, x) - h| (n,), recomputed at `states`.
        status: (n,) how each search ended, a `Status`.
        kind: (n,) what each state is, a `Kind`.
        steps: (n,) updates used.
        multiplicity: (n,) searches that ended here; 1 until `unique()`.
        merge_radii: (n,) distance within which two points are one. For a fixed point
            it is twice the error bound |(J - I)^-1| max(|g|, 64 eps (1 + |h|)).
        degenerate: (n,) whether J - I is singular to 1e-4, so that the point may be
            one of a continuum; such points merge with every neighbour within 1e-2, and
            a continuum that is sampled so densely becomes one point.
    """

    states: States
    inputs: Inputs
    residual_norms: PerPoint
    status: Counts
    kind: Counts
    steps: Counts
    multiplicity: Counts
    merge_radii: PerPoint
    degenerate: Mask

    def __len__(self) -> int:
        """Number of points."""
        return self.states.shape[0]

    def __getitem__(self, selection: Tensor | slice) -> FixedPoints:
        """Select points by mask, indices or slice."""
        if not isinstance(selection, (Tensor, slice)):
            raise TypeError(
                f"Expected a mask, a tensor of indices or a slice, got "
                f"{type(selection).__name__}."
            )
        return FixedPoints(*(value[selection] for value in self._values()))

    @staticmethod
    def concatenate(parts: Sequence[FixedPoints]) -> FixedPoints:
        """Put the rows of several results below each other."""
        columns = zip(*(part._values() for part in parts), strict=True)
        return FixedPoints(*(torch.cat(column) for column in columns))

    @property
    def speed(self) -> PerPoint:
        """q = 1/2 |g|^2."""
        return 0.5 * self.residual_norms**2

    @property
    def speed_per_unit(self) -> PerPoint:
        """(1/d) |g|^2, the criterion of Maheswaranathan et al. (2019)."""
        return self.residual_norms**2 / self.states.shape[1]

    @property
    def converged(self) -> Mask:
        """Rows whose search met the solver's tolerance."""
        return self.status == Status.CONVERGED

    def unique(self, *, symmetry: Symmetry | None = None) -> FixedPoints:
        """Merge points closer than their radii; each keeps its smallest residual.

        Only points with the same input and of the same kind merge. The result does
        not depend on the order of rows, and merging twice changes nothing.

        Args:
            symmetry: permutations of the state that the dynamics do not notice, to
                merge what one of them brings that close, too. The point that is kept
                is moved to the image that stands for its orbit, where the residual is
                the same if the dynamics have the symmetry: `find_orbits` makes sure.

        Raises:
            ValueError: the symmetry is one of states of another width.
        """
        same = self._labels()
        # Most searches end at states that others ended at exactly.
        leaders = nearest_leaders(self.states, same, 0.0)
        kept, row = torch.unique(leaders, return_inverse=True)
        groups = connected_groups(
            self.states[kept], self.merge_radii[kept], same[kept]
        )[row]
        ranks = torch.unique(self.states[kept], dim=0, return_inverse=True)[1][row]
        apart = self._best_of(groups, ranks)
        if symmetry is None:
            return apart
        ranks = torch.unique(apart.states, dim=0, return_inverse=True)[1]
        merged = apart._best_of(apart._orbit_groups(symmetry), ranks)
        moved = symmetry.canonical(merged.states, merged.merge_radii)
        return replace(merged, states=moved)

    def _orbit_groups(self, symmetry: Symmetry) -> Counts:
        """Group index (n,) of each point: one for all that are one up to a symmetry."""
        return orbit_groups(symmetry, self.states, self.merge_radii, self._labels())

    def _labels(self) -> Tensor:
        """What must be equal for points to merge, as rows of numbers."""
        return torch.cat([self.inputs, self.kind[:, None].to(self.inputs)], dim=1)

    def _best_of(self, groups: Counts, ranks: Counts) -> FixedPoints:
        """Of each group the point with the smallest residual, in order of groups.

        Equal residuals are told apart by the ranks of states, whatever the order of
        rows.
        """
        order = torch.argsort(ranks, stable=True)
        order = order[torch.argsort(self.residual_norms[order], stable=True)]
        order = order[torch.argsort(groups[order], stable=True)]
        starts = torch.ones_like(order, dtype=torch.bool)
        starts[1:] = groups[order][1:] != groups[order][:-1]
        best = order[starts]
        counts = self.multiplicity.new_zeros(len(best))
        counts = counts.index_add(0, groups, self.multiplicity)
        return replace(self[best], multiplicity=counts)

    def summary(self) -> str:
        """Count points by kind in one line."""
        counts = {kind: int((self.kind == kind).sum()) for kind in Kind}
        named = (f"{count} {kind.name.lower()}" for kind, count in counts.items())
        return f"{len(self)} points: {', '.join(named)}"

    def _values(self) -> tuple[Tensor, ...]:
        return tuple(getattr(self, field.name) for field in fields(self))
