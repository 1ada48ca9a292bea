"""Layers of Hugging Face models that keep their state in a cache, as dynamics maps."""

from __future__ import annotations

import inspect
from dataclasses import replace
from functools import cached_property

import torch
from torch import Tensor, nn

from captum_dynamics._typing import (
    Inputs,
    Outputs,
    OutputSequences,
    States,
    StateSequences,
)
from captum_dynamics.adapters._base import RecurrentAdapter, no_direction, refuse
from captum_dynamics.adapters._convention import Call
from captum_dynamics.adapters._layered import LayeredTangent
from captum_dynamics.adapters._registry import register_reader, registered_for
from captum_dynamics.adapters._settled import Settled, is_affine, settled
from captum_dynamics.adapters._windowed import WindowedTangent
from captum_dynamics.adapters._with_output import WithOutput
from captum_dynamics.adapters.huggingface._cache_calls import CacheCalls
from captum_dynamics.adapters.huggingface._capturing import capture
from captum_dynamics.adapters.huggingface._coordinates import (
    Coordinates,
    OwnCoordinates,
    layer_order,
)
from captum_dynamics.adapters.huggingface._decoding import DecodingStep
from captum_dynamics.adapters.huggingface._functional import DoublePrecision
from captum_dynamics.adapters.huggingface._hosts import (
    beginning,
    checked_context,
    embedding_of,
    host_of,
)
from captum_dynamics.adapters.huggingface._sections import sections
from captum_dynamics.dynamics import Reduction, Section
from captum_dynamics.layout import StateLayout
from captum_dynamics.tangent import TangentMap


@register_reader
class CachedLayer(RecurrentAdapter):
    """A layer whose state is what it writes into its model's cache.

    The layer itself is run: its call in a step of decoding is kept, and made again on a
    private copy in float64 with other states. Keys and values of attention are no
    state, as they grow, but context: they are what `context` left, and a step does not
    add to them.

    Args:
        step: the call.
        coordinates: the state in the tensors that the call writes.
        calls: how the layer is called for whole sequences.
    """

    supported = "transformers>=4.57"
    runs_model = True

    def __init__(
        self, step: DecodingStep, coordinates: Coordinates, calls: CacheCalls
    ) -> None:
        """Take the parts, and find out whether the map is affine in its state."""
        self._decoding = step
        self._coordinates = coordinates
        self.calls = calls
        self.traits = replace(self.traits, affine_in_state=is_affine(self))

    @classmethod
    def can_read(cls, model: nn.Module, layer: nn.Module) -> bool:
        """Any layer that a model of transformers holds; capturing it tells more."""
        return host_of(model, layer) is not None

    @classmethod
    def from_model(
        cls,
        model: nn.Module,
        layer: nn.Module,
        *,
        layer_index: int | None = None,
        direction: str | None = None,
        context: Tensor | None = None,
    ) -> CachedLayer:
        """Adapt a layer by its call while the model decodes.

        Raises:
            UnsupportedLayerError: no model of transformers holds it, or it has no
                recurrent state.
            ValueError: `context` are no ids (1, t) of the model.
        """
        if layer_index is not None:
            raise ValueError(
                f"Expected no `layer_index` for {type(layer).__name__}, got "
                f"{layer_index}; give the path of the layer."
            )
        if direction is not None:
            raise no_direction(type(layer).__name__, direction)
        host = host_of(model, layer)
        if host is None:
            raise refuse(
                layer,
                "it is read while its model decodes, and no model of transformers "
                "holds it; give the model too, as in `captum_dynamics.adapt(model, "
                "layer)`. Attributions need a `forward_func` that is a module and "
                "holds the model: a function does not show it.",
            )
        if "decoder_input_ids" in inspect.signature(host.forward).parameters:
            raise refuse(
                layer,
                "its model has an encoder and a decoder, whose step is not a function "
                "of one embedded token; read a layer of `torch.nn` in it by path.",
            )
        before = beginning(host) if context is None else checked_context(host, context)
        step = cls.capture(host, layer, before)
        calls = CacheCalls(
            layer,
            step.read.path[-1],
            embedding=embedding_of(host) if layer is host else None,
            context=before if step.attends else None,
        )
        return cls(step, cls.coordinates_of(step), calls)

    @classmethod
    def capture(
        cls, host: nn.Module, layer: nn.Module, context: Tensor
    ) -> DecodingStep:
        """Keep the layer's call in the step after a context of ids (1, t)."""
        return capture(host, layer, context)

    @classmethod
    def coordinates_of(cls, step: DecodingStep) -> Coordinates:
        """The state in the tensors that a call writes: these, one after the other."""
        return OwnCoordinates(layer_order(step.states))

    @property
    def layout(self) -> StateLayout:
        return self._coordinates.layout

    @property
    def input_dim(self) -> int:
        return int(self._decoding.read.value.shape[-1])

    @property
    def device(self) -> torch.device:
        return self._decoding.read.value.device

    @property
    def reduction(self) -> Reduction | None:
        """The map of what is no window of inputs, with the windows at rest."""
        return self._settled

    @cached_property
    def _settled(self) -> Settled | None:
        return None if self.of_model else settled(self)

    @property
    def sections(self) -> tuple[Section, ...]:
        """Of a model, its recurrent layers; none of a layer."""
        return self._sections

    @cached_property
    def _sections(self) -> tuple[Section, ...]:
        if not self.of_model:
            return ()
        host, layers = self._decoding.layer, []
        with DoublePrecision():
            for module in host.modules():
                kind = registered_for(type(module))
                if kind is None or kind.of_model or not issubclass(kind, CachedLayer):
                    continue
                own = kind.from_model(host, module)
                layers.append((module, own, own._decoding))
        return sections(self, layers)

    def tangent(self, states: States, inputs: Inputs) -> TangentMap:
        if self.sections:
            return LayeredTangent(self, states, inputs)
        return WindowedTangent(self, self._settled, states, inputs)

    @property
    def attends(self) -> bool:
        """Whether a step reads keys and values, which the map holds fixed."""
        return self._decoding.attends

    @property
    def context_state(self) -> States:
        """The state (1, d) in which the context left the layer."""
        tensors = {h.path: h.to_rows(h.value) for h in self._decoding.states}
        return self._coordinates.flat(tensors)

    @property
    def with_output(self) -> RecurrentAdapter:
        zeros = torch.zeros(1, self.state_dim, dtype=torch.float64, device=self.device)
        with torch.no_grad():
            _, output = self.advance(zeros, zeros.new_zeros(1, self.input_dim))
        return WithOutput(self, output.shape[-1])

    def step(self, states: States, inputs: Inputs) -> States:
        return self.advance(states, inputs)[0]

    def advance(self, states: States, inputs: Inputs) -> tuple[States, Outputs]:
        """New states, and the layer's output (n, m)."""
        new, output = self._decoding.run(self._coordinates.tensors(states), inputs)
        return self._coordinates.flat(new), output[:, -1]

    def outputs(self, states: StateSequences, call: Call) -> OutputSequences:
        """What the layer gives out (n, t, m) on the way to the states of a call."""
        before = torch.cat([call.initial_states[:, None], states[:, :-1]], dim=1)
        _, given = self.advance(before.flatten(0, 1), call.inputs.flatten(0, 1))
        return given.reshape(*states.shape[:2], -1)
