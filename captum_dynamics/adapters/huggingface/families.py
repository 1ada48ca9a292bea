"""Which layers and models of transformers are read, by name: nothing is imported."""

from __future__ import annotations

import warnings

from torch import Tensor, nn

from captum_dynamics.adapters._registry import register_adapter
from captum_dynamics.adapters.huggingface._hosts import body_of
from captum_dynamics.adapters.huggingface.cached import CachedLayer
from captum_dynamics.exceptions import AdapterWarning

MIXERS = {
    "mamba": "MambaMixer",
    "mamba2": "Mamba2Mixer",
    "falcon_mamba": "FalconMambaMixer",
    "jamba": "JambaMambaMixer",
    "zamba": "ZambaMambaMixer",
    "zamba2": "Zamba2MambaMixer",
    "bamba": "BambaMixer",
    "granitemoehybrid": "GraniteMoeHybridMambaLayer",
    "falcon_h1": "FalconH1Mixer",
    "nemotron_h": "NemotronHMamba2Mixer",
    "qwen3_next": "Qwen3NextGatedDeltaNet",
    "qwen3_5": "Qwen3_5GatedDeltaNet",
    "olmo_hybrid": "OlmoHybridGatedDeltaNet",
    "kimi_linear": "KimiLinearDeltaAttention",
    "lfm2": "Lfm2ShortConv",
    "minimax": "MiniMaxLightningAttention",
}
"""Class of the recurrent layers of each family, by the name of its module."""


def layer_name(family: str, kind: str) -> str:
    """Dotted name of a class of a family, such as "mamba"."""
    return f"transformers.models.{family}.modeling_{family}.{kind}"


MODELS = {
    "mamba": "MambaPreTrainedModel",
    "mamba2": "Mamba2PreTrainedModel",
    "falcon_mamba": "FalconMambaPreTrainedModel",
    "jamba": "JambaPreTrainedModel",
    "zamba": "ZambaPreTrainedModel",
    "zamba2": "Zamba2PreTrainedModel",
    "bamba": "BambaPreTrainedModel",
    "granitemoehybrid": "GraniteMoeHybridPreTrainedModel",
    "falcon_h1": "FalconH1PreTrainedModel",
    "nemotron_h": "NemotronHPreTrainedModel",
    "qwen3_next": "Qwen3NextPreTrainedModel",
    "qwen3_5": "Qwen3_5PreTrainedModel",
    "olmo_hybrid": "OlmoHybridPreTrainedModel",
    "kimi_linear": "KimiLinearPreTrainedModel",
    "lfm2": "Lfm2PreTrainedModel",
    "minimax": "MiniMaxPreTrainedModel",
}
"""Base class of each family's models, by the name of its module."""

for _family, _kind in MIXERS.items():
    register_adapter(layer_name(_family, _kind))(CachedLayer)


@register_adapter(*(layer_name(family, kind) for family, kind in MODELS.items()))
class CachedModel(CachedLayer):
    """A whole model whose state is what all its layers write into the cache.

    Its input is an embedded token, its output the last hidden states.
    """

    of_model = True

    @classmethod
    def core(cls, layer: nn.Module) -> nn.Module:
        """The model without its heads."""
        return body_of(layer)

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
        """Adapt the model; attention is read with the context's keys and values.

        Warns:
            AdapterWarning: keys and values are held fixed.
        """
        adapter = super().from_model(
            model,
            layer,
            layer_index=layer_index,
            direction=direction,
            context=context,
        )
        if adapter.attends:
            warnings.warn(
                f"{type(layer).__name__} attends to earlier tokens by keys and values, "
                f"which are no state: the map holds them as `context` left them.",
                AdapterWarning,
                stacklevel=3,
            )
        return adapter
