"""Levels of a layer, each read in one or two directions, as systems of their own.

A bidirectional layer is two systems; one reads its sequence backwards. What the next
level reads is the outputs of both: each level and direction has its own inputs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from captum_dynamics._typing import (
    Counts,
    Inputs,
    InputSequences,
    States,
    StateSequences,
    StepMask,
)
from captum_dynamics.adapters._base import RecurrentAdapter, Systems, later_any
from captum_dynamics.adapters._calls import SequenceCalls
from captum_dynamics.adapters._convention import Call
from captum_dynamics.dynamics import Traits
from captum_dynamics.exceptions import UnsupportedLayerError
from captum_dynamics.layout import Block, StateLayout


@dataclass(frozen=True, eq=False)
class SystemRun:
    """One direction of one level over its sequences, in the order it reads them.

    Attributes:
        dynamics: the system's map.
        inputs: what it reads, (n, t, k).
        initial_states: before its first step, (n, d).
        lengths: steps (n,) of each sequence.
        backward: whether it reads each sequence from its end.
        states: after each step, (n, t, d).
    """

    dynamics: RecurrentAdapter
    inputs: InputSequences
    initial_states: States
    lengths: Counts
    backward: bool
    states: StateSequences

    def reorder(self, sequences: Tensor) -> Tensor:
        """Bring (n, t, m) to or from the order of the sequence."""
        return reverse(sequences, self.lengths) if self.backward else sequences


Run = tuple[tuple[SystemRun, ...], ...]
"""Each level's runs: forward, and backward where there are two."""


def reverse(sequences: Tensor, lengths: Counts) -> Tensor:
    """Reverse each sequence (n, t, m) within its length; what follows stays."""
    steps = torch.arange(sequences.shape[1], device=sequences.device)
    ends = lengths[:, None].to(steps.device)
    places = torch.where(steps < ends, ends - 1 - steps, steps)
    return torch.take_along_dim(sequences, places[:, :, None], dim=1)


def split_systems(systems: Systems, states: Tensor) -> list[tuple[Tensor, ...]]:
    """Divide (..., d) joined states into those of each level's systems."""
    widths = [system.state_dim for level in systems for system in level]
    parts = iter(torch.split(states, widths, dim=-1))
    return [tuple(next(parts) for _ in level) for level in systems]


def run_systems(systems: Systems, call: Call) -> StateSequences:
    """States (n, t, d) of all systems side by side, in the order of the sequence."""
    read, visited = call.inputs, []
    initial = split_systems(systems, call.initial_states)
    for level, starts in zip(systems, initial, strict=True):
        states = [
            _run_one(system, start, read, call.lengths, backward=bool(place))
            for place, (system, start) in enumerate(zip(level, starts, strict=True))
        ]
        visited += states
        read = _outputs(level, states)
    return torch.cat(visited, dim=-1)


def divide_run(systems: Systems, call: Call, states: StateSequences) -> Run:
    """Give each system what it reads and visits, where all states (n, t, d) are known.

    The states are in the order of the sequence, as `run_systems` gives them.
    """
    read, run = call.inputs, []
    initial = split_systems(systems, call.initial_states)
    visited = split_systems(systems, states)
    for level, starts, own in zip(systems, initial, visited, strict=True):
        runs = []
        for place, system in enumerate(level):
            inputs, after = read, own[place]
            if place:
                inputs, after = (reverse(s, call.lengths) for s in (inputs, after))
            runs.append(
                SystemRun(
                    system, inputs, starts[place], call.lengths, bool(place), after
                )
            )
        run.append(tuple(runs))
        read = _outputs(level, own)
    return tuple(run)


def _run_one(
    system: RecurrentAdapter,
    start: States,
    read: InputSequences,
    lengths: Counts,
    *,
    backward: bool,
) -> StateSequences:
    if not backward:
        return system.rollout(start, read)
    return reverse(system.rollout(start, reverse(read, lengths)), lengths)


def _outputs(
    level: tuple[RecurrentAdapter, ...], states: tuple[Tensor, ...] | list[Tensor]
) -> InputSequences:
    """What the next level reads, in the order of the sequence."""
    pairs = zip(level, states, strict=True)
    return torch.cat([own[..., : system.output_dim] for system, own in pairs], dim=-1)


class LayerSystems(RecurrentAdapter):
    """All systems of a layer, to run, to read and to write its calls.

    States of all systems are side by side, level by level, forward before backward,
    and in the order of the sequence. There is no one step that makes them: one
    direction is at another step than the other.
    """

    calls: SequenceCalls
    traits = Traits(float32=True)
    one_map = False

    def __init__(self, layer: Any, systems: Systems) -> None:
        """Keep how the layer is called, and its systems."""
        self.calls = SequenceCalls(layer)
        self._systems = systems

    @property
    def systems(self) -> Systems:
        return self._systems

    @property
    def layout(self) -> StateLayout:
        return StateLayout(
            tuple(
                Block(f"{block.name}{level}{suffix}", block.size)
                for level, systems in enumerate(self._systems)
                for suffix, system in zip(("", "_reverse"), systems, strict=False)
                for block in system.layout.blocks
            )
        )

    @property
    def input_dim(self) -> int:
        return self._systems[0][0].input_dim

    @property
    def device(self) -> torch.device | None:
        return self._systems[0][0].device

    def step(self, states: States, inputs: Inputs) -> States:
        """Refuse: the systems share no step.

        Raises:
            UnsupportedLayerError: always.
        """
        raise UnsupportedLayerError(
            "Expected one direction of a bidirectional layer, whose two systems share "
            'no step; adapt one with `captum_dynamics.adapt(..., direction="forward")` '
            'or "backward".'
        )

    def run(self, call: Call) -> StateSequences:
        return run_systems(self._systems, call)

    def reaching(self, read: Tensor) -> StepMask:
        """From the top: what a level reads at a step is the outputs of that step."""
        wanted = torch.zeros_like(read[:, :, 0])
        for own in reversed(split_systems(self._systems, read)):
            each = [part.any(-1) | wanted for part in own]
            wanted = later_any(each[0])
            for backward in each[1:]:
                wanted = wanted | later_any(backward.flip(1)).flip(1)
        return wanted
