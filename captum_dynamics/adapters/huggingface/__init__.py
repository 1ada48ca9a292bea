"""Layers of Hugging Face models, by their calls while the model decodes."""

from __future__ import annotations

from captum_dynamics.adapters.huggingface.cached import CachedLayer
from captum_dynamics.adapters.huggingface.families import CachedModel
from captum_dynamics.adapters.huggingface.recurrent_gemma import (
    RecurrentGemmaLayer,
    RecurrentGemmaModel,
)
from captum_dynamics.adapters.huggingface.rwkv import RwkvLayer, RwkvModel
from captum_dynamics.adapters.huggingface.xlstm import XLSTMLayer, XLSTMModel

__all__ = [
    "CachedLayer",
    "CachedModel",
    "RecurrentGemmaLayer",
    "RecurrentGemmaModel",
    "RwkvLayer",
    "RwkvModel",
    "XLSTMLayer",
    "XLSTMModel",
]
