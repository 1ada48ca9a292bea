"""Published architectures and shipped weights."""

from __future__ import annotations

from captum_dynamics.models.sentiment import (
    SentimentClassifier,
    SentimentModel,
    load_sentiment,
)
from captum_dynamics.models.ugrnn import UGRNN, UGRNNCell
from captum_dynamics.models.vocabulary import Vocabulary

__all__ = [
    "SentimentClassifier",
    "SentimentModel",
    "UGRNN",
    "UGRNNCell",
    "Vocabulary",
    "load_sentiment",
]
