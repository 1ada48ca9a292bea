"""Averages of a map's derivatives along segments of states and inputs."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from captum_dynamics import _checks
from captum_dynamics._execution import row_chunks
from captum_dynamics._typing import Inputs, PerPoint, States
from captum_dynamics.attr._runs import gauss_legendre
from captum_dynamics.dynamics import DynamicsMap

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

    def push(self, count: int, tangents: States) -> States:
        """Jbar tangents + Bbar (x - x^b), with `count` nodes."""

        def one(part: Segments, rows: slice) -> tuple[States]:
            moves = tangents[rows].repeat(count, 1), part.input_changes.repeat(count, 1)
            pushed = push_forward(part.dynamics, part._at_nodes(count), moves)[1]
            return (_node_average(pushed, count),)

        return self._by_parts(count, one)[0]

    def pull_back(self, count: int, cotangents: States) -> tuple[States, Inputs]:
        """v Jbar and v Bbar for one cotangent v in each row, with `count` nodes."""

        def one(part: Segments, rows: slice) -> tuple[States, Inputs]:
            repeated = cotangents[rows].repeat(count, 1)
            pulled = part.dynamics.vjp(*part._at_nodes(count), repeated)
            return _node_average(pulled[0], count), _node_average(pulled[1], count)

        by_state, by_input = self._by_parts(count, one)
        return by_state, by_input

    def _at_nodes(self, count: int) -> tuple[States, Inputs]:
        """States and inputs at all nodes of all segments, node by node."""
        nodes = self.states.new_tensor(gauss_legendre(count)[0])[:, None, None]
        states = self.states + nodes * self.state_changes
        inputs = self.inputs + nodes * self.input_changes
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


def _node_average(values: Tensor, count: int) -> Tensor:
    weights = values.new_tensor(gauss_legendre(count)[1])
    by_node = values.view(count, len(values) // count, -1)
    average: Tensor = torch.tensordot(weights, by_node, dims=1)
    return average


@dataclass(frozen=True)
class Quadrature:
    """Gauss-Legendre with as many nodes as each segment needs.

    Args:
        nodes: nodes at first; doubled where the segment's equation does not hold.
        max_nodes: nodes at most.
        atol: largest error of the equation, in units of 1 + |F(h, x) - F(h^b, x^b)|.
    """

    nodes: int = 5
    max_nodes: int = 40
    atol: float = 1e-10

    def __post_init__(self) -> None:
        """Refuse settings without a meaning."""
        _checks.check_positive("nodes", self.nodes)
        _checks.check_positive("atol", self.atol)
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
        fails where no number of nodes was enough, as at kinks; zero elsewhere.
        """
        back = torch.zeros_like(segments.states)
        gradients = torch.zeros_like(segments.inputs)
        unexplained = torch.zeros_like(segments.states[:, 0])
        pending = torch.nonzero(cotangents.any(-1))[:, 0]
        for count in self._ladder:
            if len(pending) == 0:
                break
            part, v = segments[pending], cotangents[pending]
            by_state, by_input = part.pull_back(count, v)
            back[pending], gradients[pending] = by_state, by_input
            explained = (by_state * part.state_changes).sum(-1)
            explained += (by_input * part.input_changes).sum(-1)
            missing = explained - (v * changes[pending]).sum(-1)
            scale = v.norm(dim=-1) * (1 + changes[pending].norm(dim=-1))
            failed = missing.abs() > self.atol * scale
            unexplained[pending] = torch.where(failed, missing, 0.0)
            pending = pending[failed]
        return back, gradients, unexplained

    def drives(self, segments: Segments, changes: States) -> States:
        """Bbar (x - x^b), where `changes` are F(h, x) - F(h^b, x^b)."""
        drives = torch.zeros_like(changes)
        pending = torch.arange(len(changes), device=changes.device)
        for count in self._ladder:
            if len(pending) == 0:
                break
            part = segments[pending]
            drives[pending] = part.push(count, torch.zeros_like(part.states))
            missing = part.push(count, part.state_changes) - changes[pending]
            allowed = self.atol * (1 + changes[pending].norm(dim=-1))
            pending = pending[missing.norm(dim=-1) > allowed]
        return drives

    @property
    def _ladder(self) -> list[int]:
        """nodes, 2 nodes, ... up to and including max_nodes."""
        counts = [self.nodes]
        while counts[-1] < self.max_nodes:
            counts.append(min(2 * counts[-1], self.max_nodes))
        return counts
