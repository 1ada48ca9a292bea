"""RecurrentGemma: a state in attributes of modules, and a first token that differs."""

from __future__ import annotations

import copy
import inspect
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from captum_dynamics._typing import Inputs, Outputs, States
from captum_dynamics.adapters._registry import register_adapter
from captum_dynamics.adapters.huggingface._cache_calls import CacheCalls
from captum_dynamics.adapters.huggingface._capturing import capture
from captum_dynamics.adapters.huggingface._coordinates import (
    Coordinates,
    OwnCoordinates,
    layer_order,
)
from captum_dynamics.adapters.huggingface._decoding import DecodingStep, Held
from captum_dynamics.adapters.huggingface._slots import Path
from captum_dynamics.adapters.huggingface.cached import CachedLayer
from captum_dynamics.adapters.huggingface.families import CachedModel, layer_name
from captum_dynamics.layout import Block, StateLayout

_STATES = ("conv1d_state", "recurrent_states")
_POSITIONS: tuple[Path, ...] = (("args", 1), ("kwargs", "position_ids"))


class _Begun(Coordinates):
    """The tensors, and whether the sequence has begun: 0 before its first token."""

    def __init__(self, tensors: Coordinates) -> None:
        self._tensors = tensors
        blocks = (*tensors.layout.blocks, Block("begun", 1))
        self.layout = StateLayout(blocks)

    def flat(self, tensors: Mapping[Path, Tensor]) -> States:
        inner = self._tensors.flat(tensors)
        return torch.cat([inner, torch.ones_like(inner[:, :1])], dim=-1)

    def tensors(self, states: States) -> dict[Path, Tensor]:
        return self._tensors.tensors(states[:, :-1])


@register_adapter(layer_name("recurrent_gemma", "RecurrentGemmaRecurrentBlock"))
class RecurrentGemmaLayer(CachedLayer):
    """The recurrent block of RecurrentGemma (Griffin): a convolution and an RG-LRU.

    Where the position is 0 the layer takes its input whole, and scales it with
    sqrt(1 - a^2) at all others. So zeros are not enough to say that a sequence begins:
    the state has one more block, `begun`, which is 0 then and 1 after every step.
    Between the two the map is the line between both steps. Fixed points have begun, and
    the block adds a multiplier 0.

    The layer keeps its state in attributes; those of the model are never touched, and
    those of the copy that is run are put back. Its square root with a bounded
    derivative, which torch.func cannot take, is replaced while it runs.

    References:
        De and others (2024), "Griffin: Mixing Gated Linear Recurrences with Local
        Attention for Efficient Language Models", arXiv:2402.19427, equation 6.
    """

    def __init__(
        self, step: DecodingStep, coordinates: Coordinates, calls: CacheCalls
    ) -> None:
        """Keep the call at the first position beside that at another."""
        self._first = _at_start(step)
        super().__init__(step, coordinates, calls)

    @classmethod
    def capture(
        cls, host: nn.Module, layer: nn.Module, context: Tensor
    ) -> DecodingStep:
        """Keep the call, whose state are attributes."""
        return _capture(host, layer, context)

    @classmethod
    def coordinates_of(cls, step: DecodingStep) -> Coordinates:
        return _Begun(OwnCoordinates(layer_order(step.states)))

    def advance(self, states: States, inputs: Inputs) -> tuple[States, Outputs]:
        """New states, and the layer's output (n, m)."""
        begun = states[:, -1:]
        tensors = self._coordinates.tensors(states)
        with differentiable(self._decoding.layer):
            later, first = (
                step.run(tensors, inputs) for step in (self._decoding, self._first)
            )
        new, fresh = (self._coordinates.flat(found[0]) for found in (later, first))
        given, whole = (found[1][:, -1] for found in (later, first))
        return fresh + begun * (new - fresh), whole + begun * (given - whole)


@register_adapter(layer_name("recurrent_gemma", "RecurrentGemmaPreTrainedModel"))
class RecurrentGemmaModel(CachedModel):
    """A whole RecurrentGemma: the state of all its recurrent blocks.

    Its input is an embedded token, its output the last hidden states. It is read after
    a context, whose keys and values its attention layers keep.
    """

    @classmethod
    def capture(
        cls, host: nn.Module, layer: nn.Module, context: Tensor
    ) -> DecodingStep:
        """Keep the call, whose state are attributes."""
        return _capture(host, layer, context)

    def advance(self, states: States, inputs: Inputs) -> tuple[States, Outputs]:
        """New states, and the model's output (n, m)."""
        with differentiable(self._decoding.layer):
            return super().advance(states, inputs)


@contextmanager
def differentiable(layer: nn.Module) -> Iterator[None]:
    """Replace what torch.func cannot take, or takes for a constant, for a while."""
    rooted = next(m for m in layer.modules() if hasattr(m, "recurrent_states"))
    source: Any = sys.modules[type(rooted).__module__]
    root = _Root(source._MAX_SQRT_GRADIENT)
    with ExitStack() as stack:
        stack.enter_context(patch.object(source, "SqrtBoundDerivative", root))
        old = getattr(source, "RecurrentGemmaSdpaAttention", None)
        if old is not None:
            # Before version 5 keys and values have no gradient.
            update = inspect.unwrap(old._update_cache)
            stack.enter_context(patch.object(old, "_update_cache", update))
        yield


class _Root:
    """A square root of which the derivative has a bound."""

    def __init__(self, steepest: float) -> None:
        self._steepest = steepest

    def apply(self, x: Tensor) -> Tensor:
        least = 0.25 / self._steepest**2
        line = x.detach().clamp(min=0).sqrt() + self._steepest * (x - x.detach())
        return torch.where(x > least, x.clamp(min=least).sqrt(), line)


def _capture(host: nn.Module, layer: nn.Module, context: Tensor) -> DecodingStep:
    step = capture(
        host,
        layer,
        context,
        is_state=lambda path: path[-1] in _STATES,
    )
    # Before version 5 keys do not grow: there is room for a whole window of them.
    windowed = any(held.path[-1] == "key_states" for held in step.others)
    return replace(step, attends=step.attends or windowed)


def _at_start(step: DecodingStep) -> DecodingStep:
    """The same call, at the position at which a sequence begins."""
    position = next(h for h in step.others if h.path in _POSITIONS)
    start = Held(torch.zeros_like(position.value), position.path, position.axis)
    held = (*step.states, *step.others, step.read)
    memo: dict[int, Any] = {id(h.value): h.value for h in held}
    memo[id(position.value)] = start.value
    call = copy.deepcopy(step.call, memo)
    others = tuple(start if h is position else h for h in step.others)
    return replace(step, call=call, others=others)
