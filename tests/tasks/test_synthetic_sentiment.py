"""Synthetic sentiment: documents are worth what they say, and nets learn to read."""

from __future__ import annotations

import pytest
import torch

from captum_dynamics.tasks.synthetic_sentiment import (
    evaluate_synthetic_sentiment,
    sample_synthetic_sentiment,
    token_values,
    train_synthetic_sentiment,
)

QUICK = {"updates": 100, "documents": 48, "learning_rate": 2e-2, "longest": 20}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_half_of_the_tokens_are_neutral_and_the_others_balance() -> None:
    values = token_values()
    assert len(values) == 61
    assert int((values[1:] == 0).sum()) == 30
    assert set(values.tolist()) == {0.0, 1.0, -1.0, 2.0, -2.0}
    assert values.sum().abs() <= 2


def test_soft_targets_follow_the_sum_of_the_tokens_read() -> None:
    data = sample_synthetic_sentiment(200, generator=generator())
    for ids, total, target in zip(data.ids, data.sums, data.targets, strict=True):
        read = ids[ids > 0]
        assert 10 <= len(read) <= 40
        assert (ids[: len(read)] > 0).all()
        worth = sum(float(token_values()[token]) for token in read)
        assert total == worth
        assert abs(float(target) - 1 / (1 + 2.718281828 ** (-worth / 2))) < 1e-6


def test_hard_targets_are_signs_and_coins_for_ties() -> None:
    data = sample_synthetic_sentiment(4000, soft=False, generator=generator())
    assert set(data.targets.tolist()) == {0.0, 1.0}
    assert (data.targets[data.sums > 0] == 1).all()
    assert (data.targets[data.sums < 0] == 0).all()
    ties = data.targets[data.sums == 0]
    # Five standard errors of a fair coin.
    assert len(ties) > 100
    assert abs(float(ties.mean()) - 0.5) < 2.5 / len(ties) ** 0.5


def test_the_same_seed_gives_the_same_documents() -> None:
    first = sample_synthetic_sentiment(9, generator=generator(3))
    again = sample_synthetic_sentiment(9, generator=generator(3))
    other = sample_synthetic_sentiment(9, generator=generator(4))
    assert torch.equal(first.ids, again.ids)
    assert not torch.equal(first.ids, other.ids)


def test_lengths_that_make_no_range_are_refused() -> None:
    with pytest.raises(ValueError, match="`longest` to be at least `shortest` = 10"):
        sample_synthetic_sentiment(3, longest=9)


def test_a_net_learns_to_add_and_leaves_the_random_state_alone() -> None:
    before = torch.random.get_rng_state()
    model = train_synthetic_sentiment("tanh", 8, **QUICK)
    assert torch.equal(torch.random.get_rng_state(), before)
    accuracy, agreement = evaluate_synthetic_sentiment(model, documents=500, longest=20)
    assert accuracy > 0.85
    assert agreement > 0.7
    again = train_synthetic_sentiment("tanh", 8, **QUICK)
    for first, second in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(first, second)
