"""Relevance through all levels of a layer: stacked ones, each in one or two directions.

A bidirectional layer is two systems; one reads its sequence backwards. What the next
level reads is the outputs of both.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain

import torch
from torch import nn

from captum_dynamics._typing import InputSequences, PerPoint, StateSequences
from captum_dynamics.adapters import Call
from captum_dynamics.adapters._systems import SystemRun, divide_run
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
    """One direction of one level, its rules and its run."""

    cell: CellRelevance
    run: SystemRun

    def receive(self, rules: Rules, relevance: StateSequences) -> Received:
        """Pass back the relevance of states, given in the order of the sequence."""
        run, relevance = self.run, self.run.reorder(relevance)
        before = torch.cat([run.initial_states[:, None], run.states[:, :-1]], dim=1)
        carried = torch.zeros_like(run.initial_states)
        biases = stabilizer = carried.new_zeros(len(carried))
        of_inputs = torch.zeros_like(run.inputs)
        for step in reversed(range(run.inputs.shape[1])):
            passed = self.cell.pull(
                rules,
                before[:, step],
                run.inputs[:, step],
                carried + relevance[:, step],
            )
            carried, of_inputs[:, step] = passed.states, passed.inputs
            biases = biases + passed.biases
            stabilizer = stabilizer + passed.stabilizer
        return Received(run.reorder(of_inputs), carried.sum(-1), biases, stabilizer)


Run = tuple[tuple[Pass, ...], ...]
"""Each level's passes: forward, and backward where there are two."""


def divide_levels(levels: Levels, call: Call, states: StateSequences) -> Run:
    """Divide the states (n, t, d) of one call of the layer among its systems."""
    systems = tuple(tuple(cell.layer for cell in level) for level in levels)
    runs = divide_run(systems, call, states)
    return tuple(
        tuple(map(Pass, level, own)) for level, own in zip(levels, runs, strict=True)
    )


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
