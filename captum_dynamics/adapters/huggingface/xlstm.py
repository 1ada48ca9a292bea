"""The mLSTM of xLSTM: its sums without the logarithm of their scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from captum_dynamics.adapters._base import refuse
from captum_dynamics.adapters._registry import register_adapter
from captum_dynamics.adapters.huggingface._capturing import capture
from captum_dynamics.adapters.huggingface._coordinates import Coordinates
from captum_dynamics.adapters.huggingface._decoding import DecodingStep
from captum_dynamics.adapters.huggingface._gauges import Part, ScaledCoordinates
from captum_dynamics.adapters.huggingface._slots import Path
from captum_dynamics.adapters.huggingface.cached import CachedLayer
from captum_dynamics.adapters.huggingface.families import CachedModel, layer_name

# What a layer keeps, in its order; the last is the logarithm of the others' scale.
_NAMES = ("memory", "normalizer")
_SCALE = 2


class _Writing(nn.Module):
    """A layer that gives back its new state, as one that writes it into the old."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor, state: Sequence[Tensor]) -> tuple[Tensor, Any]:
        output, new = self.layer(x, state)
        for old, value in zip(state, new, strict=True):
            old.copy_(value)
        return output, state


@register_adapter(
    layer_name("xlstm", "xLSTMLayer"),
    layer_name("xlstm", "xLSTMBlock"),
    "xlstm.xlstm_large.model.mLSTMLayer",
)
class XLSTMLayer(CachedLayer):
    """The mLSTM of a block of xLSTM, or the block, by transformers' own equations.

    The state is the matrix `memory` C of each head, and the `normalizer` n: sums over
    the past of outer products and of keys, times e^gate. The model keeps them divided
    by e^m, with m, which are no coordinates: see `ScaledCoordinates`. Each is affine in
    the state before, also jointly: the map is a direct solve. A whole model is not.

    Where the package xlstm is installed, transformers takes its layers, which are not
    these and are refused.

    References:
        Beck and others (2024), "xLSTM: Extended Long Short-Term Memory",
        arXiv:2405.04517.
    """

    @classmethod
    def capture(
        cls, host: nn.Module, layer: nn.Module, context: Tensor
    ) -> DecodingStep:
        """Keep the call, of a layer that gives back its state."""
        _check_own(host, layer)
        found = capture(host, layer, context, is_state=_is_state)
        return replace(found, layer=_Writing(found.layer))

    @classmethod
    def coordinates_of(cls, step: DecodingStep) -> Coordinates:
        held = {h.path: h for h in step.states}
        outer = list(dict.fromkeys(path[:-1] for path in held))
        parts = [
            Part(
                name=f"{name}{path[-1]}" if len(outer) > 1 else name,
                path=(*path, place),
                scale=(*path, _SCALE),
            )
            for path in outer
            for place, name in enumerate(_NAMES)
        ]
        return ScaledCoordinates(parts, held)


@register_adapter(layer_name("xlstm", "xLSTMPreTrainedModel"))
class XLSTMModel(XLSTMLayer, CachedModel):
    """A whole xLSTM model: the state of all its blocks.

    Its input is an embedded token, its output the last hidden states.
    """

    @classmethod
    def capture(
        cls, host: nn.Module, layer: nn.Module, context: Tensor
    ) -> DecodingStep:
        """Keep the call, of a model that writes its state into the cache."""
        _check_own(host, layer)
        return capture(host, layer, context, is_state=_is_state)


def _check_own(host: nn.Module, layer: nn.Module) -> None:
    """Refuse layers of the package xlstm, which transformers takes if it finds it."""
    bases = {base for module in host.modules() for base in type(module).__mro__}
    if any(base.__module__.startswith("xlstm.") for base in bases):
        raise refuse(
            layer,
            "transformers took it from the package xlstm; uninstall that package, and "
            "transformers uses its own layers, which are read.",
        )


def _is_state(path: Path) -> bool:
    """Whether a path leads to the triple of a layer, or to that of a model's layer."""
    return path[:-1] in {("args", 1), ("kwargs", "state")} or "rnn_state" in path
