"""Networks that read long documents of tokens whose values are known."""

from __future__ import annotations

from captum_dynamics.analysis import NamedInputs
from captum_dynamics.experiments._bench import Bench
from captum_dynamics.experiments.line_attractor._statistics import Subject
from captum_dynamics.models import SentimentClassifier
from captum_dynamics.tasks._training import Checkpoint
from captum_dynamics.tasks.synthetic_sentiment import (
    evaluate_synthetic_sentiment,
    load_synthetic_sentiment,
    sample_synthetic_sentiment,
    save_synthetic_sentiment,
    token_values,
    train_synthetic_sentiment,
)

READ = 200  # documents that are analysed
UPDATED = 64  # documents of an update
# Gradients through 200 steps of a network without gates are small or huge: it learns
# only slowly. Chosen by the accuracy on fresh documents, before any analysis.
RATES = {"tanh": 1e-3}
UPDATES = {"tanh": 5000}


def length_range(bench: Bench) -> tuple[int, int]:
    """Tokens of a document, at least and at most."""
    return (20, 40) if bench.quick else (100, 200)


def train_synthetic(bench: Bench, arch: str) -> SentimentClassifier:
    """Train one network, or take the kept one."""
    shortest, longest = length_range(bench)
    hidden, updates = (16, 250) if bench.quick else (64, UPDATES.get(arch, 1500))
    rate = RATES.get(arch, 5e-3)

    def learn(checkpoint: Checkpoint) -> SentimentClassifier:
        return train_synthetic_sentiment(
            arch,
            hidden,
            bench.seed,
            shortest=shortest,
            longest=longest,
            updates=updates,
            documents=UPDATED,
            learning_rate=rate,
            checkpoint=checkpoint,
            show_progress=bench.show_progress,
        )

    return bench.net(
        f"synthetic_{arch}",
        {
            "arch": arch,
            "hidden": hidden,
            "updates": updates,
            "documents": UPDATED,
            "learning_rate": rate,
            "shortest": shortest,
            "longest": longest,
        },
        learn,
        save_synthetic_sentiment,
        load_synthetic_sentiment,
    )


def synthetic_accuracy(bench: Bench, model: SentimentClassifier) -> float:
    """Documents that do not add up to zero and whose sign is told right."""
    shortest, longest = length_range(bench)
    return evaluate_synthetic_sentiment(model, shortest=shortest, longest=longest)[0]


def synthetic_subject(bench: Bench, model: SentimentClassifier) -> Subject:
    """The network with documents to read, and what its tokens are worth."""
    shortest, longest = length_range(bench)
    documents = sample_synthetic_sentiment(
        40 if bench.quick else READ,
        shortest=shortest,
        longest=longest,
        generator=bench.generator(),
    )
    values = token_values()[1:]
    names = [f"{value:+.0f}" if value else "0" for value in values.tolist()]
    vectors = model.embedding.weight.detach()[1:]
    words = NamedInputs(names, vectors, values.double())
    return Subject(model, documents.ids, words, vectors.mean(0))


def document_length(bench: Bench) -> float:
    """Mean tokens of a document."""
    shortest, longest = length_range(bench)
    return (shortest + longest) / 2
