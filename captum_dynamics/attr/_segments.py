"""Segments of states and inputs, and a map's derivatives at nodes along them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from captum_dynamics._execution import row_chunks
from captum_dynamics._typing import Inputs, States
from captum_dynamics.attr._nodes import Nodes
from captum_dynamics.dynamics import DynamicsMap

NodeStates = Float[Tensor, "n m d"]

LIVE_COPIES = 32
"""Vectors of a row that a step and its derivative hold at once, about."""


@dataclass(frozen=True, eq=False)
class Segments:
    """From (h^b, x^b) to (h, x), one segment a row.

    F(h, x) - F(h^b, x^b) = Jbar (h - h^b) + Bbar (x - x^b), with J and B averaged
    over the segment.

    Attributes:
        dynamics: the map F.
        states: h^b, (n, d).
        state_changes: h - h^b, (n, d).
        inputs: x^b, (n, k).
        input_changes: x - x^b, (n, k).
    """

    dynamics: DynamicsMap
    states: States
    state_changes: States
    inputs: Inputs
    input_changes: Inputs

    def __getitem__(self, rows: Tensor | slice) -> Segments:
        """Select segments."""
        return Segments(
            self.dynamics,
            self.states[rows],
            self.state_changes[rows],
            self.inputs[rows],
            self.input_changes[rows],
        )

    def __len__(self) -> int:
        """Number of segments."""
        return len(self.states)

    def changes(self) -> States:
        """F(h, x) - F(h^b, x^b)."""

        def one(part: Segments, _: slice) -> tuple[States]:
            ends = (
                part.states + part.state_changes,
                part.inputs + part.input_changes,
            )
            step = part.dynamics.step
            return (step(*ends) - step(part.states, part.inputs),)

        return self._by_parts(1, one)[0]

    def parts(self, rows: Tensor, starts: Tensor, lengths: Tensor) -> Segments:
        """Parts of some segments, by shares (p,) of their length."""
        whole, starts, lengths = self[rows], starts[:, None], lengths[:, None]
        return Segments(
            self.dynamics,
            whole.states + starts * whole.state_changes,
            lengths * whole.state_changes,
            whole.inputs + starts * whole.input_changes,
            lengths * whole.input_changes,
        )

    def push(self, nodes: Nodes, tangents: States) -> NodeStates:
        """J tangents + B (x - x^b) at each of the nodes."""
        count = len(nodes.places)

        def one(part: Segments, rows: slice) -> tuple[Tensor]:
            moves = tangents[rows].repeat(count, 1), part.input_changes.repeat(count, 1)
            pushed = push_forward(part.dynamics, part._at(nodes), moves)[1]
            return (pushed.view(count, len(part), -1).transpose(0, 1),)

        return self._by_parts(count, one)[0]

    def pull_back(
        self, nodes: Nodes, cotangents: States
    ) -> tuple[States, Inputs, Float[Tensor, "n m"]]:
        """v Jbar and v Bbar, for one cotangent v in each row.

        The last are v . (J (h - h^b) + B (x - x^b)) at each of the nodes.
        """
        count = len(nodes.places)

        def one(part: Segments, rows: slice) -> tuple[Tensor, ...]:
            repeated = cotangents[rows].repeat(count, 1)
            pulled = part.dynamics.vjp(*part._at(nodes), repeated)
            by_state, by_input = (
                values.view(count, len(part), -1).transpose(0, 1) for values in pulled
            )
            slopes = (by_state * part.state_changes[:, None]).sum(-1)
            slopes += (by_input * part.input_changes[:, None]).sum(-1)
            return nodes.average(by_state), nodes.average(by_input), slopes

        by_state, by_input, slopes = self._by_parts(count, one)
        return by_state, by_input, slopes

    def _at(self, nodes: Nodes) -> tuple[States, Inputs]:
        """States and inputs at all nodes of all segments, node by node."""
        places = self.states.new_tensor(nodes.places)[:, None, None]
        states = self.states + places * self.state_changes
        inputs = self.inputs + places * self.input_changes
        return states.flatten(0, 1), inputs.flatten(0, 1)

    def _by_parts(
        self, count: int, one: Callable[[Segments, slice], tuple[Tensor, ...]]
    ) -> tuple[Tensor, ...]:
        """Apply `one` to parts of the segments that fit in memory."""
        width = count * (self.states.shape[1] + self.inputs.shape[1])
        chunks = row_chunks(len(self), 8 * LIVE_COPIES * width)
        parts = [one(self[rows], rows) for rows in chunks]
        return tuple(torch.cat(column) for column in zip(*parts, strict=True))


def push_forward(
    dynamics: DynamicsMap, at: tuple[States, Inputs], moves: tuple[States, Inputs]
) -> tuple[States, States]:
    """F and J dh + B dx at every row."""
    with torch.no_grad(), warnings.catch_warnings():
        # torch's own forward mode calls its deprecated torch.jit once.
        warnings.simplefilter("ignore", DeprecationWarning)
        pushed = torch.func.jvp(dynamics.step, at, moves)
    return pushed[0], pushed[1]
