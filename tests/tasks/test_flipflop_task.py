"""The flip-flop task: its data are right, its nets learn, its files come back."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from captum_dynamics.exceptions import FileFormatError
from captum_dynamics.tasks.flipflop import (
    FlipFlopNet,
    evaluate_flipflop,
    load_flipflop,
    main,
    sample_flipflop,
    save_flipflop,
    train_flipflop,
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_target_is_the_last_pulse_of_each_channel() -> None:
    data = sample_flipflop(5, 40, bits=2, probability=0.2, generator=generator())
    for pulses, targets in zip(data.inputs, data.targets, strict=True):
        memory = torch.zeros(2)
        for pulse, target in zip(pulses, targets, strict=True):
            memory = torch.where(pulse != 0, pulse, memory)
            assert torch.equal(target, memory)


def test_every_channel_pulses_at_first_and_later_at_the_given_rate() -> None:
    data = sample_flipflop(400, 100, generator=generator())
    assert (data.inputs[:, 0].abs() == 1).all()
    assert set(data.inputs.unique().tolist()) == {-1.0, 0.0, 1.0}
    # 118,800 draws: five standard errors are 0.0044.
    assert float(data.inputs[:, 1:].abs().mean()) == pytest.approx(0.1, abs=0.0044)
    assert float(data.inputs.mean()) == pytest.approx(0.0, abs=0.01)


def test_the_same_generator_gives_the_same_data_and_spares_the_global_one() -> None:
    before = torch.get_rng_state()
    first, again, other = (
        sample_flipflop(2, 9, generator=generator(s)) for s in (1, 1, 2)
    )
    assert torch.equal(first.inputs, again.inputs)
    assert not torch.equal(first.inputs, other.inputs)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("cell", ["gru", "lstm", "tanh", "ugrnn"])
def test_a_short_training_learns_one_bit(cell: str) -> None:
    before = torch.get_rng_state()
    net = train_flipflop(
        cell, 4, 0, bits=1, updates=150, sequences=16, steps=20, learning_rate=0.05
    )
    loss, accuracy = evaluate_flipflop(net, sequences=16, steps=40)
    assert loss < 0.2
    assert accuracy > 0.95
    assert not net.training
    assert torch.equal(torch.get_rng_state(), before)


def test_the_seed_decides_the_net() -> None:
    def weights(seed: int) -> torch.Tensor:
        net = train_flipflop("tanh", 3, seed, updates=2, sequences=2, steps=3)
        return net.rnn.weight_hh_l0.detach()

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


@pytest.mark.parametrize("cell", ["gru", "lstm", "tanh", "relu", "ugrnn"])
def test_a_saved_net_comes_back_the_same(cell: str, tmp_path: Path) -> None:
    net = FlipFlopNet(cell, 5, bits=2)
    save_flipflop(net, tmp_path / "net.safetensors", about={"seed": "0"})
    before = torch.get_rng_state()
    back = load_flipflop(tmp_path / "net.safetensors")
    assert torch.equal(torch.get_rng_state(), before)
    inputs = torch.randn(2, 6, 2)
    assert torch.equal(back(inputs), net(inputs))
    assert (back.cell, back.bits, back.training) == (cell, 2, False)


def test_files_of_something_else_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    path.write_bytes(b"nothing")
    with pytest.raises(FileFormatError, match=r"flip-flop net in net.safetensors"):
        load_flipflop(path)
    save_file({"weight": torch.zeros(2)}, path)
    with pytest.raises(FileFormatError, match=r"flip-flop net in net.safetensors"):
        load_flipflop(path)
    save_flipflop(FlipFlopNet("gru", 5), path)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(FileFormatError, match=r"flip-flop net in net.safetensors"):
        load_flipflop(path)


def test_an_unknown_cell_is_refused() -> None:
    with pytest.raises(ValueError, match="`cell` to be one of gru, lstm, tanh, relu"):
        FlipFlopNet("elman", 4)


def test_the_command_writes_a_net_and_says_what_it_has(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "net.safetensors"
    options = ["--cell", "tanh", "--hidden", "4", "--bits", "1", "--updates", "150"]
    with caplog.at_level("INFO"):
        main([*options, "--quiet", "--out", str(path)])
    assert "fixed points at zero input (the textbook has 3)" in caplog.text
    assert load_flipflop(path).rnn.hidden_size == 4


def test_the_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = capsys.readouterr().out
    for word in ("fixed points", "--seed", "example:", "load_flipflop"):
        assert word in shown
