"""A map at one constant input, with the attractors that are known there."""

from __future__ import annotations

from dataclasses import dataclass

from captum_dynamics._typing import (
    Counts,
    Inputs,
    Jacobians,
    OneInput,
    OtherStates,
    PerOther,
    States,
)
from captum_dynamics.dynamics import DynamicsMap
from captum_dynamics.topology._destinations import Destinations, follow


@dataclass(frozen=True, eq=False)
class Flow:
    """What a search of connections does with states: move them, ask for their basin.

    Attributes:
        dynamics: the map.
        one_input: the constant input (k,).
        attractors: states (m, d) that attract.
        capture: distance (m,) at which each of them captures.
        max_steps: steps after which a trajectory counts as unresolved.
        show_progress: show progress bars.
    """

    dynamics: DynamicsMap
    one_input: OneInput
    attractors: OtherStates
    capture: PerOther
    max_steps: int
    show_progress: bool = False

    def step(self, states: States) -> States:
        """Move states (n, d) by one step."""
        return self.dynamics.step(states, self._inputs(states))

    def push(self, states: States, tangents: States) -> States:
        """Move one small deviation (n, d) of each state by one step."""
        return self.dynamics.jvp(states, self._inputs(states), tangents)

    def jacobians(self, states: States) -> Jacobians:
        """The derivative (n, d, d) at states (n, d)."""
        return self.dynamics.jacobians(states, self._inputs(states))

    def follow(self, starts: States, desc: str) -> Destinations:
        """Iterate states (n, d) until an attractor captures them, or time is up."""
        return follow(
            self.dynamics,
            starts,
            self._inputs(starts),
            self.attractors,
            capture=self.capture,
            max_steps=self.max_steps,
            show_progress=self.show_progress,
            desc=desc,
        )

    def basins(self, states: States) -> Counts:
        """Index (n,) of the attractor that draws each state in, or -1."""
        return self.follow(states, "Borders").targets

    def _inputs(self, states: States) -> Inputs:
        return self.one_input.expand(len(states), -1)
