"""Layers of Hugging Face models, by their calls while the model decodes."""

from __future__ import annotations

from captum_dynamics.adapters.huggingface.cached import CachedLayer
from captum_dynamics.adapters.huggingface.families import CachedModel

__all__ = ["CachedLayer", "CachedModel"]
