"""Published architectures and shipped weights."""

from __future__ import annotations

from captum_dynamics.models.sentiment import (
    SentimentClassifier,
    SentimentModel,
    load_sentiment,
)
from captum_dynamics.models.vocabulary import Vocabulary

__all__ = ["SentimentClassifier", "SentimentModel", "Vocabulary", "load_sentiment"]
