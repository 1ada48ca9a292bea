"""Averages of derivatives along segments, cut into pieces where a map has corners."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from captum_dynamics.attr._nodes import (
    Corners,
    Nodes,
    Shares,
    Slopes,
    Values,
    and_ends,
    gauss_legendre,
    hides_corners,
)
from captum_dynamics.exceptions import AttributionWarning

Rows = Int[Tensor, " p"]
Averages = Float[Tensor, "n r"]
Changes = Float[Tensor, "n q"]


WORTH_SAYING = 1e-5
"""Of an output's change: what averages miss below it, float32 does not resolve."""


@dataclass(frozen=True, eq=False)
class Pieces:
    """Pieces of segments, and the values phi of a function at both ends of each.

    Attributes:
        rows: the segment each is part of.
        starts: where each starts, as a share of its segment.
        lengths: how long it is, as a share of its segment.
        before: phi at its start.
        after: phi at its end.
    """

    rows: Rows
    starts: Shares
    lengths: Shares
    before: Values
    after: Values

    def __getitem__(self, chosen: Tensor | slice) -> Pieces:
        """Select pieces."""
        return Pieces(
            self.rows[chosen],
            self.starts[chosen],
            self.lengths[chosen],
            self.before[chosen],
            self.after[chosen],
        )

    def __len__(self) -> int:
        """Number of pieces."""
        return len(self.rows)


@dataclass(frozen=True, eq=False)
class Sample:
    """What some nodes tell of each piece.

    Attributes:
        parts: what the piece adds to the average over its segment.
        slopes: phi' at each node; the unit of length is the piece.
    """

    parts: Float[Tensor, "p r"]
    slopes: Slopes

    def __getitem__(self, chosen: Tensor) -> Sample:
        """Select pieces."""
        return Sample(self.parts[chosen], self.slopes[chosen])


class Path(ABC):
    """Segments, one a row, along which derivatives are averaged.

    phi changes by the average of phi', which is linear in those derivatives: so each
    piece has an equation to check its average by.
    """

    @property
    @abstractmethod
    def width(self) -> int:
        """How many derivatives r are averaged."""

    @abstractmethod
    def sample(self, pieces: Pieces, nodes: Nodes) -> Sample:
        """Average over each piece, and give the slopes at the nodes."""

    @abstractmethod
    def values(self, rows: Rows, places: Shares) -> Values:
        """Phi at places of some segments, less phi at their starts."""

    @abstractmethod
    def allowed(self, pieces: Pieces, sample: Sample) -> Shares:
        """By how much the equation of a piece may fail."""

    @abstractmethod
    def corners(self, pieces: Pieces, sample: Sample, nodes: Nodes) -> Corners:
        """Where to cut pieces, as shares of each; NaN for no cut."""

    @abstractmethod
    def batches(self, rows: Rows) -> Iterable[Tensor | slice]:
        """Select pieces that are sampled together, each piece once."""


@dataclass(frozen=True)
class Rule:
    """How far an average is refined.

    Args:
        counts: numbers of nodes to try on a whole segment, in this order.
        max_pieces: a segment is cut no further once so many pieces were made of it.
    """

    counts: tuple[int, ...]
    max_pieces: int

    @property
    def of_segments(self) -> list[Nodes]:
        """Nodes to try on whole segments."""
        return [gauss_legendre(count) for count in self.counts]

    @property
    def of_pieces(self) -> list[Nodes]:
        """One node is exact where phi is straight; a piece that needs many is cut."""
        several = next(count for count in (*self.counts, 5) if count > 1)
        return [and_ends(1), and_ends(several)]


def average(path: Path, changes: Changes, rule: Rule) -> tuple[Averages, Changes]:
    """Average over every segment, until phi changes by the average of phi'.

    Gauss-Legendre with few nodes is exact for smooth derivatives, but errs by one part
    in their number where a derivative jumps. Pieces that more nodes would not help are
    cut at their corners, or in halves where none is found.

    Args:
        path: the segments and their derivatives.
        changes: of phi, from end to end.
        rule: how far the average is refined.

    Returns:
        The averages, and by how much phi's change is missed where the rule was not
        enough; zero elsewhere.
    """
    total = changes.new_zeros(len(changes), path.width)
    missing = torch.zeros_like(changes)
    pieces, tries = _whole(changes), rule.of_segments
    made = torch.ones_like(pieces.rows)
    while len(pieces) > 0:
        cut = []
        for chosen in path.batches(pieces.rows):
            batch = pieces[chosen]
            may_cut = made[batch.rows] < rule.max_pieces
            parts, missed, smaller = _climb(path, batch, tries, may_cut)
            total.index_add_(0, batch.rows, parts)
            missing.index_add_(0, batch.rows, missed)
            cut.append(smaller)
        pieces, tries = _joined(cut), rule.of_pieces
        made += torch.bincount(pieces.rows, minlength=len(changes))
    return total, missing


