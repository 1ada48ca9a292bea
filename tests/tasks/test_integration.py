"""Integration tasks: labels follow from words, and samplers draw what they say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from itertools import product

import pytest
import torch
from torch import Tensor

from captum_dynamics.tasks._compositions import compositions, uniform_below
from captum_dynamics.tasks.integration import (
    CategoricalIntegration,
    Integration,
    LabelIntegration,
    OrderedIntegration,
)
from captum_dynamics.tasks.sequence_task import Sequences

TASKS: dict[str, type[Integration]] = {
    "categorical": CategoricalIntegration,
    "ordered": OrderedIntegration,
    "labels": LabelIntegration,
}
both_samplers = pytest.mark.parametrize("sampler", ["words", "scores"])
every_task = pytest.mark.parametrize("name", TASKS)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def documents(data: Sequences) -> Iterator[tuple[list[int], object]]:
    """Words and label of each document, read off what a net reads."""
    assert set(data.inputs.unique().tolist()) <= {0.0, 1.0}
    for one_hot, length, target in zip(
        data.inputs, data.lengths.tolist(), data.targets, strict=True
    ):
        assert (one_hot[:length].sum(1) == 1).all()
        assert not one_hot[length:].any()
        yield one_hot[:length].argmax(1).tolist(), target.tolist()


def assert_equally_likely(found: Counter[object], kinds: int) -> None:
    """All of them, and each within five standard errors of its share."""
    assert len(found) == kinds
    total, share = found.total(), 1 / kinds
    error = (total * share * (1 - share)) ** 0.5
    assert max(abs(count - total * share) for count in found.values()) <= 5 * error


@both_samplers
@pytest.mark.parametrize("classes", [2, 3, 4])
def test_the_class_with_most_words_wins(classes: int, sampler: str) -> None:
    task = CategoricalIntegration(12, 5, sampler, classes=classes)
    data = task.sample(300, generator=generator())
    lengths = set()
    for words, label in documents(data):
        counts = [words.count(word) for word in range(classes)]
        assert counts[label] > max(counts[:label] + counts[label + 1 :])
        lengths.add(len(words))
    assert lengths == set(range(5, 13))
    assert task.input_size == classes + 1
    assert task.output_size == classes


@both_samplers
@pytest.mark.parametrize("classes", [2, 3, 5])
def test_ordered_classes_are_equal_intervals_of_the_sum(
    classes: int, sampler: str
) -> None:
    task = OrderedIntegration(15, 9, sampler, classes=classes)
    for words, label in documents(task.sample(300, generator=generator())):
        total = words.count(0) - words.count(1)
        start = Fraction(-15) + Fraction(30 * label, classes)
        end = start + Fraction(30, classes)
        assert start <= total <= end
        assert total < end or label == classes - 1


@both_samplers
@pytest.mark.parametrize("labels", [1, 2, 3])
def test_labels_are_signs_of_their_own_sums(labels: int, sampler: str) -> None:
    task = LabelIntegration(10, 6, sampler, labels=labels)
    for words, target in documents(task.sample(300, generator=generator())):
        for label in range(labels):
            total = words.count(label) - words.count(labels + label)
            assert total != 0
            assert target[label] == float(total > 0)


def test_words_are_drawn_one_by_one() -> None:
    data = OrderedIntegration(3).sample(5400, generator=generator())
    found = Counter(tuple(words) for words, _ in documents(data))
    assert_equally_likely(found, 27)


def test_all_scores_without_a_tie_are_equally_likely() -> None:
    task = CategoricalIntegration(5, sampler="scores", classes=3)
    data = task.sample(4000, generator=generator())
    found = Counter(
        tuple(words.count(word) for word in range(3)) for words, _ in documents(data)
    )
    every = [c for c in product(range(6), repeat=3) if sum(c) <= 5]
    led = [c for c in every if sorted(c)[2] > sorted(c)[1]]
    assert set(found) == set(led)
    assert_equally_likely(found, len(led))


def test_all_sums_of_ordered_classes_are_equally_likely() -> None:
    task = OrderedIntegration(8, sampler="scores")
    data = task.sample(4000, generator=generator())
    found = Counter(words.count(0) - words.count(1) for words, _ in documents(data))
    assert set(found) == set(range(-8, 9))
    assert_equally_likely(found, 17)


def test_all_sums_of_labels_without_a_zero_are_equally_likely() -> None:
    task = LabelIntegration(4, sampler="scores", labels=2)
    data = task.sample(4000, generator=generator())
    found = Counter(
        tuple(words.count(k) - words.count(2 + k) for k in range(2))
        for words, _ in documents(data)
    )
    every = product(range(-4, 5), repeat=2)
    wanted = {(a, b) for a, b in every if a and b and abs(a) + abs(b) <= 4}
    assert set(found) == wanted
    assert_equally_likely(found, len(wanted))


def test_the_order_of_words_says_nothing() -> None:
    task = OrderedIntegration(3, sampler="scores")
    data = task.sample(6000, generator=generator())
    mixed = Counter(
        tuple(words) for words, _ in documents(data) if sorted(words) == [0, 1, 2]
    )
    assert_equally_likely(mixed, 6)


def test_short_documents_are_shuffled_within_their_length() -> None:
    task = OrderedIntegration(9, 2, "scores")
    first: Counter[int] = Counter()
    for words, _ in documents(task.sample(4000, generator=generator())):
        if len(words) == 2 and sorted(words) == [0, 2]:
            first[words[0]] += 1
    assert_equally_likely(first, 2)


@every_task
@both_samplers
def test_the_same_generator_gives_the_same_data_and_spares_the_global_one(
    name: str, sampler: str
) -> None:
    task, before = TASKS[name](20, sampler=sampler), torch.get_rng_state()
    first, again, other = (task.sample(9, generator=generator(s)) for s in (1, 1, 2))
    assert torch.equal(first.inputs, again.inputs)
    assert torch.equal(first.targets, again.targets)
    assert not torch.equal(first.inputs, other.inputs)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("total", "parts", "ways"), [(3, 3, 10), (4, 2, 5), (0, 3, 1)])
def test_all_ways_to_divide_a_total_are_equally_likely(
    total: int, parts: int, ways: int
) -> None:
    # Beside a larger total, which must not change what smaller ones get.
    totals = torch.tensor([total, 9]).repeat(4000)
    found = compositions(totals, parts, generator())
    assert torch.equal(found.sum(1), totals)
    assert (found >= 0).all()
    drawn = Counter(tuple(row) for row in found[::2].tolist())
    assert_equally_likely(drawn, ways)


def test_numbers_below_a_bound_are_equally_likely() -> None:
    drawn = uniform_below(torch.full((5000,), 7), generator())
    assert_equally_likely(Counter(drawn.tolist()), 7)


def test_losses_and_scores_look_at_the_last_word_alone() -> None:
    for task in (
        CategoricalIntegration(6, 2),
        OrderedIntegration(6, 2),
        LabelIntegration(6, 2),
    ):
        data = task.sample(40, generator=generator())
        perfect = _perfect(data, task.output_size)
        assert task.score(perfect, data) == 1.0
        assert float(task.loss(perfect, data)) < 1e-6
        assert task.score(-perfect, data) < 0.6
        assert float(task.loss(-perfect, data)) > 5


def _perfect(data: Sequences, outputs: int) -> Tensor:
    """Right with certainty at the last step, and wrong at all others."""
    targets = data.targets
    if targets.ndim == 1:
        targets = torch.nn.functional.one_hot(targets, outputs).float()
    sure = 40 * targets - 20
    answers = -sure[:, None].repeat(1, data.inputs.shape[1], 1)
    answers[torch.arange(len(data)), data.lengths - 1] = sure
    return answers


@every_task
def test_settings_that_make_no_documents_are_refused(name: str) -> None:
    wrong: list[tuple[dict[str, object], str]] = [
        ({"length": 0}, "`length`"),
        ({"shortest": 0}, "`shortest`"),
        ({"shortest": 51}, "`shortest` to be at most `length` = 50"),
        ({"sampler": "uniform"}, "`sampler` to be one of words, scores"),
    ]
    for settings, match in wrong:
        with pytest.raises(ValueError, match=match):
            TASKS[name](**settings)


def test_too_few_classes_labels_or_words_are_refused() -> None:
    with pytest.raises(ValueError, match="`classes`"):
        CategoricalIntegration(classes=1)
    with pytest.raises(ValueError, match="`labels`"):
        LabelIntegration(labels=0)
    with pytest.raises(ValueError, match="at least `labels` = 3 words"):
        LabelIntegration(9, 2, labels=3)
    with pytest.raises(ValueError, match="`sequences`"):
        OrderedIntegration().sample(0)
