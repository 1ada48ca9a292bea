"""Synthetic sentiment: documents are worth what they say, and nets learn to read."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from captum_dynamics.exceptions import FileFormatError
from captum_dynamics.models import SentimentClassifier
from captum_dynamics.tasks.synthetic_sentiment import (
    evaluate_synthetic_sentiment,
    load_synthetic_sentiment,
    main,
    sample_synthetic_sentiment,
    save_synthetic_sentiment,
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


def test_documents_have_the_lengths_that_are_asked_for() -> None:
    data = sample_synthetic_sentiment(400, shortest=3, longest=5, generator=generator())
    assert sorted((data.ids > 0).sum(1).unique().tolist()) == [3, 4, 5]
    fixed = {"shortest": 6, "longest": 6}
    model = train_synthetic_sentiment("gru", 8, **{**QUICK, **fixed})
    accuracy, _ = evaluate_synthetic_sentiment(model, documents=500, **fixed)
    assert accuracy > 0.85


@pytest.mark.parametrize("cell", ["gru", "lstm", "tanh", "ugrnn"])
def test_a_saved_net_comes_back_the_same(cell: str, tmp_path: Path) -> None:
    model = SentimentClassifier(12, cell=cell, embedding_dim=3, hidden_size=4).eval()
    path = tmp_path / "net.safetensors"
    save_synthetic_sentiment(model, path)
    before = torch.get_rng_state()
    back = load_synthetic_sentiment(path)
    assert torch.equal(torch.get_rng_state(), before)
    ids = torch.tensor([[1, 5, 11], [3, 2, 0]])
    assert torch.equal(back(ids), model(ids))
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(FileFormatError, match=r"synthetic sentiment in net"):
        load_synthetic_sentiment(path)


@pytest.mark.parametrize("labels", ["hard", "soft"])
def test_the_command_writes_a_net_and_says_how_it_reads(
    labels: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "net.safetensors"
    given = "--arch ugrnn --size 4 --steps 2 --shortest 3 --longest 4"
    given += " --hard" if labels == "hard" else ""
    with caplog.at_level("INFO"):
        main([*given.split(), "--quiet", "--out", str(path)])
    assert "correlation of logits with sums" in caplog.text
    assert load_synthetic_sentiment(path).readout.in_features == 4
    with safe_open(path, "pt") as file:
        assert file.metadata()["labels"] == labels
    assert [file.name for file in tmp_path.iterdir()] == ["net.safetensors"]


def test_the_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    shown = capsys.readouterr().out
    for word in ("line", "--hard", "--resume", "example:", "load_synthetic_sentiment"):
        assert word in shown


def test_settings_that_do_not_fit_end_the_command_with_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--shortest", "50", "--quiet", "--out", str(tmp_path / "net")])
    assert "`longest` to be at least `shortest` = 50" in capsys.readouterr().err
