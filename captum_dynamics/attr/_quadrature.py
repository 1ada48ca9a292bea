"""Averages of a map's derivatives along segments of states and inputs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from captum_dynamics import _checks
from captum_dynamics._execution import row_chunks
from captum_dynamics._typing import Inputs, PerPoint, States
from captum_dynamics.attr._nodes import Nodes, find_corners, gauss_legendre
from captum_dynamics.attr._pieces import (
    Path,
    Pieces,
    Rule,
    Sample,
    average,
)
from captum_dynamics.attr._segments import Segments
from captum_dynamics.unitwise import Arguments, UnitwiseForm, Values, ValueSlopes

IN_CACHE = 4 * 2**20
"""Bytes of arguments whose slopes are averaged at once: work that stays in a cache."""

COPIES = 256
"""Averages of a piece that are held at once, with those at its nodes, about."""


@dataclass(frozen=True)
class Quadrature:
    """Gauss-Legendre with as many nodes and pieces as each segment needs.

    Args:
        nodes: nodes at first; doubled where the segment's equation does not hold.
        max_nodes: nodes of a piece at most.
        atol: largest error of the equation of a piece, in units of
            1 + |F(h, x) - F(h^b, x^b)|.
        max_pieces: a segment is cut no further once so many pieces were made of it.
    """

    nodes: int = 5
    max_nodes: int = 40
    atol: float = 1e-10
    max_pieces: int = 1024

    def __post_init__(self) -> None:
        """Refuse settings without a meaning."""
        _checks.check_positive("nodes", self.nodes)
        _checks.check_positive("atol", self.atol)
        _checks.check_positive("max_pieces", self.max_pieces)
        if self.max_nodes < self.nodes:
            raise ValueError(
                f"Expected `max_nodes` to be at least `nodes` = {self.nodes}, got "
                f"{self.max_nodes}."
            )

    def pull_back(
        self, segments: Segments, cotangents: States, changes: States
    ) -> tuple[States, Inputs, PerPoint]:
        """v Jbar and v Bbar, where `changes` are F(h, x) - F(h^b, x^b).

        The equation is checked along v: for what the output does not read, such as
        padding, nothing has to be computed. The last of the three is by how much it
        fails where no number of nodes and pieces was enough; zero elsewhere.
        """
        back = torch.zeros_like(segments.states)
        gradients = torch.zeros_like(segments.inputs)
        missing = torch.zeros_like(segments.states[:, 0])
        read = torch.nonzero(cotangents.any(-1))[:, 0]
        if len(read) > 0:
            v, changed = cotangents[read], changes[read]
            allowed = v.norm(dim=-1) * self._allowed(changed)
            path = _AlongCotangents(segments[read], allowed, v)
            along = (v * changed).sum(-1, keepdim=True)
            averages, lost = average(path, along, self._rule)
            back[read] = averages[:, : back.shape[1]]
            gradients[read] = averages[:, back.shape[1] :]
            missing[read] = lost[:, 0]
        return back, gradients, missing

    def drives(self, segments: Segments, changes: States) -> States:
        """Bbar (x - x^b), where `changes` are F(h, x) - F(h^b, x^b)."""
        width = segments.states.shape[1]
        parts = []
        # About as many pieces as coordinates, with phi at both ends of each.
        for rows in row_chunks(len(segments), 8 * 4 * width**2):
            path = _EveryCoordinate(segments[rows], self._allowed(changes[rows]))
            parts.append(average(path, changes[rows], self._rule)[0])
        return torch.cat(parts)

    def mean_slopes(
        self, form: UnitwiseForm, starts: Arguments, ends: Arguments
    ) -> tuple[ValueSlopes, Values]:
        """Slopes averaged along straight ways, and what they miss of each value's rise.

        The second is zero but where no number of nodes and pieces was enough.
        """
        if len(starts) == 0:
            return form.slopes(starts), form.values(starts)
        halvings = self.max_pieces.bit_length() - 1
        found = [
            self._mean_slopes(form, starts[rows], ends[rows], halvings)
            for rows in row_chunks(len(starts), 8 * starts[0].numel(), IN_CACHE)
        ]
        slopes, gaps = zip(*found, strict=True)
        return torch.cat(slopes), torch.cat(gaps)

    def _mean_slopes(
        self, form: UnitwiseForm, starts: Arguments, ends: Arguments, halvings: int
    ) -> tuple[ValueSlopes, Values]:
        rises = form.values(ends) - form.values(starts)
        gaps = torch.zeros_like(rises)
        exact = form.mean_slopes(starts, ends)
        if exact is not None:
            return exact, gaps
        moves, allowed = ends - starts, self._allowed(rises.flatten(1))
        first, *others = (gauss_legendre(count) for count in self._rule.counts)
        slopes, missed = _slopes_at(first, form, starts, moves, rises)
        pending = torch.nonzero(missed.flatten(1).norm(dim=-1) > allowed)[:, 0]
        missed = self._balanced(slopes, missed, moves)[pending]
        for nodes in others:
            if len(pending) == 0:
                return slopes, gaps
            part = starts[pending], moves[pending], rises[pending]
            found, missed = _slopes_at(nodes, form, *part)
            failed = missed.flatten(1).norm(dim=-1) > allowed[pending]
            missed = self._balanced(found, missed, moves[pending])[failed]
            slopes[pending], pending = found, pending[failed]
        if halvings > 0 and len(pending) > 0:
            middle = starts[pending] + 0.5 * moves[pending]
            halves = (
                torch.cat([starts[pending], middle]),
                torch.cat([middle, ends[pending]]),
            )
            of_halves, missed = self._mean_slopes(form, *halves, halvings - 1)
            slopes[pending] = torch.stack(of_halves.chunk(2)).mean(0)
            missed = torch.stack(missed.chunk(2)).sum(0)
        gaps[pending] = missed
        return slopes, gaps

    def _balanced(
        self, slopes: ValueSlopes, missed: Values, moves: Arguments
    ) -> Values:
        """Change slopes least to make them miss nothing, where that is next to nothing.

        What a unit's slopes miss of its rise is divided along its moves. What would
        take a larger change is missed as before, and returned.
        """
        sizes = moves.square().sum(1)
        small = missed.abs() <= 100 * self.atol * sizes.sqrt()[:, None]
        shares = torch.where(small, missed, 0.0)
        shares /= sizes.clamp_min(torch.finfo(sizes.dtype).tiny)[:, None]
        slopes.addcmul_(shares[:, :, None], moves[:, None], value=-1)
        return torch.where(small, 0.0, missed)

    def _allowed(self, changes: States) -> PerPoint:
        # No number of pieces is better than rounding, of maps in float32 above all.
        rounding = 64 * torch.finfo(changes.dtype).eps
        sizes: PerPoint = 1 + changes.norm(dim=-1)
        return max(self.atol, rounding) * sizes

    @property
    def _rule(self) -> Rule:
        """nodes, 2 nodes, ... up to and including max_nodes."""
        counts = [self.nodes]
        while counts[-1] < self.max_nodes:
            counts.append(min(2 * counts[-1], self.max_nodes))
        return Rule(tuple(counts), self.max_pieces)


def _slopes_at(
    nodes: Nodes, form: UnitwiseForm, starts: Arguments, moves: Arguments, rises: Values
) -> tuple[ValueSlopes, Values]:
    """Slopes averaged over nodes, and what they miss of each value's rise."""
    total: Tensor = torch.zeros(())
    for place, weight in zip(nodes.places, nodes.weights, strict=True):
        slopes = form.slopes(torch.add(starts, moves, alpha=place))
        total = (
            slopes.mul_(weight) if total.ndim == 0 else total.add_(slopes, alpha=weight)
        )
    return total, (total * moves[:, None]).sum(2) - rises