def _whole(changes: Changes) -> Pieces:
    places = changes.new_zeros(len(changes))
    rows = torch.arange(len(changes), device=changes.device)
    return Pieces(rows, places, places + 1, torch.zeros_like(changes), changes)


def _climb(
    path: Path, pieces: Pieces, tries: list[Nodes], may_cut: Bool[Tensor, " p"]
) -> tuple[Float[Tensor, "p r"], Values, Pieces]:
    """Average with more and more nodes, while that promises to be enough.

    Returns:
        What each piece adds, what it misses, and the pieces of those that were cut,
        which add and miss nothing themselves.
    """
    parts = pieces.before.new_zeros(len(pieces), path.width)
    missing, smaller = torch.zeros_like(pieces.before), [pieces[:0]]
    pending = torch.arange(len(pieces), device=parts.device)
    errors, previous = torch.full_like(pieces.starts, torch.inf), 0
    for nodes in tries:
        part = pieces[pending]
        sample = path.sample(part, nodes)
        parts[pending] = sample.parts
        gaps = nodes.average(sample.slopes) - (part.after - part.before)
        error, allowed = gaps.norm(dim=-1), path.allowed(part, sample)
        hidden = hides_corners(sample.slopes, nodes, allowed)
        failed = (error > allowed) | hidden
        if not bool(failed.any()):
            break
        # Errors of smooth averages fall geometrically with the number of nodes.
        fall = (error / errors) ** (1 / (nodes.count - previous))
        promising = error * fall ** (tries[-1].count - nodes.count) <= allowed
        hopeless = failed & (~promising | (hidden & (previous > 0)))
        if bool(hopeless.any()):
            cut = hopeless & may_cut[pending]
            missing[pending[hopeless & ~cut]] = gaps[hopeless & ~cut]
            parts[pending[cut]] = 0.0
            smaller.append(_cut(path, part[cut], sample[cut], nodes))
        left = failed & ~hopeless
        pending, errors, previous = pending[left], error[left], nodes.count
        if len(pending) == 0:
            break
    return parts, missing, _joined(smaller)


def _cut(path: Path, pieces: Pieces, sample: Sample, nodes: Nodes) -> Pieces:
    """The parts of each piece, from corner to corner."""
    if len(pieces) == 0:
        return pieces
    corners = path.corners(pieces, sample, nodes)
    halved = corners.isnan().all(-1)
    corners[halved, 0] = 0.5
    of, which = torch.nonzero(~corners.isnan(), as_tuple=True)
    shares = corners[of, which]
    places = pieces.starts[of] + shares * pieces.lengths[of]
    # Each piece starts at the start of the whole or at a corner, and ends at the next.
    of = torch.cat([torch.arange(len(pieces), device=of.device), of])
    shares = torch.cat([torch.zeros_like(pieces.starts), shares])
    before = torch.cat(
        [pieces.before, path.values(pieces.rows[of[len(pieces) :]], places)]
    )
    order = torch.argsort(shares, stable=True)
    order = order[torch.argsort(of[order], stable=True)]
    of, shares, before = of[order], shares[order], before[order]
    final = of != of.roll(-1)
    final[-1] = True
    ends = torch.where(final, 1.0, shares.roll(-1))
    after = torch.where(final[:, None], pieces.after[of], before.roll(-1, 0))
    return Pieces(
        pieces.rows[of],
        pieces.starts[of] + shares * pieces.lengths[of],
        (ends - shares) * pieces.lengths[of],
        before,
        after,
    )


def warn_of_gaps(
    of: str, missing: Float[Tensor, " n"], changes: Float[Tensor, " n"], remedy: str
) -> None:
    """Say so where averages miss part of the output's change."""
    worst = float(missing.abs().max())
    if worst > WORTH_SAYING * (1 + float(changes.abs().max())):
        warnings.warn(
            f"The averaged derivatives of the {of} miss up to {worst:.1e} of an "
            f"output's change; the convergence delta holds it. {remedy}",
            AttributionWarning,
            stacklevel=9,
        )


def _joined(parts: list[Pieces]) -> Pieces:
    parts = [part for part in parts if len(part) > 0] or parts[:1]
    if len(parts) == 1:
        return parts[0]
    return Pieces(
        torch.cat([part.rows for part in parts]),
        torch.cat([part.starts for part in parts]),
        torch.cat([part.lengths for part in parts]),
        torch.cat([part.before for part in parts]),
        torch.cat([part.after for part in parts]),
    )
