"""Steps of runs as segments: from where each starts to where it ends."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from captum_dynamics._typing import InputSequences, StateSequences
from captum_dynamics.adapters import RecurrentAdapter
from captum_dynamics.attr._runs import RunPair
from captum_dynamics.attr._segments import Segments


@dataclass(frozen=True, eq=False)
class StepEnds:
    """Segments from (h^b, x^b) to (h, x), one for each step of each example.

    Attributes:
        dynamics: the map F.
        first_states: h^b, (n, t, d).
        first_inputs: x^b, (n, t, k).
        last_states: h, (n, t, d).
        last_inputs: x, (n, t, k).
    """

    dynamics: RecurrentAdapter
    first_states: StateSequences
    first_inputs: InputSequences
    last_states: StateSequences
    last_inputs: InputSequences

    @classmethod
    def between(cls, runs: RunPair) -> StepEnds:
        """Return the steps from the baseline run to the actual one."""
        return cls(
            runs.dynamics,
            runs.previous_baseline_states,
            runs.baseline_inputs,
            runs.previous_states,
            runs.inputs,
        )

    @classmethod
    def reading(cls, runs: RunPair, states: StateSequences) -> StepEnds:
        """Return steps at given states, from what the baseline run reads to x_t."""
        return cls(runs.dynamics, states, runs.baseline_inputs, states, runs.inputs)

    @classmethod
    def at(cls, runs: RunPair, states: StateSequences) -> StepEnds:
        """Return steps that do not move: at given states, under x_t."""
        return cls(runs.dynamics, states, runs.inputs, states, runs.inputs)

    @property
    def segments(self) -> Segments:
        """The same, n t rows."""
        return Segments(
            self.dynamics,
            self.first_states.flatten(0, 1),
            (self.last_states - self.first_states).flatten(0, 1),
            self.first_inputs.flatten(0, 1),
            (self.last_inputs - self.first_inputs).flatten(0, 1),
        )

    def changes(self) -> Tensor:
        """F(h, x) - F(h^b, x^b), (n, t, d)."""
        changes: Tensor = self.segments.changes().view_as(self.first_states)
        return changes
