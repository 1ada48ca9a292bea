"""How an output reads the states of a layer, averaged from one run to another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from captum_dynamics._typing import PerPoint, StateSequences
from captum_dynamics.adapters import Call
from captum_dynamics.attr._host import Arguments, Host
from captum_dynamics.attr._nodes import Nodes, find_corners
from captum_dynamics.attr._pieces import (
    Path,
    Pieces,
    Rule,
    Sample,
    average,
    warn_of_gaps,
)

RULE = Rule(counts=(1, 5, 10, 20, 40), max_pieces=256)
"""For the head's average: one node is exact for a linear head."""


def average_injections(
    host: Host,
    arguments: Arguments,
    call: Call,
    states: StateSequences,
    references: StateSequences,
) -> tuple[StateSequences, PerPoint]:
    """G and c, where y(S) = sum_t G_t . s_t + c and G . (S - S^b) = y(S) - y(S^b)."""
    with torch.no_grad():
        actual = host.outputs_from_states(arguments, call, states)
        before = host.outputs_from_states(arguments, call, references)
    # What rounding alone may do to an output of the model's own precision.
    precision = max(1e-12, 64 * torch.finfo(actual.dtype).eps)
    actual, before = actual.to(states.dtype), before.to(states.dtype)
    path = _Head(host, arguments, call, states, references, actual, before, precision)
    averages, missing = average(path, (actual - before)[:, None], RULE)
    remedy = "Is its output smooth, or piecewise smooth, in the layer's states?"
    warn_of_gaps("model's head", missing[:, 0], actual - before, remedy)
    injections = averages.view_as(states)
    return injections, actual - (injections * states).sum((1, 2))


@dataclass(frozen=True, eq=False)
class _Head(Path):
    """dy/ds is averaged; phi = y, the model's output for given states."""

    host: Host
    arguments: Arguments
    call: Call
    states: StateSequences
    references: StateSequences
    outputs: PerPoint
    reference_outputs: PerPoint
    precision: float

    @property
    def width(self) -> int:
        return self.states[0].numel()

    def sample(self, pieces: Pieces, nodes: Nodes) -> Sample:
        difference = (self.states - self.references)[pieces.rows]
        average, slopes = torch.zeros_like(difference), []
        for node, weight in zip(nodes.places, nodes.weights, strict=True):
            places = pieces.starts + node * pieces.lengths
            between = self._between(pieces.rows, places)
            injections = self.host.injections(self.arguments, self.call, between)
            weighted = pieces.lengths[:, None, None] * injections[pieces.rows]
            average += weight * weighted
            slopes.append((weighted * difference).sum((1, 2)))
        return Sample(average.flatten(1), torch.stack(slopes, dim=1)[:, :, None])

    def values(self, rows: Tensor, places: Tensor) -> Tensor:
        values = torch.zeros_like(places)
        for chosen in _turns(rows):
            between = self._between(rows[chosen], places[chosen])
            with torch.no_grad():
                outputs = self.host.outputs_from_states(
                    self.arguments, self.call, between
                )
            moved = outputs.to(values.dtype) - self.reference_outputs
            values[chosen] = moved[rows[chosen]]
        return values[:, None]

    def allowed(self, pieces: Pieces, sample: Sample) -> Tensor:
        average = sample.parts / pieces.lengths[:, None]
        read = (average * self.states[pieces.rows].flatten(1)).abs().sum(1)
        sizes = read + (self.outputs.abs() + self.reference_outputs.abs())[pieces.rows]
        return self.precision * (1 + sizes)

    def corners(self, pieces: Pieces, sample: Sample, nodes: Nodes) -> Tensor:
        changes = pieces.after - pieces.before
        return find_corners(changes, sample.slopes, nodes, self.allowed(pieces, sample))

    def batches(self, rows: Tensor) -> Iterable[Tensor]:
        """One piece of each example: the model runs them all at once."""
        return _turns(rows)

    def _between(self, rows: Tensor, places: Tensor) -> StateSequences:
        """States of all examples, those in `rows` at a place of their segment."""
        shares = torch.zeros_like(self.outputs)
        shares[rows] = places
        return self.references + shares[:, None, None] * (self.states - self.references)


def _turns(rows: Tensor) -> Iterator[Tensor]:
    """Indices of the first of each row, then of the second of each, and so on."""
    order = torch.argsort(rows, stable=True)
    counts = torch.bincount(rows)
    firsts = counts.cumsum(0) - counts
    turns = torch.arange(len(rows), device=rows.device) - firsts[rows[order]]
    for turn in range(int(counts.max())):
        yield order[turns == turn]
