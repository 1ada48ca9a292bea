"""What can be derived from findings, also where it is not defined."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from captum_dynamics.findings import Documents, Explanation, Words


def documents(ours: list[list[float]], theirs: list[list[float]]) -> Documents:
    """Sequences of as many steps each, explained by two methods."""
    values = torch.tensor(ours, dtype=torch.float64)
    zero = values.new_zeros(len(values))
    methods = (
        Explanation("Ours", values, zero, 0.1),
        Explanation("Theirs", torch.tensor(theirs, dtype=torch.float64), zero, 0.1),
    )
    names = tuple(tuple("abcdefgh"[: values.shape[1]]) for _ in values)
    return Documents(names, values.sum(1), zero, values == values, methods)


def words(projections: list[float], scores: list[float]) -> Words:
    given = torch.tensor(projections, dtype=torch.float64)
    names = tuple(f"w{row}" for row in range(len(given)))
    known = torch.tensor(scores, dtype=torch.float64)
    return Words(
        names, given, 0 * given, given.new_zeros(len(given), 2), known, given[:2]
    )


def test_agreement_is_pearsons_correlation_over_all_steps() -> None:
    rows = np.random.default_rng(0).standard_normal((2, 3, 5))
    given = documents(*rows.tolist())
    expected = np.corrcoef(rows.reshape(2, -1))[0, 1]
    assert given.agreement(1) == pytest.approx(expected, rel=1e-12)
    assert given.agreement(0) == pytest.approx(1, rel=1e-12)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ([[1.0]], [[2.0]]),
        ([[1.0, 2.0]], [[2.0, 1.0]]),
        ([[1.0, 2.0, 3.0]], [[0.1, 0.1, 0.1]]),
        ([[0.0, 0.0, 0.0]], [[1.0, 2.0, 3.0]]),
        ([[1.0, 2.0, 3.0]], [[1.0, math.nan, 3.0]]),
    ],
    ids=["one step", "two steps", "constant", "zero", "NaN"],
)
def test_agreement_that_is_not_defined_is_nan_without_a_warning(
    ours: list[list[float]], theirs: list[list[float]]
) -> None:
    assert math.isnan(documents(ours, theirs).agreement(1))


def test_correlation_with_scores_is_over_the_words_that_have_one() -> None:
    given = words([1.0, 2.0, 4.0, -8.0], [1.0, 3.0, 3.0, math.nan])
    expected = np.corrcoef([1.0, 2.0, 4.0], [1.0, 3.0, 3.0])[0, 1]
    assert given.score_correlation == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    "scores", [[1.0, 2.0, math.nan], [3.0, 3.0, 3.0], [math.nan] * 3]
)
def test_correlation_with_scores_that_say_nothing_is_nan(scores: list[float]) -> None:
    assert math.isnan(words([1.0, 2.0, 4.0], scores).score_correlation)


def test_words_without_a_score_are_in_no_class() -> None:
    given = words([9.0, 1.0, 2.0, 3.0], [math.nan, -1.0, 0.1, 1.0])
    classes = {name: rows.tolist() for name, rows in given.classes().items()}
    assert classes == {"negative": [1], "neutral": [2], "positive": [3]}


def test_without_any_number_the_classes_are_empty() -> None:
    given = words([math.nan] * 3, [math.nan] * 3)
    assert [len(rows) for rows in given.classes().values()] == [0, 0, 0]
    assert all(math.isnan(mean) for mean, _ in given.class_projections().values())
    known = replace(given, scores=torch.tensor([1.0, 2.0, 3.0]).double())
    assert math.isnan(known.score_correlation)


def test_attributions_of_any_method_become_documents() -> None:
    tokens = [["a", "b", "c"], ["d"]]
    values = torch.arange(2 * 4 * 3, dtype=torch.float32).view(2, 4, 3)
    deltas = torch.tensor([0.0, 2.0, 1.0, 5.0])  # two samples of each
    given = Documents.of(
        tokens,
        {"plain": values[..., 0], "with": (values, deltas), "tuple": (values,)},
        outputs=torch.tensor([1.0, 2.0]),
    )
    plain, complete, wrapped = given.explanations
    assert plain.contributions.tolist() == values[..., 0].tolist()
    assert complete.contributions.tolist() == values.sum(-1).tolist()
    assert complete.deltas.tolist() == [1.0, 3.0]
    assert [plain.complete, complete.complete, wrapped.complete] == [False, True, False]
    assert given.valid.tolist() == [[True] * 3 + [False], [True] + [False] * 3]
    assert given.tokens == (("a", "b", "c"), ("d",))
    assert given.outputs.tolist() == [1.0, 2.0]
    assert bool(given.baseline_outputs.isnan().all())


@pytest.mark.parametrize(
    "values",
    [torch.ones(3, 2), torch.ones(2, 1), torch.ones(2), "text"],
    ids=["other rows", "too few steps", "a vector", "no tensor"],
)
def test_attributions_of_other_sequences_are_refused(values: object) -> None:
    with pytest.raises(ValueError, match="'mine' to be of 2 sequences of up to 2"):
        Documents.of([["a", "b"], ["c"]], {"mine": values})


def test_methods_that_differ_in_steps_are_refused_and_so_is_none() -> None:
    given = {"one": torch.ones(1, 2), "two": torch.ones(1, 3)}
    with pytest.raises(ValueError, match=r"as many steps by all methods.*\[2, 3\]"):
        Documents.of([["a"]], given)
    with pytest.raises(ValueError, match="at least one"):
        Documents.of([["a"]], {})
