"""Published architectures and shipped weights."""

from __future__ import annotations

from captum_dynamics.models.linear import LinearRNN
from captum_dynamics.models.sentiment import (
    SentimentClassifier,
    SentimentModel,
    load_sentiment,
)
from captum_dynamics.models.sequence_net import (
    ARCHITECTURES,
    SequenceNet,
    build_layer,
    keep_state,
)
from captum_dynamics.models.ugrnn import UGRNN, UGRNNCell
from captum_dynamics.models.vocabulary import Vocabulary

__all__ = [
    "ARCHITECTURES",
    "LinearRNN",
    "SentimentClassifier",
    "SentimentModel",
    "SequenceNet",
    "UGRNN",
    "UGRNNCell",
    "Vocabulary",
    "build_layer",
    "keep_state",
    "load_sentiment",
]
