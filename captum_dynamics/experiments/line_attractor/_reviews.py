"""Networks that read film reviews, and the bag of words they are compared with."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from captum_dynamics._typing import PerPoint
from captum_dynamics.analysis import NamedInputs
from captum_dynamics.experiments._bag_of_words import right_answers
from captum_dynamics.experiments._bench import Bench
from captum_dynamics.experiments.line_attractor._statistics import Subject
from captum_dynamics.models import SentimentClassifier, Vocabulary
from captum_dynamics.models.vocabulary import pad
from captum_dynamics.tasks._documents import (
    Documents,
    Recipe,
    accuracy,
    logits,
    train,
)
from captum_dynamics.tasks._files import load_weights, save_weights
from captum_dynamics.tasks._imdb_data import build_vocabulary
from captum_dynamics.tasks._training import Checkpoint
from captum_dynamics.tasks.imdb import (
    Review,
    encode_reviews,
    fit_word_scores,
    hold_out,
)

HELD_OUT = 5000
LONGEST_REVIEW = 10_000  # words; no review is longer
WORDS = 16000
SHOWN_WORDS = 2000  # most frequent words whose effect is looked at
READ = 200  # reviews that are analysed
EPOCHS = {"tanh": 3, "ugrnn": 4, "gru": 4, "lstm": 4, "linear": 4}


@dataclass(frozen=True, eq=False)
class Reviews:
    """Reviews as word ids, and what a bag of words makes of them.

    Attributes:
        vocabulary: the words.
        training: reviews to learn from.
        held_out: reviews to judge by.
        scores: (v,) coefficients of a strongly shrunk logistic regression.
        bag_accuracy: held-out accuracy of a logistic regression whose penalty was
            chosen on the training reviews.
    """

    vocabulary: Vocabulary
    training: Documents
    held_out: Documents
    scores: PerPoint
    bag_accuracy: float

    @property
    def mean_counts(self) -> PerPoint:
        """Share of each word in the training text."""
        read = torch.tensor([word for ids in self.training.ids for word in ids])
        counts = torch.bincount(read, minlength=len(self.vocabulary)).double()
        return counts / counts.sum()

    @cached_property
    def digest(self) -> str:
        """SHA-256 of what a network learns from: other reviews, other weights."""
        read = (self.vocabulary.words, self.training.ids, self.training.labels.tolist())
        return hashlib.sha256(repr(read).encode("utf-8")).hexdigest()


def prepare_reviews(reviews: list[Review], *, quick: bool) -> Reviews:
    """Hold some out, build the vocabulary and fit the bag of words."""
    if quick:
        reviews = reviews[:: max(1, len(reviews) // 2500)]
    split = hold_out(reviews, len(reviews) // 5 if quick else HELD_OUT)
    texts = [review.text for review in split.training]
    vocabulary = build_vocabulary(texts, size=3000 if quick else WORDS)
    training = encode_reviews(vocabulary, split.training)
    held_out = encode_reviews(vocabulary, split.held_out)
    scores, _ = fit_word_scores(training, held_out, size=len(vocabulary))
    # A bag of words may read the whole of a review, not only what the networks read.
    right, _ = right_answers(
        encode_reviews(vocabulary, split.training, max_words=LONGEST_REVIEW),
        encode_reviews(vocabulary, split.held_out, max_words=LONGEST_REVIEW),
        len(vocabulary),
        {},
    )
    bag = float(right.double().mean())
    return Reviews(vocabulary, training, held_out, scores, bag)


def train_on_reviews(bench: Bench, reviews: Reviews, arch: str) -> SentimentClassifier:
    """Train one network, or take the kept one."""
    recipe = Recipe(epochs=1 if bench.quick else EPOCHS[arch], seed=bench.seed)
    size = 32 if bench.quick else 128
    sizes = {"embedding_dim": size, "hidden_size": size}

    def learn(checkpoint: Checkpoint) -> SentimentClassifier:
        return train(
            len(reviews.vocabulary),
            reviews.training,
            reviews.held_out,
            recipe,
            cell=arch,
            checkpoint=checkpoint,
            show_progress=bench.show_progress,
            **sizes,
        )[0]

    def read(path: Path) -> SentimentClassifier:
        return load_weights(
            path,
            lambda _: SentimentClassifier(len(reviews.vocabulary), cell=arch, **sizes),
            what="a network that reads reviews",
        )

    return bench.net(
        f"reviews_{arch}",
        {"arch": arch, "recipe": str(recipe), "reviews": reviews.digest, **sizes},
        learn,
        lambda net, path: save_weights(net, path, {}),
        read,
    )


def review_accuracy(model: SentimentClassifier, reviews: Reviews) -> float:
    """Held-out reviews told right."""
    return accuracy(logits(model, reviews.held_out), reviews.held_out.labels)


def review_subject(
    bench: Bench, model: SentimentClassifier, reviews: Reviews
) -> Subject:
    """The network with held-out reviews to read, and its most frequent words."""
    shown = range(2, min(SHOWN_WORDS + 2, len(reviews.vocabulary)))
    vectors = model.embedding.weight.detach()
    mean = (reviews.mean_counts @ vectors.double()).to(vectors.dtype)
    texts = reviews.held_out.ids[: 60 if bench.quick else READ]
    return Subject(
        model,
        pad(texts),
        NamedInputs(
            [reviews.vocabulary.words[row] for row in shown],
            vectors[list(shown)],
            reviews.scores[list(shown)].double(),
        ),
        mean,
    )
