"""Nets of all architectures learn tasks, come back from files, and from commands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from captum_dynamics.exceptions import FileFormatError
from captum_dynamics.models import ARCHITECTURES, SequenceNet
from captum_dynamics.tasks import contextual_integration, integration, sine
from captum_dynamics.tasks._training import Training
from captum_dynamics.tasks.integration import CategoricalIntegration
from captum_dynamics.tasks.sequence_task import (
    SequenceTask,
    evaluate_task,
    load_net,
    save_net,
    train_task,
)

Main = Callable[[Sequence[str] | None], None]
MAINS: dict[str, Main] = {
    "integration": integration.main,
    "sine": sine.main,
    "contextual_integration": contextual_integration.main,
}


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_a_short_training_learns_to_count(arch: str) -> None:
    task, before = CategoricalIntegration(6, 3), torch.get_rng_state()
    settings = {"updates": 80, "sequences": 24, "learning_rate": 0.03}
    net = train_task(task, arch, 12, **settings)
    assert evaluate_task(task, net, sequences=300) > 0.95
    assert torch.equal(torch.get_rng_state(), before)
    assert not net.training
    assert net.readout.bias is None


@pytest.mark.parametrize(
    ("task", "least"),
    [
        (sine.FrequencyCuedSine(levels=2, steps=10), 0.7),
        (contextual_integration.ContextualIntegration(steps=6), 0.9),
        (integration.OrderedIntegration(4, sampler="scores", classes=3), 0.9),
        (integration.LabelIntegration(5), 0.9),
    ],
    ids=["sine", "contextual", "ordered", "labels"],
)
def test_every_task_can_be_learned(task: SequenceTask, least: float) -> None:
    net = train_task(task, "gru", 12, updates=80, sequences=24, learning_rate=0.04)
    assert evaluate_task(task, net, sequences=300) > least


def test_the_seed_decides_the_net() -> None:
    def weights(seed: int) -> list[list[float]]:
        net = train_task(
            CategoricalIntegration(4), "ugrnn", 3, seed=seed, updates=2, sequences=2
        )
        return [p.flatten().tolist() for p in net.parameters()]

    assert weights(1) == weights(1)
    assert weights(1) != weights(2)


def test_a_penalty_pulls_at_the_weights_and_not_at_the_biases() -> None:
    task = CategoricalIntegration(4)
    settings = {"updates": 1, "learning_rate": 1e-3, "sequences": 4}
    # One update of Adam is a step of the rate against the sign of the gradient, which
    # is that of the weight where nothing but a huge penalty counts.
    start = train_task(task, "gru", 3, **{**settings, "learning_rate": 1e-12})
    pulled = train_task(task, "gru", 3, weight_penalty=1e9, **settings)
    for name, weight in pulled.named_parameters():
        before = start.get_parameter(name)
        if weight.ndim > 1:
            torch.testing.assert_close(weight, before - 1e-3 * before.sign())
        else:
            # Clipped beside weights so large, a bias hardly has a gradient left.
            assert (weight - before).abs().max() < 1e-4


@pytest.mark.parametrize("arch", [*ARCHITECTURES, "relu"])
@pytest.mark.parametrize("bias", [True, False])
def test_a_saved_net_comes_back_the_same(arch: str, bias: bool, tmp_path: Path) -> None:
    net, path = SequenceNet(arch, 3, 5, 2, bias=bias), tmp_path / "net.safetensors"
    save_net(net, path, about={"task": "none"})
    before = torch.get_rng_state()
    back = load_net(path)
    assert torch.equal(torch.get_rng_state(), before)
    inputs = torch.randn(2, 6, 3)
    assert torch.equal(back(inputs), net(inputs))
    assert (back.arch, back.training) == (arch, False)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(FileFormatError, match=r"sequence task in net.safetensors"):
        load_net(path)


def test_misuse_is_refused_in_one_sentence() -> None:
    task = CategoricalIntegration(4)
    for arch, size, named, match in (
        ("elman", 3, {}, "`arch` to be one of gru, lstm"),
        ("gru", 0, {}, "`size`"),
        ("gru", 3, {"sequences": 0}, "`sequences`"),
        ("gru", 3, {"updates": 0}, "`updates`"),
        ("gru", 3, {"learning_rate": 0.0}, "`learning_rate`"),
        ("gru", 3, {"weight_penalty": -1.0}, "`weight_penalty`"),
    ):
        with pytest.raises(ValueError, match=match):
            train_task(task, arch, size, **named)


@pytest.mark.parametrize("name", MAINS)
def test_a_command_writes_a_net_and_says_its_score(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "net.safetensors"
    options = "--arch ugrnn --size 4 --steps 3 --length 6 --seed 5 --quiet"
    with caplog.at_level("INFO"):
        MAINS[name]([*options.split(), "--out", str(path)])
    assert " of ugrnn on " in caplog.text
    assert load_net(path).arch == "ugrnn"
    with safe_open(path, "pt") as file:
        about = file.metadata()
    assert about["seed"] == "5"
    assert about["hidden"] == "4"
    assert [file.name for file in tmp_path.iterdir()] == ["net.safetensors"]


def test_a_command_goes_on_from_its_checkpoint(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = f"--arch gru --size 3 --steps 203 --length 4 --quiet --out {tmp_path}"
    whole, halted = (f"{options}/{name}".split() for name in ("whole", "halted"))
    integration.main(whole)

    def stop(training: Training, path: Path) -> None:
        save(training, path)
        raise KeyboardInterrupt

    save = Training.save
    with monkeypatch.context() as patch:
        patch.setattr(Training, "save", stop)
        with pytest.raises(KeyboardInterrupt):
            integration.main(halted)
    left = {file.name for file in tmp_path.iterdir()}
    assert left == {"whole", "halted.checkpoint"}
    with pytest.raises(SystemExit, match="2"):
        integration.main([*halted, "--resume", "--seed", "1"])
    assert "another seed; remove it" in capsys.readouterr().err
    integration.main([*halted, "--resume"])
    first, second = (load_net(tmp_path / name) for name in ("whole", "halted"))
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)
    assert {file.name for file in tmp_path.iterdir()} == {"whole", "halted"}


@pytest.mark.parametrize("kind", ["categorical", "ordered", "labels"])
def test_the_kind_of_label_is_chosen(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    given = f"--kind {kind} --classes 4 --size 3 --steps 1 --length 9 --shortest 5"
    integration.main(
        [*given.split(), "--sampler", "scores", "--quiet", "--out", str(path)]
    )
    net = load_net(path)
    assert net.readout.out_features == 4
    assert net.rnn.input_size == {"categorical": 5, "ordered": 3, "labels": 9}[kind]


@pytest.mark.parametrize("name", MAINS)
def test_the_help_teaches(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        MAINS[name](["--help"])
    shown = capsys.readouterr().out
    for word in ("Train a recurrent", "--resume", "killed", "example:", "load_net"):
        assert word in shown


def test_wrong_settings_end_with_a_usage_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for wrong in (["--classes", "1"], ["--steps", "0"], ["--arch", "elman"]):
        with pytest.raises(SystemExit, match="2"):
            integration.main([*wrong, "--out", "nowhere.safetensors"])
        assert "usage:" in capsys.readouterr().err
