"""RWKV-4: every row alone, its sums without the logarithm of their scale."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from captum_dynamics._typing import Inputs, Outputs, States
from captum_dynamics.adapters._registry import register_adapter
from captum_dynamics.adapters.huggingface._capturing import capture
from captum_dynamics.adapters.huggingface._coordinates import Coordinates
from captum_dynamics.adapters.huggingface._decoding import DecodingStep
from captum_dynamics.adapters.huggingface._gauges import Part, ScaledCoordinates
from captum_dynamics.adapters.huggingface._slots import Path
from captum_dynamics.adapters.huggingface.cached import CachedLayer
from captum_dynamics.adapters.huggingface.families import CachedModel, layer_name

# What the model's list of five tensors (n, width, layers) holds, in its order.
_CHANNEL, _TIME, _NUMERATOR, _DENOMINATOR, _SCALE = range(5)
_SUMS = {_NUMERATOR: "numerator", _DENOMINATOR: "denominator"}
_SHIFTS = {_CHANNEL: "channel_shift", _TIME: "time_shift"}
_NAMES = {**_SHIFTS, **_SUMS}


@register_adapter(
    layer_name("rwkv", "RwkvSelfAttention"), layer_name("rwkv", "RwkvBlock")
)
class RwkvLayer(CachedLayer):
    """The attention of RWKV-4, or a block of it, in evaluation.

    Of the model's five tensors a layer owns one column each: what the token before was
    (`time_shift`; of a block `channel_shift` too), and the sums over the past of
    values (`numerator`) and weights (`denominator`), each times e^key. The model keeps
    the sums divided by e^m, with m, which are no coordinates: see `ScaledCoordinates`.

    Each row is run alone, as the model's own step with a cache is wrong for more than
    one: it lets the rows read the shifts of each other. The model halves weights in
    place when it is first evaluated; here that happens to a copy, and the map is that
    of the weights after it.

    References:
        Peng and others (2023), "RWKV: Reinventing RNNs for the Transformer Era",
        arXiv:2305.13048.
    """

    @classmethod
    def capture(
        cls, host: nn.Module, layer: nn.Module, context: Tensor
    ) -> DecodingStep:
        """Keep the call in a copy of the model, of which the weights are its own."""
        path = next(name for name, module in host.named_modules() if module is layer)
        own = copy.deepcopy(host)
        kinds = _SUMS.keys() | {_SCALE} | cls.shifts(layer)
        return capture(
            own,
            own.get_submodule(path),
            context,
            is_state=lambda path: _kind(path) in kinds,
        )

    @classmethod
    def shifts(cls, layer: nn.Module) -> set[int]:
        """Which of the shifts the layer reads."""
        return {_TIME, _CHANNEL} if hasattr(layer, "feed_forward") else {_TIME}

    @classmethod
    def coordinates_of(cls, step: DecodingStep) -> Coordinates:
        held = {h.path: h for h in step.states}
        by_kind = {_kind(path): path for path in held}
        columns = cls.columns(step.layer)
        several = len(columns) > 1
        parts = [
            Part(
                name=f"{_NAMES[kind]}{column}" if several else _NAMES[kind],
                path=by_kind[kind],
                column=column,
                scale=by_kind[_SCALE] if kind in _SUMS else None,
            )
            for column in columns
            for kind in (_TIME, _NUMERATOR, _DENOMINATOR, _CHANNEL)
            if kind in by_kind
        ]
        return ScaledCoordinates(parts, held)

    @classmethod
    def columns(cls, layer: nn.Module) -> list[int]:
        """Which columns of the model's tensors the layer writes."""
        own: Any = layer
        return [own.layer_id]

    def advance(self, states: States, inputs: Inputs) -> tuple[States, Outputs]:
        """New states, and the layer's output (n, m), each row by itself."""
        advance = super().advance

        def alone(state: Tensor, given: Tensor) -> tuple[Tensor, Tensor]:
            new, output = advance(state[None], given[None])
            return new[0], output[0]

        new, output = torch.func.vmap(alone)(states, inputs)
        return new, output


@register_adapter(layer_name("rwkv", "RwkvPreTrainedModel"))
class RwkvModel(RwkvLayer, CachedModel):
    """A whole RWKV-4 model: the state of all its blocks.

    Its input is an embedded token, its output the last hidden states.
    """

    @classmethod
    def shifts(cls, layer: nn.Module) -> set[int]:
        return {_TIME, _CHANNEL}

    @classmethod
    def columns(cls, layer: nn.Module) -> list[int]:
        own: Any = layer
        blocks: Iterable[nn.Module] = own.blocks
        return [index for index, _ in enumerate(blocks)]


def _kind(path: Path) -> int | None:
    """Place of a tensor in the model's list, which is the argument `state`."""
    *outer, place = path
    listed = tuple(outer) in {("kwargs", "state"), ("args", 1)}
    return int(place) if listed else None
