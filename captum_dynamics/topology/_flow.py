"""A map at one constant input, with the attractors that are known there."""

from __future__ import annotations

from dataclasses import dataclass, replace

from captum_dynamics._typing import Counts, Inputs, Jacobians, OneInput, States
from captum_dynamics.dynamics import DynamicsMap
from captum_dynamics.topology._attracting import AttractingSets
from captum_dynamics.topology._deadline import Deadline
from captum_dynamics.topology._destinations import (
    AT_REST,
    UNRESOLVED,
    Destinations,
    follow,
)


@dataclass(frozen=True, eq=False)
class Flow:
    """What a search of connections does with states: move them, ask for their basin.

    Attributes:
        dynamics: the map.
        one_input: the constant input (k,).
        attracting: what trajectories can end at.
        max_steps: steps after which a trajectory counts as unresolved.
        deadline: when to stop: trajectories are then unresolved, and single steps
            raise OutOfTimeError.
        show_progress: show progress bars.
    """

    dynamics: DynamicsMap
    one_input: OneInput
    attracting: AttractingSets
    max_steps: int
    deadline: Deadline
    show_progress: bool = False

    def step(self, states: States) -> States:
        """Move states (n, d) by one step."""
        self.deadline.check()
        return self.dynamics.step(states, self._inputs(states))

    def push(self, states: States, tangents: States) -> States:
        """Move one small deviation (n, d) of each state by one step."""
        return self.dynamics.jvp(states, self._inputs(states), tangents)

    def jacobians(self, states: States) -> Jacobians:
        """The derivative (n, d, d) at states (n, d)."""
        self.deadline.check()
        return self.dynamics.jacobians(states, self._inputs(states))

    def follow(self, starts: States, desc: str) -> Destinations:
        """Iterate states (n, d) until they are captured, or time is up.

        The targets are nodes.
        """
        sets = self.attracting
        ends = follow(
            self.dynamics,
            starts,
            self._inputs(starts),
            sets.states,
            capture=sets.capture,
            max_steps=self.max_steps,
            deadline=self.deadline,
            show_progress=self.show_progress,
            desc=desc,
        )
        captured = ends.targets != UNRESOLVED
        targets = sets.node_at(ends.states, ends.residual_norms < AT_REST)
        targets[captured] = sets.nodes[ends.targets[captured]]
        return replace(ends, targets=targets)

    def basins(self, states: States) -> Counts:
        """Node (n,) of the attractor that draws each state in, or -1."""
        self.deadline.check()
        return self.follow(states, "Borders").targets

    def _inputs(self, states: States) -> Inputs:
        return self.one_input.expand(len(states), -1)
