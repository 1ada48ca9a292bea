"""Training: it goes on after a kill as if nothing had been, and learns."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from captum_dynamics.exceptions import FileFormatError
from captum_dynamics.tasks._documents import Documents
from captum_dynamics.tasks._documents import Recipe as ReviewRecipe
from captum_dynamics.tasks._documents import train as train_reviews
from captum_dynamics.tasks._training import Checkpoint, Recipe, Training, fit

ROOT = Path(__file__).parents[2]
RECIPE = Recipe(60, 0.02, seed=3)

# A net with dropout and a task with random data: all kinds of randomness.
KILLED = """
import os, signal, sys
from pathlib import Path
from captum_dynamics.tasks._training import Checkpoint, fit
from tests.tasks.test_training import RECIPE, loss_on, net

trained = net()
calls = []

def loss(generator):
    calls.append(0)
    if len(calls) == 38:
        os.kill(os.getpid(), signal.SIGKILL)
    return loss_on(trained)(generator)

fit(trained, loss, RECIPE, task="lines", checkpoint=Checkpoint(Path(sys.argv[1]), 10))
"""


def net() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Linear(3, 5), nn.Dropout(0.3), nn.Tanh(), nn.Linear(5, 1)
        )


def loss_on(trained: nn.Module) -> Callable[[torch.Generator], Tensor]:
    def loss(generator: torch.Generator) -> Tensor:
        x = torch.randn(8, 3, generator=generator)
        return (trained(x)[:, 0] - x.sum(1)).square().mean()

    return loss


def weights(trained: nn.Module) -> list[list[float]]:
    return [p.flatten().tolist() for p in trained.parameters()]


def uninterrupted() -> list[list[float]]:
    trained = net()
    fit(trained, loss_on(trained), RECIPE, task="lines")
    return weights(trained)


def test_a_killed_training_ends_at_the_same_weights(tmp_path: Path) -> None:
    path = tmp_path / "half.checkpoint"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, str(path)],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    trained = net()
    run = Training(trained, RECIPE, task="lines")
    with torch.random.fork_rng(devices=[]):
        run.restore(path)
    assert run.done == 30
    other = net()
    again = Checkpoint(path, 10, resume=True)
    fit(other, loss_on(other), RECIPE, task="lines", checkpoint=again)
    assert weights(other) == uninterrupted()


def test_every_update_counts_also_those_before_a_checkpoint(tmp_path: Path) -> None:
    path, trained = tmp_path / "x.checkpoint", net()

    def stop_at(count: int) -> Callable[[torch.Generator], Tensor]:
        calls: list[int] = []

        def loss(generator: torch.Generator) -> Tensor:
            calls.append(0)
            if len(calls) > count:
                raise KeyboardInterrupt
            return loss_on(trained)(generator)

        return loss

    for first in (7, 11):  # stops before, and after, what it resumes from
        trained = net()
        with pytest.raises(KeyboardInterrupt):
            fit(
                trained,
                stop_at(first),
                RECIPE,
                task="lines",
                checkpoint=Checkpoint(path, 4),
            )
        trained = net()
        with pytest.raises(KeyboardInterrupt):
            fit(
                trained,
                stop_at(20),
                RECIPE,
                task="lines",
                checkpoint=Checkpoint(path, 4, resume=True),
            )
        trained = net()
        fit(
            trained,
            loss_on(trained),
            RECIPE,
            task="lines",
            checkpoint=Checkpoint(path, 4, resume=True),
        )
        assert weights(trained) == uninterrupted()


def test_resuming_what_was_never_begun_begins(tmp_path: Path) -> None:
    trained = net()
    nowhere = Checkpoint(tmp_path / "none", 1000, resume=True)
    fit(trained, loss_on(trained), RECIPE, task="lines", checkpoint=nowhere)
    assert weights(trained) == uninterrupted()
    assert not nowhere.path.exists()


def test_without_resume_a_checkpoint_is_not_read(tmp_path: Path) -> None:
    path, trained = tmp_path / "x.checkpoint", net()
    path.write_bytes(b"nonsense")
    fit(trained, loss_on(trained), RECIPE, task="lines", checkpoint=Checkpoint(path))
    assert weights(trained) == uninterrupted()


def test_the_random_state_of_the_caller_stays() -> None:
    before, trained = torch.get_rng_state(), net()
    fit(trained, loss_on(trained), RECIPE, task="lines")
    assert torch.equal(torch.get_rng_state(), before)
    assert not trained.training
    assert loss_on(trained)(torch.Generator().manual_seed(9)) < 1.5


def test_the_rate_falls_along_half_a_cosine_and_gradients_are_clipped() -> None:
    trained = nn.Linear(1, 1, bias=False)
    run = Training(trained, Recipe(100, 0.1, clip=0.5), task="line")
    rates = []
    for _ in range(100):
        rates.append(run._optimizer.param_groups[0]["lr"])
        run.update(1000 * trained.weight.sum())
        assert float(trained.weight.grad.norm()) == pytest.approx(0.5, rel=1e-4)
    assert rates[0] == 0.1
    assert rates[50] == pytest.approx(0.5 * (0.1 + 0.001))
    assert run._optimizer.param_groups[0]["lr"] == pytest.approx(0.001)


def test_checkpoints_of_something_else_are_refused(tmp_path: Path) -> None:
    path, trained = tmp_path / "x.checkpoint", net()
    again = Checkpoint(path, 20, resume=True)
    fit(trained, loss_on(trained), RECIPE, task="lines", checkpoint=again)
    for other, task, wrong in (
        (Recipe(61, 0.02, seed=3), "lines", "updates"),
        (Recipe(60, 0.02, seed=4), "lines", "seed"),
        (RECIPE, "curves", "task"),
    ):
        with pytest.raises(ValueError, match=f"another {wrong}; remove it"):
            fit(net(), loss_on(net()), other, task=task, checkpoint=again)
    with pytest.raises(ValueError, match="another net"):
        fit(nn.Linear(3, 1), loss_on(net()), RECIPE, task="lines", checkpoint=again)
    whole = path.read_bytes()
    for part in (whole[:-8], b"nonsense", b""):
        path.write_bytes(part)
        with pytest.raises(FileFormatError, match=r"x.checkpoint is truncated, or no"):
            fit(net(), loss_on(net()), RECIPE, task="lines", checkpoint=again)
    save_file({"weight": torch.zeros(2)}, path)
    with pytest.raises(FileFormatError, match=r"x.checkpoint is truncated, or no"):
        fit(net(), loss_on(net()), RECIPE, task="lines", checkpoint=again)


def test_a_writing_that_fails_leaves_the_file_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, run = tmp_path / "x.checkpoint", Training(net(), RECIPE, task="lines")
    run.save(path)
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("captum_dynamics.tasks._files.os.fsync", full)
    with pytest.raises(OSError, match="no space left"):
        run.save(path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["x.checkpoint"]


def test_numbers_that_make_no_training_are_refused() -> None:
    for wrong, name in (((0, 0.1), "updates"), ((5, 0.0), "learning_rate")):
        with pytest.raises(ValueError, match=f"`{name}` to be positive"):
            Recipe(*wrong)
    with pytest.raises(ValueError, match="`clip` to be positive"):
        Recipe(5, 0.1, clip=-1.0)


def test_reviews_go_on_after_an_epoch_as_if_nothing_had_been(tmp_path: Path) -> None:
    chance = torch.Generator().manual_seed(0)
    ids = [torch.randint(2, 9, (n % 6 + 2,), generator=chance) for n in range(30)]
    data = Documents([i.tolist() for i in ids], torch.arange(30) % 2)
    recipe = ReviewRecipe(epochs=3, batch_size=7, seed=2)
    path = tmp_path / "reviews.checkpoint"
    sizes = {"embedding_dim": 3, "hidden_size": 4}

    def trained(checkpoint: Checkpoint | None) -> tuple[list[list[float]], list[float]]:
        model, by_epoch = train_reviews(
            9, data, data, recipe, checkpoint=checkpoint, **sizes
        )
        return weights(model), by_epoch

    whole = trained(None)
    assert trained(Checkpoint(path)) == whole
    kept: list[bytes] = []

    def keep(run: Training, file: Path) -> None:
        save(run, file)
        kept.append(file.read_bytes())

    save = Training.save
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Training, "save", keep)
        trained(Checkpoint(path))
    assert len(kept) == 3
    path.write_bytes(kept[0])
    assert trained(Checkpoint(path, resume=True)) == whole
