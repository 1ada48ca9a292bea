"""A layer that reads what it gave out: decoders, language models, generators."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from captum_dynamics import _checks
from captum_dynamics._typing import (
    InputJacobians,
    Inputs,
    Jacobians,
    States,
)
from captum_dynamics.adapters._base import RecurrentAdapter
from captum_dynamics.adapters._calls import CellCalls
from captum_dynamics.adapters._loop_tangent import LoopTangent
from captum_dynamics.adapters._with_output import WithOutput
from captum_dynamics.adapters.feedback import Feedback, FunctionFeedback
from captum_dynamics.dynamics import Traits
from captum_dynamics.layout import Block, StateLayout

LayerStates = Float[Tensor, "n h"]  # those of the layer alone
Fed = Float[Tensor, "n r"]  # what the layer reads next
GivenFed = Float[Tensor, "*n r"]


class ClosedLoop(RecurrentAdapter):
    """A layer whose next input is made of its last output: (h, x) -> (h', f(o)).

    One step lets the layer read x, and feeds back f of what it gives out. The state is
    the layer's own blocks, then "input", which is what will be read next. Of a layer
    whose output is no part of its state, such as a mixer with a cache, it stands in a
    block "output" before them. Without an input of its own the loop is autonomous:
    search it with inputs of shape (1, 0).

    Args:
        dynamics: the layer, by `adapt`; of a stack all of it.
        feedback: f, from outputs (n, m) to inputs (n, k): `soft_feedback`,
            `greedy_feedback`, another `Feedback`, or a function that is differentiable
            and takes rows of float64.
        driven: let the loop have an input (n, k), which is added to what is fed back
            before the layer reads it: a nudge. An embedding e is read in place of what
            was fed back under the nudge e - x.
        traits: what is known of the loop, where it is not what the layer's own traits
            tell; it is never assumed to be affine or piecewise linear.

    Raises:
        ValueError: a bidirectional layer, or a feedback that does not fit the layer.

    Example:
        >>> import torch, captum_dynamics as cd
        >>> from captum_dynamics import soft_feedback
        >>> layer, embedding = torch.nn.GRU(4, 8), torch.nn.Embedding(11, 4)
        >>> feedback = soft_feedback(torch.nn.Linear(8, 11), embedding)
        >>> loop = cd.ClosedLoop(cd.adapt(layer), feedback)
        >>> loop.layout.names, loop.state_dim, loop.input_dim
        (('h', 'input'), 12, 0)
        >>> starts = loop.start(torch.zeros(1, 8), embedding.weight[:1])
        >>> points = cd.find_fixed_points(loop, starts, torch.zeros(1, 0))
        >>> points.kind.tolist() == [cd.Kind.FIXED]
        True
    """

    def __init__(
        self,
        dynamics: RecurrentAdapter,
        feedback: Feedback | Callable[[Tensor], Tensor],
        *,
        driven: bool = False,
        traits: Traits | None = None,
    ) -> None:
        """Take the layer and what it is fed; one step is tried."""
        _check_one_map(dynamics)
        if not isinstance(feedback, Feedback):
            feedback = FunctionFeedback(feedback)
        self.feedback: Feedback = feedback
        self.driven = driven
        self.calls = CellCalls()
        base = dynamics.traits
        self.traits = traits or Traits(
            vmap_safe=base.vmap_safe,
            float64=base.float64,
            float32=base.float32 and self.feedback.float32,
        )
        self.dynamics = _with_output(dynamics, self.feedback)

    @property
    def layout(self) -> StateLayout:
        fed = Block("input", self.dynamics.input_dim)
        return StateLayout((*self.dynamics.layout.blocks, fed))

    @property
    def input_dim(self) -> int:
        return self.dynamics.input_dim if self.driven else 0

    @property
    def device(self) -> torch.device | None:
        return self.dynamics.device

    @property
    def output_columns(self) -> slice:
        return self.dynamics.output_columns

    @property
    def layer_dim(self) -> int:
        """Width h of the layer's own states, without an output that is beside them."""
        layer = self.dynamics
        return (layer.base if isinstance(layer, WithOutput) else layer).state_dim

    def start(self, states: LayerStates, fed: GivenFed) -> States:
        """The loop's state before a step that reads `fed`.

        Args:
            states: those of the layer alone (n, h), such as an encoder's last ones.
            fed: what it reads first, (n, k), (1, k) or (k,): the embedding of the token
                that starts a sequence.

        Returns:
            States (n, d) of the loop.
        """
        width = self.dynamics.input_dim
        states = _checks.check_matrix("states", states, self.layer_dim)
        fed = _checks.check_inputs("fed", fed, len(states), width)
        output = states.new_zeros(len(states), self.dynamics.state_dim - self.layer_dim)
        return torch.cat([output, states, fed.to(states.dtype)], dim=-1).to(self.dtype)

    def fed_back(self, states: States) -> Fed:
        """What the layer will read next (n, k), before any nudge."""
        return states[:, self.state_dim - self.dynamics.input_dim :]

    def outputs(self, states: Float[Tensor, "*n d"]) -> Float[Tensor, "*n m"]:
        """What the layer gave out on the way to these states, (n, m) or (n, t, m)."""
        return states[..., self.output_columns]

    def step(self, states: States, inputs: Inputs) -> States:
        own, read = self._read(states, inputs)
        new, outputs = self.dynamics.advance(own, read)
        return torch.cat([new, self.feedback(outputs)], dim=-1)

    def ungated_residual(self, states: States, inputs: Inputs) -> States:
        own, read = self._read(states, inputs)
        rest = self.residual(states, inputs)[:, self.dynamics.state_dim :]
        return torch.cat([self.dynamics.ungated_residual(own, read), rest], dim=-1)

    def invariant_box(self, inputs: Inputs) -> tuple[States, States] | None:
        """A box of the layer under all that may be fed back, where both are known."""
        fed = self.feedback.input_box
        if fed is None:
            return None
        low, high = (side.to(inputs).expand(len(inputs), -1) for side in fed)
        nudge = inputs if self.driven else torch.zeros_like(low)
        own = self.dynamics.state_box(low + nudge, high + nudge)
        if own is None:
            return None
        return torch.cat([own[0], low], dim=-1), torch.cat([own[1], high], dim=-1)

    # Derivatives by the chain rule, through those of the layer

    def tangent(self, states: States, inputs: Inputs) -> LoopTangent:
        own, read = self._read(states, inputs)
        outputs = self.dynamics.advance(own, read)[1]
        return LoopTangent(
            self.dynamics, self.feedback, own, read, outputs, self.driven
        )

    def jacobians(self, states: States, inputs: Inputs) -> Jacobians:
        return self.tangent(states, inputs).jacobians()

    def input_jacobians(self, states: States, inputs: Inputs) -> InputJacobians:
        return self.tangent(states, inputs).input_jacobians()

    def jvp(
        self,
        states: States,
        inputs: Inputs,
        state_tangents: States,
        input_tangents: Inputs | None = None,
    ) -> States:
        return self.tangent(states, inputs).push(state_tangents, input_tangents)

    def vjp(
        self, states: States, inputs: Inputs, cotangents: States
    ) -> tuple[States, Inputs]:
        return self.tangent(states, inputs).pull(cotangents)

    def _read(self, states: States, inputs: Inputs) -> tuple[LayerStates, Fed]:
        """The layer's own states, and what it reads at them."""
        fed = self.fed_back(states)
        own = states[:, : self.dynamics.state_dim]
        return own, fed + inputs if self.driven else fed


def _check_one_map(dynamics: RecurrentAdapter) -> None:
    if not isinstance(dynamics, RecurrentAdapter):
        raise TypeError(
            f"Expected `dynamics` to be an adapter, such as `captum_dynamics.adapt("
            f"layer)`, got {type(dynamics).__name__}."
        )
    if not dynamics.one_map:
        raise ValueError(
            "Expected `dynamics` with one map, got the two directions of a layer: one "
            "of them reads what is not generated yet."
        )


def _with_output(dynamics: RecurrentAdapter, feedback: Feedback) -> RecurrentAdapter:
    """The layer with its output in its state, which one step shows whether it is."""
    generator = torch.Generator().manual_seed(0)
    states, inputs = (
        torch.randn(2, width, generator=generator).to(dynamics.device, dynamics.dtype)
        for width in (dynamics.state_dim, dynamics.input_dim)
    )
    with torch.no_grad():
        new, outputs = dynamics.advance(states, inputs)
        fed = feedback(outputs)
    if fed.shape != inputs.shape:
        raise ValueError(
            f"Expected `feedback` to give inputs of shape {tuple(inputs.shape)} for "
            f"outputs of shape {tuple(outputs.shape)}, got {tuple(fed.shape)}."
        )
    columns = new[:, dynamics.output_columns]
    part_of_it = columns.shape == outputs.shape and torch.equal(columns, outputs)
    return dynamics if part_of_it else WithOutput(dynamics, outputs.shape[1])
