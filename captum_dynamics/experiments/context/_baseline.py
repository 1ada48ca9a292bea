"""Bags of words, with and without terms for words that stand behind a modifier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from captum_dynamics.models.vocabulary import SPECIAL_WORDS
from captum_dynamics.tasks._documents import Documents

WordsRead = Int[Tensor, "n t"]
PENALTIES = (0.01, 0.03, 0.1)  # inverse ones, to choose from
RESAMPLES = 2000


def count_terms(
    words: WordsRead, size: int, modifiers: Mapping[int, int]
) -> Float[Tensor, "n f"]:
    """How often each word occurs, and how often 1, 2, ... places behind a modifier.

    Args:
        words: words (n, t) as numbers below `size`.
        size: number of words.
        modifiers: how many later words each modifier reaches.

    Returns:
        Counts (n, size (1 + all reaches)): of words, then of words at each distance
        behind each modifier.
    """
    one_hot = torch.nn.functional.one_hot(words, size).double()
    parts = [one_hot.sum(1)]
    for modifier, reach in modifiers.items():
        is_one = (words == modifier).double()
        parts += [
            torch.einsum("nt,ntv->nv", is_one[:, :-lag], one_hot[:, lag:])
            for lag in range(1, reach + 1)
        ]
    return torch.cat(parts, dim=1)


@dataclass(frozen=True, eq=False)
class Line:
    """A least-squares fit y = w.x + b."""

    weights: Float[Tensor, " f"]

    @staticmethod
    def through(features: Float[Tensor, "n f"], wanted: Float[Tensor, " n"]) -> Line:
        """Fit it; of several fits, take the one with the smallest weights."""
        solved = torch.linalg.lstsq(
            _with_one(features), wanted[:, None], driver="gelsd"
        )
        return Line(solved.solution[:, 0])

    def explained(
        self, features: Float[Tensor, "n f"], wanted: Float[Tensor, " n"]
    ) -> float:
        """R^2 on other data."""
        return r_squared(_with_one(features) @ self.weights, wanted)


def r_squared(found: Float[Tensor, " n"], wanted: Float[Tensor, " n"]) -> float:
    """Share of the variance of `wanted` that `found` explains."""
    missed = (wanted - found).square().mean()
    return float(1 - missed / wanted.var(correction=0))


def _with_one(features: Float[Tensor, "n f"]) -> Float[Tensor, "n f1"]:
    ones = torch.ones_like(features[:, :1])
    return torch.cat([features, ones], dim=1)


def term_presence(
    ids: Sequence[Sequence[int]], size: int, modifiers: Mapping[int, int]
) -> Any:
    """Which words occur in each document, and which within reach of each modifier.

    Args:
        ids: documents; the special words of a vocabulary have no term.
        size: number of words.
        modifiers: how many later words each modifier reaches.

    Returns:
        A sparse matrix (n, size (1 + m)) of 0 and 1.
    """
    from scipy.sparse import csr_matrix

    places = {modifier: 1 + row for row, modifier in enumerate(modifiers)}
    columns: list[int] = []
    ends = [0]
    for document in ids:
        found = set(document)
        for place, word in enumerate(document):
            if word in modifiers:
                reached = document[place + 1 : place + 1 + modifiers[word]]
                shift = size * places[word]
                found.update(shift + other for other in reached)
        columns += [
            column for column in sorted(found) if column % size >= len(SPECIAL_WORDS)
        ]
        ends.append(len(columns))
    shape = (len(ids), size * (1 + len(modifiers)))
    return csr_matrix(([1.0] * len(columns), columns, ends), shape=shape)


def right_answers(
    training: Documents,
    held_out: Documents,
    size: int,
    modifiers: Mapping[int, int],
) -> tuple[Tensor, float]:
    """Fit a logistic regression on term presence, and judge it.

    The penalty is chosen on a fifth of the training documents.

    Args:
        training: to learn from.
        held_out: to judge by.
        size: number of words.
        modifiers: how many later words each modifier reaches; none for a plain bag.

    Returns:
        Which held-out documents (n,) it gets right, and the inverse penalty.
    """
    from sklearn.linear_model import LogisticRegression

    known = term_presence(training.ids, size, modifiers)
    labels = training.labels.numpy()
    checked = slice(0, len(labels) // 5)
    taught = slice(len(labels) // 5, None)

    def fitted(penalty: float, rows: slice) -> Any:
        model = LogisticRegression(C=penalty, max_iter=1000)
        return model.fit(known[rows], labels[rows])

    def score(penalty: float) -> float:
        return float(fitted(penalty, taught).score(known[checked], labels[checked]))

    penalty = max(PENALTIES, key=score)
    read = term_presence(held_out.ids, size, modifiers)
    answers = fitted(penalty, slice(None)).predict(read)
    return torch.from_numpy(answers) == held_out.labels, penalty


@dataclass(frozen=True)
class Recovered:
    """Share of a gain that is recovered, with a 95 % interval by resampling."""

    share: float
    low: float
    high: float

    def __str__(self) -> str:
        """Write it as text."""
        return f"{self.share:.0%} ({self.low:.0%} to {self.high:.0%})"


def recovered_share(
    plain: Tensor, better: Tensor, best: Tensor, *, generator: torch.Generator
) -> Recovered:
    """Share of the gain of `best` over `plain` that `better` has.

    Args:
        plain: which documents (n,) the baseline gets right.
        better: the same of the extended baseline.
        best: the same of the network.
        generator: draws the documents anew, with repetition.
    """
    right = torch.stack([plain, better, best]).double()
    count = right.shape[1]
    drawn = torch.randint(count, (RESAMPLES, count), generator=generator)
    low, middle, high = (row[drawn].mean(1) for row in right)
    shares = (middle - low) / (high - low)
    ends = torch.quantile(
        shares[shares.isfinite()], torch.tensor([0.025, 0.975]).double()
    )
    low, middle, high = right.mean(1)
    return Recovered(float((middle - low) / (high - low)), *ends.tolist())
