"""Relevance through all levels of a layer: stacked ones, each in one or two directions.

A bidirectional layer is two systems; one reads its sequence backwards. What the next
level reads is the outputs of both.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain

import torch
from torch import nn

from captum_dynamics._typing import (
    Counts,
    InputSequences,
    PerPoint,
    States,
    StateSequences,
)
from captum_dynamics.adapters import Call
from captum_dynamics.attr._relevance import CellRelevance, Rules
from captum_dynamics.attr._relevance_layers import Levels


@dataclass(frozen=True, eq=False)
class Received:
    """Where the relevance of a layer's states ends.

    Attributes:
        inputs: at the layer's inputs, (n, t, k).
        initial_states: at the states before the first step, (n,).
        biases: at biases, (n,).
        stabilizer: at epsilon, (n,).
    """

    inputs: InputSequences
    initial_states: PerPoint
    biases: PerPoint
    stabilizer: PerPoint


@dataclass(frozen=True, eq=False)
class Pass:
    """One direction of one level over its sequences, in the order it reads them."""

    cell: CellRelevance
    inputs: InputSequences
    initial_states: States
    lengths: Counts
    backward: bool
    states: StateSequences

    @property
    def states_in_order(self) -> StateSequences:
        """States (n, t, d) in the order of the sequence."""
        return self._reorder(self.states)

    def receive(self, rules: Rules, relevance: StateSequences) -> Received:
        """Pass back the relevance of states, given in the order of the sequence."""
        relevance = self._reorder(relevance)
        before = torch.cat([self.initial_states[:, None], self.states[:, :-1]], dim=1)
        carried = torch.zeros_like(self.initial_states)
        biases = stabilizer = carried.new_zeros(len(carried))
        of_inputs = torch.zeros_like(self.inputs)
        for step in reversed(range(self.inputs.shape[1])):
            passed = self.cell.pull(
                rules,
                before[:, step],
                self.inputs[:, step],
                carried + relevance[:, step],
            )
            carried, of_inputs[:, step] = passed.states, passed.inputs
            biases = biases + passed.biases
            stabilizer = stabilizer + passed.stabilizer
        return Received(self._reorder(of_inputs), carried.sum(-1), biases, stabilizer)

    def _reorder(self, sequences: StateSequences) -> StateSequences:
        return reverse(sequences, self.lengths) if self.backward else sequences


def reverse(sequences: InputSequences, lengths: Counts) -> InputSequences:
    """Reverse each sequence within its length; what follows stays."""
    steps = torch.arange(sequences.shape[1], device=sequences.device)
    places = torch.where(steps < lengths[:, None], lengths[:, None] - 1 - steps, steps)
    return torch.take_along_dim(sequences, places[:, :, None], dim=1)


Run = tuple[tuple[Pass, ...], ...]
"""Each level's passes: forward, and backward where there are two."""


def run_levels(levels: Levels, call: Call) -> Run:
    """Run every level and direction on what it reads in one call of the layer."""
    widths = [cell.layer.state_dim for level in levels for cell in level]
    initial = iter(torch.split(call.initial_states, widths, dim=-1))
    read, run = call.inputs, []
    for level in levels:
        passes = []
        for backward, cell in enumerate(level):
            inputs = reverse(read, call.lengths) if backward else read
            start = next(initial)
            states = cell.layer.rollout(start, inputs)
            passes.append(
                Pass(cell, inputs, start, call.lengths, bool(backward), states)
            )
        outputs = [p.states_in_order[..., : p.cell.layer.output_dim] for p in passes]
        read = torch.cat(outputs, dim=-1)
        run.append(tuple(passes))
    return tuple(run)


def join_states(run: Run) -> StateSequences:
    """States (n, t, d) of all levels and directions, as the layer's calls have them."""
    return torch.cat([p.states_in_order for level in run for p in level], dim=-1)


def receive(run: Run, rules: Rules, relevance: StateSequences) -> Received:
    """Pass the relevance (n, t, d) of all states back to what the layer read."""
    widths = [p.cell.layer.state_dim for p in chain(*run)]
    own = torch.split(relevance, widths, dim=-1)
    nothing = relevance.new_zeros(len(relevance))
    width = sum(p.cell.layer.output_dim for p in run[-1])
    unread = relevance.new_zeros(*relevance.shape[:2], width)
    received = Received(unread, nothing, nothing, nothing)
    for level in reversed(run):
        widths = [p.cell.layer.output_dim for p in level]
        above = torch.split(received.inputs, widths, dim=-1)
        shares, own = own[-len(level) :], own[: -len(level)]
        parts = [
            p.receive(rules, share + _widened(outputs, share))
            for p, share, outputs in zip(level, shares, above, strict=True)
        ]
        received = Received(
            torch.stack([part.inputs for part in parts]).sum(0),
            received.initial_states + sum(part.initial_states for part in parts),
            received.biases + sum(part.biases for part in parts),
            received.stabilizer + sum(part.stabilizer for part in parts),
        )
    return received


def _widened(outputs: InputSequences, like: StateSequences) -> StateSequences:
    """Relevance of outputs as one of states, which start with the outputs."""
    return nn.functional.pad(outputs, (0, like.shape[-1] - outputs.shape[-1]))