@dataclass(frozen=True, eq=False)
class _OfSegments(Path):
    segments: Segments
    largest_errors: PerPoint

    def allowed(self, pieces: Pieces, sample: Sample) -> Tensor:
        return self.largest_errors[pieces.rows]

    def batches(self, rows: Tensor) -> Iterable[slice]:
        return row_chunks(len(rows), 8 * COPIES * self.width)

    def _parts(self, pieces: Pieces) -> Segments:
        return self.segments.parts(pieces.rows, pieces.starts, pieces.lengths)

    def _moved(self, rows: Tensor, places: Tensor) -> States:
        """How far F is from its value at the start, at places of segments."""
        starts = torch.zeros_like(places)
        return self.segments.parts(rows, starts, places).changes()


@dataclass(frozen=True, eq=False)
class _AlongCotangents(_OfSegments):
    """v J and v B are averaged; phi = v . F."""

    cotangents: States

    @property
    def width(self) -> int:
        return self.segments.states.shape[1] + self.segments.inputs.shape[1]

    def sample(self, pieces: Pieces, nodes: Nodes) -> Sample:
        pulled = self._parts(pieces).pull_back(nodes, self.cotangents[pieces.rows])
        averages = torch.cat(pulled[:2], dim=-1)
        return Sample(pieces.lengths[:, None] * averages, pulled[2][:, :, None])

    def values(self, rows: Tensor, places: Tensor) -> Tensor:
        moved = self._moved(rows, places)
        return (self.cotangents[rows] * moved).sum(-1, keepdim=True)

    def corners(self, pieces: Pieces, sample: Sample, nodes: Nodes) -> Tensor:
        """The corners of all v_i F_i, of which v . F has one for each unit."""
        part, v = self._parts(pieces), self.cotangents[pieces.rows]
        slopes = v[:, None] * part.push(nodes, part.state_changes)
        return find_corners(
            v * part.changes(), slopes, nodes, self.allowed(pieces, sample)
        )


@dataclass(frozen=True, eq=False)
class _EveryCoordinate(_OfSegments):
    """B (x - x^b) is averaged; phi are all coordinates of F."""

    @property
    def width(self) -> int:
        return self.segments.states.shape[1]

    def sample(self, pieces: Pieces, nodes: Nodes) -> Sample:
        part = self._parts(pieces)
        driven = part.push(nodes, torch.zeros_like(part.states))
        return Sample(nodes.average(driven), part.push(nodes, part.state_changes))

    def values(self, rows: Tensor, places: Tensor) -> Tensor:
        return self._moved(rows, places)

    def corners(self, pieces: Pieces, sample: Sample, nodes: Nodes) -> Tensor:
        changes = pieces.after - pieces.before
        return find_corners(changes, sample.slopes, nodes, self.allowed(pieces, sample))
