"""The toy language: its sums are right, its nets learn, its files come back."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from captum_dynamics.exceptions import FileFormatError
from captum_dynamics.tasks.context import (
    WORDS,
    ContextNet,
    encode_words,
    evaluate_context,
    load_context,
    main,
    sample_context,
    save_context,
    train_context,
)

DATA = Path(__file__).parents[1] / "data"


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def read_aloud(words: list[str]) -> list[float]:
    """Sums by a reader that keeps a list of what is still in force."""
    values = {"good": 1.0, "bad": -1.0, "awesome": 2.0, "awful": -2.0}
    total, sums, in_force = 0.0, [], []
    for word in words:
        factor = 1.0
        for strength, _ in in_force:
            factor *= strength
        total += factor * values.get(word, 0.0)
        in_force = [(strength, left - 1) for strength, left in in_force if left > 1]
        if word == "very":
            in_force.append((2.0, 1))
        if word == "not":
            in_force.append((-1.0, 4))
        sums.append(total)
    return sums


def test_targets_are_sums_under_all_modifiers_in_force() -> None:
    data = sample_context(50, 30, generator=generator())
    assert data.inputs.shape == (50, 30, 12)
    assert torch.equal(data.inputs.argmax(-1), data.words)
    for words, targets in zip(data.words.tolist(), data.targets, strict=True):
        assert targets.tolist() == read_aloud([WORDS[word] for word in words])


@pytest.mark.parametrize(
    ("sentence", "total"),
    [
        ("not bad", 1),
        ("very good", 2),
        ("very and good", 1),
        ("not the for it good", -1),
        ("not the for it while good", 1),
        ("not very awful", 4),
        ("not not good", 1),
    ],
)
def test_sentences_have_their_value(sentence: str, total: float) -> None:
    assert read_aloud(sentence.split())[-1] == total
    net = load_context()
    answer = net(encode_words(sentence))[0, -1].item()
    assert answer == pytest.approx(total, abs=0.25)


def test_words_are_equally_likely() -> None:
    words = sample_context(400, 100, generator=generator()).words
    shares = torch.bincount(words.flatten(), minlength=12) / words.numel()
    # 40,000 draws: five standard errors are 0.0069.
    assert (shares - 1 / 12).abs().max() < 0.0069


def test_the_same_generator_gives_the_same_data_and_spares_the_global_one() -> None:
    before = torch.get_rng_state()
    first, again, other = (
        sample_context(2, 9, generator=generator(s)) for s in (1, 1, 2)
    )
    assert torch.equal(first.words, again.words)
    assert not torch.equal(first.words, other.words)
    assert torch.equal(torch.get_rng_state(), before)


def test_unknown_words_are_refused() -> None:
    for sentence in ("not nice", "", " "):
        with pytest.raises(ValueError, match="`sentence` of the words and, a"):
            encode_words(sentence)


def test_training_learns_and_the_seed_decides_the_net() -> None:
    before = torch.get_rng_state()
    settings = {"sequences": 16, "steps": 8, "learning_rate": 0.02}
    net = train_context(8, 1, updates=60, **settings)
    # Answering 0 errs by 1.04 for each word: by 4.7 on average.
    assert evaluate_context(net, sequences=64, steps=8) < 3
    assert not net.training
    again, other = (train_context(8, s, updates=2, **settings) for s in (1, 2))
    same = train_context(8, 1, updates=2, **settings)
    further = train_context(8, 1, start=net, updates=1, **settings)
    moved = (further.rnn.weight_hh_l0 - net.rnn.weight_hh_l0).abs().max()
    assert 0 < float(moved.detach()) <= 0.021
    elsewhere = train_context(8, 2, start=net, updates=1, **settings)
    assert not torch.equal(elsewhere.rnn.weight_hh_l0, further.rnn.weight_hh_l0)
    assert torch.equal(again.rnn.weight_hh_l0, same.rnn.weight_hh_l0)
    assert not torch.equal(again.rnn.weight_hh_l0, other.rnn.weight_hh_l0)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_saved_net_comes_back_the_same(tmp_path: Path) -> None:
    net, path = ContextNet(5), tmp_path / "net.safetensors"
    save_context(net, path, about={"seed": "0"})
    before = torch.get_rng_state()
    back = load_context(path)
    assert torch.equal(torch.get_rng_state(), before)
    inputs = encode_words("not very good")
    assert torch.equal(back(inputs), net(inputs))
    assert not back.training


def test_files_of_something_else_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    path.write_bytes(b"nothing")
    with pytest.raises(FileFormatError, match=r"toy language in net.safetensors"):
        load_context(path)
    save_file({"weight": torch.zeros(2)}, path)
    with pytest.raises(FileFormatError, match=r"toy language in net.safetensors"):
        load_context(path)
    with pytest.raises(FileFormatError, match=r"toy language in flipflop_gru"):
        load_context(DATA / "flipflop_gru.safetensors")


def test_the_command_writes_a_net_and_says_its_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "net.safetensors"
    short = ["--updates", "2", "--quiet", "--out", str(path)]
    with caplog.at_level("INFO"):
        main(["--hidden", "4", *short])
        main(["--start", str(path), *short])
    assert caplog.text.count("Mean squared error") == 2
    assert load_context(path).rnn.hidden_size == 4


def test_the_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = capsys.readouterr().out
    for word in ('"not"', "--seed", "example:", "load_context"):
        assert word in shown


def test_the_shipped_net_adds_up() -> None:
    net = load_context()
    assert evaluate_context(net) < 0.006
