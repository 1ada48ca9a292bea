"""Bags of words, with and without terms for words that stand behind a modifier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from captum_dynamics.models.vocabulary import SPECIAL_WORDS
from captum_dynamics.tasks._documents import Documents

PENALTIES = (0.01, 0.03, 0.1)  # inverse ones, to choose from


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
