"""Tasks that recurrent networks are trained on: data, training, evaluation."""

from __future__ import annotations
