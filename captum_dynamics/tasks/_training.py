"""The one training routine: updates by Adam that a killed process can go on with."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler
from tqdm import tqdm

from captum_dynamics import _checks
from captum_dynamics.exceptions import FileFormatError
from captum_dynamics.tasks._files import write_tensors

FORMAT = "captum_dynamics training 1"
SHOWN = 50  # updates from one loss on the bar to the next


@dataclass(frozen=True)
class Recipe:
    """How to train: with the net and the task, all numbers that decide the weights.

    Attributes:
        updates: updates of the weights.
        learning_rate: Adam's first rate, which falls along half a cosine.
        seed: of the data, and of dropout.
        final_rate: share of the first rate that is left at the end.
        clip: largest norm of a gradient.
    """

    updates: int
    learning_rate: float
    seed: int = 0
    final_rate: float = 0.01
    clip: float = 1.0

    def __post_init__(self) -> None:
        """Check the numbers."""
        _checks.check_positive("updates", self.updates)
        _checks.check_positive("learning_rate", self.learning_rate)
        _checks.check_positive("clip", self.clip)


@dataclass(frozen=True)
class Checkpoint:
    """The file a training can go on from, and how often it is written.

    Attributes:
        path: the file.
        every: updates, or epochs, from one writing to the next.
        resume: whether to go on from the file, where it is there; else start anew.
    """

    path: Path
    every: int = 200
    resume: bool = False


class Training:
    """A net under training: its optimizer, its rates and its random states.

    Args:
        net: the net, whose weights are changed in place.
        recipe: the numbers.
        task: what it is trained on: a checkpoint of another task is refused.
        rates: makes the learning-rate schedule of an optimizer; by default half a
            cosine down to the final rate.
    """

    def __init__(
        self,
        net: nn.Module,
        recipe: Recipe,
        *,
        task: str,
        rates: Callable[[torch.optim.Optimizer], LRScheduler] | None = None,
    ) -> None:
        """Begin with nothing done."""
        self.net, self.done = net, 0
        self.generator = torch.Generator().manual_seed(recipe.seed)
        self.history: list[float] = []
        self._clip = recipe.clip
        self._about = {"task": task, "net": repr(net), **asdict(recipe)}
        self._optimizer = torch.optim.Adam(net.parameters(), recipe.learning_rate)
        if rates is None:
            end = recipe.final_rate * recipe.learning_rate
            self._schedule: LRScheduler = CosineAnnealingLR(
                self._optimizer, recipe.updates, end
            )
        else:
            self._schedule = rates(self._optimizer)

    def update(self, loss: Tensor) -> None:
        """Take one step down the gradient of a loss."""
        self._optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.net.parameters(), self._clip)
        self._optimizer.step()
        self._schedule.step()
        self.done += 1

    def save(self, path: Path) -> None:
        """Write all of it; an interruption leaves the old file or the new one."""
        state = self._optimizer.state_dict()
        moments = {
            f"optimizer.{row}.{name}": value
            for row, values in state["state"].items()
            for name, value in values.items()
        }
        weights = {f"net.{name}": v for name, v in self.net.state_dict().items()}
        random = {
            "random.generator": self.generator.get_state(),
            "random.torch": torch.get_rng_state(),
        }
        content = {
            "about": self._about,
            "done": self.done,
            "history": self.history,
            "rate": state["param_groups"][0]["lr"],
            "schedule": self._schedule.state_dict(),
        }
        metadata = {"format": FORMAT, "content": json.dumps(content)}
        write_tensors(path, {**weights, **moments, **random}, metadata)

    def restore(self, path: Path) -> None:
        """Go on from a file.

        Raises:
            FileFormatError: for a truncated or foreign file.
            ValueError: for the checkpoint of another training.
        """
        content, tensors = _read(path)
        stored = content["about"]
        differing = [
            name for name in self._about if stored.get(name) != self._about[name]
        ]
        if differing:
            raise ValueError(
                f"Expected the checkpoint {path.name} to be of this training, got one "
                f"with another {', '.join(differing)}; remove it to start anew."
            )
        self.net.load_state_dict(_within(tensors, "net."))
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in _within(tensors, "optimizer.").items():
            row, _, moment = name.partition(".")
            moments.setdefault(int(row), {})[moment] = value
        groups = self._optimizer.state_dict()["param_groups"]
        groups[0]["lr"] = content["rate"]
        self._optimizer.load_state_dict({"state": moments, "param_groups": groups})
        self._schedule.load_state_dict(content["schedule"])
        self.generator.set_state(tensors["random.generator"])
        torch.set_rng_state(tensors["random.torch"])
        self.done, self.history = content["done"], content["history"]


def fit(
    net: nn.Module,
    loss_of: Callable[[torch.Generator], Tensor],
    recipe: Recipe,
    *,
    task: str,
    checkpoint: Checkpoint | None = None,
    show_progress: bool = False,
) -> None:
    """Train a net on new data in every update; the caller's random state stays.

    A training that was killed and resumed ends at the weights of one that was not, to
    the last bit, on one machine with one number of threads.

    Args:
        net: the net, whose weights are changed in place; in evaluation mode after.
        loss_of: the loss of the net on data drawn by a generator.
        recipe: updates, rates and seed.
        task: what it is trained on, for the bar and the checkpoint.
        checkpoint: the file to go on from; none is written by default.
        show_progress: show a bar over updates.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        training = Training(net, recipe, task=task)
        begin(training, checkpoint)
        bar = tqdm(
            total=recipe.updates,
            initial=training.done,
            desc=task,
            disable=not show_progress,
        )
        with bar:
            while training.done < recipe.updates:
                loss = loss_of(training.generator)
                training.update(loss)
                bar.update()
                if training.done % SHOWN == 1:
                    bar.set_postfix(loss=f"{loss.item():.1e}", refresh=False)
                keep(training, checkpoint)
    net.eval()


def squared_weights(net: nn.Module) -> Tensor:
    """Sum of all squared weights, those of biases left out: what a penalty is on."""
    matrices = [weight for weight in net.parameters() if weight.ndim > 1]
    return torch.stack([weight.square().sum() for weight in matrices]).sum()


def begin(training: Training, checkpoint: Checkpoint | None) -> None:
    """Go on from a checkpoint that is there and wanted."""
    if checkpoint is not None and checkpoint.resume and checkpoint.path.exists():
        training.restore(checkpoint.path)


def keep(training: Training, checkpoint: Checkpoint | None) -> None:
    """Write the checkpoint if it is time."""
    if checkpoint is not None and training.done % checkpoint.every == 0:
        training.save(checkpoint.path)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise ValueError(f"format {metadata.get('format')!r}")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return json.loads(metadata["content"]), tensors
    except (SafetensorError, KeyError, ValueError) as error:
        raise FileFormatError(
            f"{path.name} is truncated, or no checkpoint of a training: {error}"
        ) from error


def _within(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }
