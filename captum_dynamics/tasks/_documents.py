"""Documents with labels: training a classifier on them, and measuring it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR, LRScheduler
from tqdm import tqdm

from captum_dynamics._typing import Counts, PerPoint
from captum_dynamics.models.sentiment import SentimentClassifier
from captum_dynamics.models.sequence_net import keep_state
from captum_dynamics.models.vocabulary import PADDING_ID, pad
from captum_dynamics.tasks import _training
from captum_dynamics.tasks._training import Checkpoint, Training, begin


@dataclass(frozen=True)
class Documents:
    """Encoded reviews, none of them empty, and their labels of shape (N,)."""

    ids: list[list[int]]
    labels: Counts


@dataclass(frozen=True)
class Recipe:
    """How to train: all numbers that, with the data, decide the weights.

    Attributes:
        epochs: Passes over the training reviews.
        seed: Seed of initial weights, order and dropout.
        batch_size: Documents per step.
        learning_rate: Adam's peak rate, reached after the warm-up.
        warm_up: Share of all steps in which the rate rises from zero; after it the
            rate follows half a cosine back to zero.
        clip: Largest gradient norm; only the first steps of an LSTM come near.
    """

    epochs: int = 4
    seed: int = 0
    batch_size: int = 64
    learning_rate: float = 1e-3
    warm_up: float = 0.05
    clip: float = 1.0


def train(
    vocabulary_size: int,
    training: Documents,
    held_out: Documents,
    recipe: Recipe,
    *,
    cell: str = "gru",
    embedding_dim: int = 128,
    hidden_size: int = 128,
    checkpoint: Checkpoint | None = None,
    show_progress: bool = False,
) -> tuple[SentimentClassifier, list[float]]:
    """Train a new classifier and follow it on held-out reviews.

    Held-out reviews are watched and never used: the network of the last epoch is
    returned, whichever was best. The caller's random state is untouched.

    Args:
        vocabulary_size: Number of words.
        training: Reviews to learn from.
        held_out: Reviews to judge by, after every epoch.
        recipe: Epochs, seed and rates.
        cell: "gru", "lstm", "tanh", "ugrnn" or "linear".
        embedding_dim: Width of an embedded word.
        hidden_size: Units of the recurrent layer.
        checkpoint: The file, written after every epoch, that a killed training can go
            on from.
        show_progress: Show a bar for every epoch.

    Returns:
        The network in evaluation mode; its held-out accuracy after each epoch.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        sizes = {"embedding_dim": embedding_dim, "hidden_size": hidden_size}
        model = SentimentClassifier(vocabulary_size, cell=cell, **sizes)
        initialize(model)
        steps = recipe.epochs * math.ceil(len(training.ids) / recipe.batch_size)
        run = Training(
            model,
            _training.Recipe(
                steps, recipe.learning_rate, recipe.seed, clip=recipe.clip
            ),
            task=f"reviews, {recipe}",
            rates=partial(_rates, steps=steps, warm_up=recipe.warm_up),
        )
        begin(run, checkpoint)
        for epoch in range(len(run.history) + 1, recipe.epochs + 1):
            batches = list(_bucketed(training.ids, recipe.batch_size))
            model.train()
            for rows in tqdm(batches, f"epoch {epoch}", disable=not show_progress):
                run.update(_loss(model, training, rows))
            run.history.append(accuracy(logits(model, held_out), held_out.labels))
            if checkpoint is not None:
                run.save(checkpoint.path)
    return model.eval(), run.history


def initialize(model: SentimentClassifier) -> None:
    """Set small embeddings, and recurrent weights under which a state lasts.

    Args:
        model: The network, changed in place.
    """
    # Small, so that a word is worth little until the data say otherwise.
    nn.init.normal_(model.embedding.weight, std=0.05)
    nn.init.zeros_(model.embedding.weight.detach()[PADDING_ID])
    keep_state(model.rnn)


def _rates(
    optimizer: torch.optim.Optimizer, *, steps: int, warm_up: float
) -> LRScheduler:
    return LambdaLR(optimizer, partial(_rate, steps=steps, warm_up=warm_up))


def _rate(step: int, steps: int, warm_up: float) -> float:
    """Share of the peak learning rate at a step: a ramp, then half a cosine."""
    ramp = max(1, round(warm_up * steps))
    if step < ramp:
        return (step + 1) / ramp
    return 0.5 * (1 + math.cos(math.pi * (step - ramp) / max(1, steps - ramp)))


def _bucketed(documents: Sequence[Sequence[int]], size: int) -> Iterator[list[int]]:
    """Yield shuffled batches of rows whose documents have similar lengths.

    Padding costs as much as words do. Sorting within random pools of 50 batches
    removes most of it and still mixes documents anew in every epoch.
    """
    order = torch.randperm(len(documents)).tolist()
    pool = 50 * size
    batches: list[list[int]] = []
    for start in range(0, len(order), pool):
        rows = sorted(order[start : start + pool], key=lambda row: len(documents[row]))
        batches.extend(rows[i : i + size] for i in range(0, len(rows), size))
    for index in torch.randperm(len(batches)).tolist():
        yield batches[index]


def _loss(model: SentimentClassifier, data: Documents, rows: list[int]) -> Tensor:
    """Cross-entropy of some documents."""
    found = model(pad([data.ids[row] for row in rows]))[:, 0]
    wanted = data.labels[rows].to(found.dtype)
    return nn.functional.binary_cross_entropy_with_logits(found, wanted)


def logits(
    model: SentimentClassifier, data: Documents, *, batch_size: int = 128
) -> PerPoint:
    """Score all documents without dropout.

    Args:
        model: The network; its training mode is left as found.
        data: Encoded reviews.
        batch_size: Documents per batch; changes speed, not results.

    Returns:
        Logits of shape (N,), in the documents' order.
    """
    was_training = model.training
    model.eval()
    order = sorted(range(len(data.ids)), key=lambda row: len(data.ids[row]))
    scores = torch.empty(len(order))
    try:
        with torch.no_grad():
            for start in range(0, len(order), batch_size):
                rows = order[start : start + batch_size]
                scores[rows] = model(pad([data.ids[row] for row in rows]))[:, 0]
    finally:
        model.train(was_training)
    return scores


def accuracy(scores: PerPoint, labels: Counts) -> float:
    """Share of labels that the sign of the score gets right.

    Args:
        scores: Logits of shape (N,).
        labels: 0 or 1, shape (N,).

    Returns:
        A number from 0 to 1.
    """
    return float(((scores > 0) == (labels == 1)).double().mean())
