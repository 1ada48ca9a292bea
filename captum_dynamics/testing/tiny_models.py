"""Tiny random Hugging Face models with recurrent layers, one of each family."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from captum_dynamics.testing._tiny_model import (
    TinyModel,
    features,
    positioned_tokens,
    sound,
    speech,
    tokens,
)
from captum_dynamics.testing._tiny_sizes import SIZES


def _language_model(
    name: str, prefix: str, mixer: str, layer: str, **facts: Any
) -> TinyModel:
    """Entry of a language model, whose classes are named by a prefix."""
    given = {
        "config": f"{prefix}Config",
        "hybrid": True,
        "draw": positioned_tokens,
        **facts,
    }
    return TinyModel(
        name=name,
        folder=name,
        mixer=f"transformers.models.{name}.modeling_{name}.{prefix}{mixer}",
        layer=layer,
        model=f"{prefix}ForCausalLM",
        sizes=SIZES[name],
        **given,
    )


def _pure(name: str, prefix: str, mixer: str, layer: str, cache: str) -> TinyModel:
    """Entry of a language model without attention, which takes no positions."""
    return _language_model(
        name,
        prefix,
        mixer,
        layer,
        hybrid=False,
        cache_names=("cache", cache),
        draw=tokens,
    )


def _speech_model(kind: str) -> TinyModel:
    return TinyModel(
        name=f"parakeet_{kind.lower()}",
        folder="parakeet",
        mixer="torch.nn.LSTM",
        layer="decoder.lstm",
        model=f"ParakeetFor{kind}",
        config=f"Parakeet{kind}Config",
        sizes=SIZES[f"parakeet_{kind.lower()}"],
        cache_names=("decoder_cache",),
        since="5",
        draw=speech,
    )


_FAMILIES = (
    _pure("mamba", "Mamba", "Mixer", "backbone.layers.0.mixer", "cache_params"),
    _pure("mamba2", "Mamba2", "Mixer", "backbone.layers.0.mixer", "cache_params"),
    _pure(
        "falcon_mamba",
        "FalconMamba",
        "Mixer",
        "backbone.layers.0.mixer",
        "cache_params",
    ),
    _language_model(
        "jamba",
        "Jamba",
        "MambaMixer",
        "model.layers.0.mamba",
        cache_class="HybridMambaAttentionDynamicCache",
    ),
    _language_model("zamba2", "Zamba2", "MambaMixer", "model.layers.0.mamba"),
    _language_model(
        "zamba",
        "Zamba",
        "MambaMixer",
        "model.layers.0.mamba",
        cache_class="ZambaHybridDynamicCache",
    ),
    _language_model(
        "bamba",
        "Bamba",
        "Mixer",
        "model.layers.0.mamba",
        cache_class="HybridMambaAttentionDynamicCache",
    ),
    _language_model(
        "granitemoehybrid",
        "GraniteMoeHybrid",
        "MambaLayer",
        "model.layers.0.mamba",
        cache_class="HybridMambaAttentionDynamicCache",
    ),
    _language_model(
        "falcon_h1",
        "FalconH1",
        "Mixer",
        "model.layers.0.mamba",
        cache_class="FalconHybridMambaAttentionDynamicCache",
    ),
    _language_model(
        "nemotron_h", "NemotronH", "Mamba2Mixer", "model.layers.0.mixer", since="5"
    ),
    _language_model(
        "qwen3_next", "Qwen3Next", "GatedDeltaNet", "model.layers.0.linear_attn"
    ),
    _language_model(
        "qwen3_5",
        "Qwen3_5",
        "GatedDeltaNet",
        "model.layers.0.linear_attn",
        config="Qwen3_5TextConfig",
        since="5",
    ),
    _language_model(
        "olmo_hybrid",
        "OlmoHybrid",
        "GatedDeltaNet",
        "model.layers.0.linear_attn",
        since="5",
    ),
    _language_model(
        "kimi_linear",
        "KimiLinear",
        "DeltaAttention",
        "model.layers.0.self_attn",
        since="5",
    ),
    _language_model("lfm2", "Lfm2", "ShortConv", "model.layers.0.conv"),
    _language_model(
        "minimax", "MiniMax", "LightningAttention", "model.layers.0.self_attn"
    ),
    _language_model(
        "recurrent_gemma",
        "RecurrentGemma",
        "RecurrentBlock",
        "model.layers.0.temporal_block",
        cache_names=("cache",),
        cache_class="DynamicCache",
    ),
    _pure("rwkv", "Rwkv", "SelfAttention", "rwkv.blocks.0.attention", "state"),
    _pure("xlstm", "xLSTM", "Layer", "backbone.blocks.0.mlstm_layer", "cache_params"),
    TinyModel(
        name="encodec",
        folder="encodec",
        mixer="torch.nn.LSTM",
        layer="decoder.layers.1.lstm",
        model="EncodecModel",
        config="EncodecConfig",
        sizes=SIZES["encodec"],
        cache_names=(),
        draw=sound,
    ),
    _speech_model("RNNT"),
    _speech_model("TDT"),
    TinyModel(
        name="slanet",
        folder="slanet",
        mixer="torch.nn.GRUCell",
        layer="structure_attention_cell.rnn",
        # The decoder alone: what is before it is a convolutional net.
        model="SLANetSLAHead",
        config="SLANetConfig",
        sizes=SIZES["slanet"],
        cache_names=(),
        since="5",
        draw=features,
    ),
)

TINY_MODELS: Final[Mapping[str, TinyModel]] = MappingProxyType(
    {family.name: family for family in _FAMILIES}
)
