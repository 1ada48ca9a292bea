"""What an adapter is: a dynamics map that knows how its layer is called."""

from __future__ import annotations

from typing import TypeVar

from jaxtyping import Bool
from torch import Tensor, nn

from captum_dynamics._typing import (
    Inputs,
    Outputs,
    States,
    StateSequences,
    StepMask,
)
from captum_dynamics.adapters._calls import CellCalls
from captum_dynamics.adapters._convention import Call, CallConvention
from captum_dynamics.dynamics import DynamicsMap
from captum_dynamics.exceptions import UnsupportedLayerError

Self = TypeVar("Self", bound="RecurrentAdapter")


class RecurrentAdapter(DynamicsMap):
    """The dynamics of one recurrent layer.

    Subclass it, take the layer in `__init__`, state `layout`, `input_dim` and `step`,
    and decorate the class with `register_adapter(Layer)`. Set `calls` where the layer
    is not called like a `torch.nn` cell, `forward(inputs, states) -> states`.
    """

    calls: CallConvention = CellCalls()

    supported: str = ""
    """Versions of the layer's package it is made for, such as "xlstm>=2.0"."""

    of_model: bool = False
    """Whether it reads a whole model, whose layers can be read one by one too."""

    runs_model: bool = False
    """Whether it reads a layer by running its model; layers alike are read alike."""

    one_map: bool = True
    """Whether one map makes all states; a bidirectional layer has several."""

    @classmethod
    def from_layer(
        cls: type[Self],
        layer: nn.Module,
        *,
        layer_index: int | None = None,
        direction: str | None = None,
    ) -> RecurrentAdapter:
        """Adapt a layer, or one of several stacked ones, in one of its directions."""
        kind = type(layer).__name__
        if layer_index is not None:
            raise ValueError(
                f"Expected no `layer_index` for {kind}, which is not a stack of "
                f"layers, got {layer_index}."
            )
        if direction is not None:
            raise no_direction(kind, direction)
        return cls(layer)  # type: ignore[call-arg]

    @classmethod
    def from_model(
        cls: type[Self],
        model: nn.Module,
        layer: nn.Module,
        *,
        layer_index: int | None = None,
        direction: str | None = None,
        context: Tensor | None = None,
    ) -> RecurrentAdapter:
        """Adapt a layer in its model, of which most layers need to know nothing."""
        if context is not None:
            raise ValueError(
                f"Expected no `context` for {type(layer).__name__}, which is no layer "
                f"of a model with a cache."
            )
        return cls.from_layer(layer, layer_index=layer_index, direction=direction)

    @classmethod
    def whole_layer(cls, layer: nn.Module, model: nn.Module) -> RecurrentAdapter:
        """Adapt all of a layer, also one that has no single map."""
        return cls.from_model(model, layer)

    @classmethod
    def can_read(cls, model: nn.Module, layer: nn.Module) -> bool:
        """Whether it reads a layer that nobody registered, in its model."""
        return False

    @classmethod
    def core(cls, layer: nn.Module) -> nn.Module:
        """The module that is called for sequences, of one that adds a head to it."""
        return layer

    @property
    def with_output(self) -> RecurrentAdapter:
        """This map with what it gives out in its state, where that is not in it."""
        return self

    @property
    def systems(self) -> Systems:
        """The maps that make all states: level by level, forward before backward."""
        return ((self,),)

    @property
    def levels(self) -> tuple[RecurrentAdapter, ...]:
        """The maps of a stack from the lowest, whose new outputs the next reads."""
        return (self,)

    def run(self, call: Call) -> StateSequences:
        """States (n, t, d) that a call visits, in the order of its sequences."""
        return self.rollout(call.initial_states, call.inputs)

    def reaching(self, read: Bool[Tensor, "n t d"]) -> StepMask:
        """Steps (n, t) whose inputs can reach a part of a state that is read."""
        return later_any(read.any(-1))

    @property
    def output_dim(self) -> int:
        """Leading columns of the state that the next layer reads."""
        return self.layout.blocks[0].size

    @property
    def output_columns(self) -> slice:
        """Columns of the new state that are the layer's output, where any are."""
        return slice(0, self.output_dim)

    def advance(self, states: States, inputs: Inputs) -> tuple[States, Outputs]:
        """New states, and what the layer gives out on the way to them (n, m)."""
        new = self.step(states, inputs)
        return new, new[:, self.output_columns]

    def state_box(
        self, lowest_inputs: Inputs, highest_inputs: Inputs
    ) -> tuple[States, States] | None:
        """Bounds of a box of states mapped into itself by every input of a box."""
        return None


Systems = tuple[tuple[RecurrentAdapter, ...], ...]
"""Maps level by level, and of each level forward before backward."""


def later_any(steps: StepMask) -> StepMask:
    """True at a step where any step from it on is true."""
    return steps.flip(1).cumsum(1).flip(1) > 0


def scaled_sum(factors: Tensor, stacked: Tensor) -> Tensor:
    """sum_k diag(f_k) M_k for each row: (n, gates, d), (gates d, m) -> (n, d, m)."""
    first, *others = stacked.chunk(factors.shape[1])
    total = factors[:, 0, :, None] * first
    for gate, matrix in enumerate(others, start=1):
        total.addcmul_(factors[:, gate, :, None], matrix)
    return total


def refuse(layer: nn.Module, reason: str) -> UnsupportedLayerError:
    """The error for a layer whose dynamics cannot be read faithfully."""
    return UnsupportedLayerError(f"Cannot adapt {type(layer).__name__}: {reason}")


def no_direction(kind: str, direction: str) -> ValueError:
    """The error for a direction of a layer that has only one."""
    return ValueError(
        f"Expected no `direction` for {kind}, which is not bidirectional, got "
        f"{direction!r}."
    )
