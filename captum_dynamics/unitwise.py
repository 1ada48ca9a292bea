"""Maps whose nonlinearity acts within each unit, written out: what gated layers are."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor

from captum_dynamics._execution import row_chunks
from captum_dynamics._typing import Inputs, InputSequences, States, StateSequences

Reads = Float[Tensor, "n r"]
Arguments = Float[Tensor, "n m w"]
Values = Float[Tensor, "n s w"]
ValueSlopes = Float[Tensor, "n s m w"]

BLOCK = 64 * 2**20
"""Bytes of what inputs add to the arguments that are held at once in a roll-out."""


class UnitwiseForm(ABC):
    """F(h, x) = V phi(A h + B x + b), where phi takes each of w units by itself.

    phi gives s values of a unit from m arguments: a GRU's new state from the drives of
    its gates and the old state, an LSTM's output and new cell from four drives and the
    old cell. Whoever knows this form knows every Jacobian, and every average of them,
    from m s numbers a unit: along a straight way in (h, x) the arguments move straight
    too. A map gives it by its property `unitwise_form`.
    """

    @abstractmethod
    def reads(self, inputs: Inputs) -> Reads:
        """What inputs add to the arguments, b included: as many as are not zero."""

    @abstractmethod
    def arguments(self, states: States, reads: Reads) -> Arguments:
        """A h + B x + b, (n, m, w), of what `reads` gave for x."""

    @abstractmethod
    def values(self, arguments: Arguments) -> Values:
        """Phi, (n, s, w)."""

    @abstractmethod
    def slopes(self, arguments: Arguments) -> ValueSlopes:
        """Derivatives of each value by each argument of its unit, (n, s, m, w)."""

    def mean_slopes(self, starts: Arguments, ends: Arguments) -> ValueSlopes | None:
        """Their averages along straight ways, or None where no closed form is known."""
        return None

    @abstractmethod
    def states(self, values: Values) -> States:
        """V phi: states (n, d), or moves of states, of values or their moves."""

    def rollout(self, initial_states: States, inputs: InputSequences) -> StateSequences:
        """States (n, t, d) after each of t > 0 steps of input sequences (n, t, k)."""
        states, visited = initial_states, []
        one = self.reads(inputs[:1, 0])
        bytes_per_step = len(inputs) * one.numel() * one.element_size()
        for block in row_chunks(inputs.shape[1], bytes_per_step, BLOCK):
            part = inputs[:, block]
            reads = self.reads(part.flatten(0, 1)).view(*part.shape[:2], -1)
            for read in reads.unbind(1):
                states = self.states(self.values(self.arguments(states, read)))
                visited.append(states)
        return torch.stack(visited, dim=1)

    @abstractmethod
    def pull_values(self, cotangents: States) -> Values:
        """Return v V, (n, s, w)."""

    @abstractmethod
    def pull_states(self, cotangents: Arguments) -> States:
        """Return u A, (n, d)."""

    @abstractmethod
    def pull_inputs(self, cotangents: Arguments) -> Inputs:
        """Return u B, (n, k)."""
