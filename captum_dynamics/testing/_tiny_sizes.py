"""The sizes of the tiny Hugging Face models, by family."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

VOCABULARY: Final = 40

# Keeps a signal's size in layers of width 16. The usual 0.02 is meant for widths of
# thousands: with it a tiny model hardly depends on its state.
WEIGHT_SCALE: Final = 0.25

_WIDTHS: Final = {"vocab_size": VOCABULARY, "hidden_size": 16, "num_hidden_layers": 2}
_SPECIAL: Final = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_BASE: Final = {**_WIDTHS, **_SPECIAL}
_ATTENTION: Final = {
    **_BASE,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "intermediate_size": 24,
    "max_position_embeddings": 64,
}
_MAMBA: Final = {**_BASE, "state_size": 4, "time_step_rank": 4}
_MAMBA2: Final = {
    **_ATTENTION,
    "mamba_n_heads": 4,
    "mamba_d_head": 8,
    "mamba_d_state": 4,
    "mamba_chunk_size": 4,
}
_DELTA: Final = {
    **_ATTENTION,
    "layer_types": ["linear_attention", "full_attention"],
    "head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 4,
    "linear_value_head_dim": 6,
}
_SPEECH: Final = {
    **_SPECIAL,
    "vocab_size": VOCABULARY,
    "blank_token_id": 0,
    "decoder_hidden_size": 16,
    "num_decoder_layers": 2,
    "encoder_config": {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 24,
        "conv_kernel_size": 3,
        "subsampling_conv_channels": 4,
        "num_mel_bins": 8,
        "max_position_embeddings": 64,
        "initializer_range": WEIGHT_SCALE,
    },
}

SIZES: Final[Mapping[str, Mapping[str, Any]]] = {
    "mamba": _MAMBA,
    "mamba2": {
        **_BASE,
        "state_size": 4,
        "num_heads": 4,
        "head_dim": 8,
        "n_groups": 2,
        "chunk_size": 4,
    },
    "falcon_mamba": _MAMBA,
    "jamba": {
        **_ATTENTION,
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
        "num_experts": 2,
        "num_experts_per_tok": 1,
        "expert_layer_period": 2,
        "expert_layer_offset": 1,
        "mamba_d_state": 4,
        "mamba_dt_rank": 4,
        "use_mamba_kernels": False,
    },
    "zamba2": {
        **_ATTENTION,
        "num_hidden_layers": 3,
        "num_key_value_heads": 2,
        "layers_block_type": ["mamba", "hybrid", "mamba"],
        "n_mamba_heads": 4,
        "mamba_d_state": 4,
        # In 4.57 a sequence of two chunks does not give what its steps give.
        "chunk_size": 16,
        "adapter_rank": 4,
        "use_mamba_kernels": False,
    },
    "zamba": {
        **_ATTENTION,
        # The first two layers never attend, the third always does, and
        # transformers 5 cannot tie the weights of fewer than two that do.
        "num_hidden_layers": 4,
        "attn_layer_period": 1,
        "attn_layer_offset": 0,
        "num_key_value_heads": 2,
        "n_mamba_heads": 2,
        "mamba_d_state": 4,
        "mamba_dt_rank": 4,
        "use_mamba_kernels": False,
    },
    "bamba": {**_MAMBA2, "attn_layer_indices": [1]},
    "granitemoehybrid": {
        **_MAMBA2,
        "layer_types": ["mamba", "attention"],
        "num_local_experts": 2,
        "num_experts_per_tok": 1,
        "shared_intermediate_size": 24,
    },
    "falcon_h1": {**_MAMBA2, "mamba_d_ssm": 32},
    "nemotron_h": {
        **{k: v for k, v in _ATTENTION.items() if k != "num_hidden_layers"},
        "layers_block_type": ["mamba", "attention", "mlp"],
        "head_dim": 8,
        "mamba_num_heads": 4,
        "mamba_head_dim": 8,
        "ssm_state_size": 4,
        "n_groups": 2,
        "chunk_size": 4,
        "use_mamba_kernels": False,
    },
    "qwen3_next": {
        **_DELTA,
        "num_experts": 2,
        "num_experts_per_tok": 1,
        "moe_intermediate_size": 24,
        "shared_expert_intermediate_size": 24,
    },
    "qwen3_5": _DELTA,
    "olmo_hybrid": {k: v for k, v in _DELTA.items() if k != "head_dim"},
    "kimi_linear": {
        **_ATTENTION,
        "num_key_value_heads": 2,
        "layer_types": ["linear_attention", "full_attention"],
        "mlp_layer_types": ["dense", "sparse"],
        "kv_lora_rank": 8,
        "qk_rope_head_dim": 4,
        "qk_nope_head_dim": 4,
        "v_head_dim": 8,
        "linear_head_dim": 4,
        "linear_num_heads": 2,
        "moe_intermediate_size": 24,
        "num_local_experts": 2,
        "num_experts_per_tok": 1,
    },
    "lfm2": {
        **_ATTENTION,
        "layer_types": ["conv", "full_attention"],
        "block_multiple_of": 8,
    },
    "minimax": {
        **_ATTENTION,
        "layer_types": ["linear_attention", "full_attention"],
        "num_local_experts": 2,
        "num_experts_per_tok": 1,
        "block_size": 4,
    },
    "recurrent_gemma": {
        **{k: v for k, v in _ATTENTION.items() if k != "max_position_embeddings"},
        "block_types": ["recurrent", "attention"],
        "attention_window_size": 16,
        "w_init_variance_scale": 0.25,
    },
    "rwkv": {**_BASE, "context_length": 32, "rescale_every": 1},
    # The cache is as wide as the queries, rounded up to a multiple of 64.
    "xlstm": {**_BASE, "hidden_size": 64, "num_heads": 2, "qk_dim_factor": 1.0},
    "encodec": {
        "hidden_size": 16,
        "num_filters": 4,
        "upsampling_ratios": [2, 2],
        "num_lstm_layers": 2,
        "codebook_size": 8,
        "codebook_dim": 16,
        "kernel_size": 3,
        "last_kernel_size": 3,
    },
    "slanet": {
        "hidden_size": 16,
        "post_conv_out_channels": 8,
        "out_channels": VOCABULARY,
        "max_text_length": 6,
    },
    "parakeet_rnnt": _SPEECH,
    "parakeet_tdt": _SPEECH,
}
