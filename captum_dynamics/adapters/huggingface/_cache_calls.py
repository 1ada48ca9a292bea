"""How layers of transformers are called for whole sequences."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from captum_dynamics._typing import Counts, InputSequences, StateSequences
from captum_dynamics.adapters._base import refuse
from captum_dynamics.adapters._convention import Call, CallConvention
from captum_dynamics.adapters.huggingface._capturing import decode
from captum_dynamics.adapters.huggingface._decoding import first_tensor
from captum_dynamics.adapters.huggingface._functional import precision_of
from captum_dynamics.dynamics import DynamicsMap

_IDS = "input_ids"


class CacheCalls(CallConvention):
    """`forward(hidden_states, ...)`, of a model `forward(input_ids, ...)`, batch first.

    A sequence is taken to begin with an empty cache.

    Args:
        layer: the layer, or the model.
        input_name: the argument that is the input, or its position.
        embedding: of ids, where the layer is a whole model.
        context: ids (1, t) whose keys and values the layer attends to, if it does.
    """

    def __init__(
        self,
        layer: nn.Module,
        input_name: str | int,
        *,
        embedding: nn.Module | None,
        context: Tensor | None,
    ) -> None:
        """Keep the names of the arguments."""
        self.begins_empty = context is None
        self._context = context
        signature = inspect.signature(layer.forward)
        self._names = list(signature.parameters)
        self._required = [
            name
            for name, parameter in signature.parameters.items()
            if parameter.default is inspect.Parameter.empty
            and parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
        ]
        if isinstance(input_name, int):
            input_name = self._names[input_name]
        self._input_name = input_name
        self._embedding = embedding

    def read(
        self, dynamics: DynamicsMap, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Call:
        """Read hidden states (n, t, k), or embed ids (n, t)."""
        given = self._by_name(args, kwargs)
        inputs = given.get(self._input_name)
        if inputs is None and self._embedding is not None and _IDS in given:
            inputs = self._embedding(given[_IDS])
        if not isinstance(inputs, Tensor):
            raise ValueError(
                f"Expected the layer to be given {self._input_name!r}, got "
                f"{sorted(given)}."
            )
        inputs = inputs.detach().to(dynamics.dtype)
        rows, steps = inputs.shape[:2]
        lengths = _lengths(given.get("attention_mask"), rows, steps)
        initial = inputs.new_zeros(rows, dynamics.state_dim)
        return Call(inputs, initial, lengths.to(inputs.device))

    def replace_inputs(
        self, inputs: InputSequences, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Put inputs (n, t, k) in the place of the call's own, or of its ids."""
        given = self._by_name(args, kwargs)
        before = given.get(self._input_name)
        if before is None:
            given.pop(_IDS, None)
        # Ids have no precision of their own.
        like = inputs if before is None else before
        return (), {**given, self._input_name: inputs.to(like.dtype)}

    def call_with(
        self, inputs: InputSequences
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Read inputs from an empty cache; what else must be given is none."""
        steps = torch.arange(inputs.shape[1], device=inputs.device)
        given: dict[str, Any] = dict.fromkeys(self._required)
        if "position_ids" in self._names:
            given["position_ids"] = steps.expand(len(inputs), -1)
        if "use_cache" in self._names:
            given["use_cache"] = False
        return (), {**given, self._input_name: inputs}

    def after_context(
        self, dynamics: DynamicsMap, layer: nn.Module, inputs: InputSequences
    ) -> tuple[Call, Any]:
        """Let a model read the context with a cache of its own, and then inputs.

        Raises:
            UnsupportedLayerError: the layer is no whole model.
        """
        if self._context is None or self._embedding is None:
            raise refuse(layer, "only a whole model can be run after a context.")
        output = decode(layer, self._context.expand(len(inputs), -1), inputs)
        given = inputs.to(dynamics.dtype)
        initial = dynamics.context_state  # type: ignore[attr-defined]
        lengths = torch.ones(len(inputs), dtype=torch.long, device=inputs.device)
        return Call(given, initial.expand(len(inputs), -1), lengths), output

    def precisely(self, layer: nn.Module) -> AbstractContextManager[Any]:
        """Without the casts to float32 that layers of transformers have in them."""
        return precision_of(layer)

    def write(
        self, dynamics: DynamicsMap, states: StateSequences, call: Call, output: Any
    ) -> Any:
        """The output that the layer gives on the way to states (n, t, d).

        What it gives for padding after the end of a sequence stays as it is.
        """
        own = first_tensor(output)
        given = dynamics.outputs(states, call).to(own.dtype)  # type: ignore[attr-defined]
        steps = torch.arange(given.shape[1], device=given.device)
        read = steps < call.lengths[:, None]
        return _with_first(output, torch.where(read[..., None], given, own))

    def _by_name(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        return {**dict(zip(self._names, args, strict=False)), **kwargs}


def _lengths(mask: Any, rows: int, steps: int) -> Counts:
    if not isinstance(mask, Tensor) or mask.shape != (rows, steps):
        return torch.full((rows,), steps)
    counted = mask.bool()
    if bool((counted[:, 1:] & ~counted[:, :-1]).any()):
        raise ValueError(
            "Expected `attention_mask` to have its padding last, as a state has read "
            "what comes first; move padding to the end."
        )
    return counted.sum(1)


def _with_first(output: Any, tensor: Tensor) -> Any:
    """An output in which the first tensor is another one."""
    if isinstance(output, Tensor):
        return tensor
    if isinstance(output, Mapping):
        first = next(name for name, part in output.items() if isinstance(part, Tensor))
        filled: Any = copy.copy(output)
        filled[first] = tensor
        return filled
    parts = list(output)
    place = next(i for i, part in enumerate(parts) if isinstance(part, Tensor))
    parts[place] = tensor
    return type(output)(parts)
