"""How a layer is called: what its `forward` takes, and what it gives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from torch import nn

from captum_dynamics._typing import Counts, InputSequences, States, StateSequences
from captum_dynamics.dynamics import DynamicsMap


@dataclass(frozen=True)
class Call:
    """One sequence of inputs that a layer read, batch first, in float64.

    Attributes:
        inputs: the layer's inputs (n, t, k); padded steps are zero.
        initial_states: flat states (n, d) before the first step.
        lengths: steps (n,) that belong to each sequence.
    """

    inputs: InputSequences
    initial_states: States
    lengths: Counts


class CallConvention(ABC):
    """How a layer's `forward` takes its inputs and states, and gives its outputs."""

    one_step: bool = False
    """Whether a call is one step, so that a sequence is a loop of calls."""

    backward: bool = False
    """Whether sequences are read from their last step, padding first."""

    begins_empty: bool = True
    """Whether a sequence has nothing before it, as of attention alone it may have."""

    @abstractmethod
    def read(
        self, dynamics: DynamicsMap, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Call:
        """Read what one call of the layer was given."""

    @abstractmethod
    def replace_inputs(
        self, inputs: InputSequences, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The same call with other inputs, in the layer's own order and dtype."""

    def call_with(
        self, inputs: InputSequences
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Arguments by which the layer reads inputs (n, t, k) and no initial state."""
        return self.replace_inputs(inputs, (inputs,), {})

    def resume(
        self,
        inputs: InputSequences,
        output: Any,
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        """Arguments by which the layer reads on from its own `output`, or None."""
        return None

    def after_context(
        self, dynamics: DynamicsMap, layer: nn.Module, inputs: InputSequences
    ) -> tuple[Call, Any]:
        """A call of one step after what a map holds fixed, and the layer's output.

        Only of a layer whose sequences do not begin with nothing before them.
        """
        raise NotImplementedError

    def precisely(self, layer: nn.Module) -> AbstractContextManager[Any]:
        """A block in which a layer in float64 computes in float64 all the way."""
        return nullcontext()

    @abstractmethod
    def write(
        self, dynamics: DynamicsMap, states: StateSequences, call: Call, output: Any
    ) -> Any:
        """The output the layer would give for these states, in the form of `output`."""
