"""Tasks on sequences of vectors, and nets of all architectures that learn them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from captum_dynamics import _checks
from captum_dynamics._typing import Counts, InputSequences, OutputSequences
from captum_dynamics.models.sequence_net import SequenceNet, keep_state
from captum_dynamics.tasks._files import load_weights, save_weights
from captum_dynamics.tasks._training import Checkpoint, Recipe, fit, squared_weights

__all__ = [
    "Checkpoint",
    "RegressionTask",
    "SequenceTask",
    "Sequences",
    "evaluate_task",
    "load_net",
    "save_net",
    "train_task",
]

EVALUATION_SEED = 2**31


@dataclass(frozen=True, eq=False)
class Sequences:
    """What a net reads, and what it should say.

    Attributes:
        inputs: (n, t, k), zero after the end of a sequence.
        targets: what the task wants, n of them, or (n, t, m) at every step.
        lengths: (n,) steps of each sequence.
    """

    inputs: InputSequences
    targets: Tensor
    lengths: Counts

    def __len__(self) -> int:
        """Number of sequences."""
        return len(self.inputs)

    def last(self, answers: OutputSequences) -> Tensor:
        """Answers (n, m) at the last step of each sequence."""
        rows = torch.arange(len(self), device=answers.device)
        return answers[rows, self.lengths - 1]


@dataclass(frozen=True)
class SequenceTask(ABC):
    """Sequences with known answers; a frozen dataclass whose fields are its settings.

    A new task states `input_size`, `output_size`, `sample`, `loss` and `score`, and can
    then be trained, judged and saved by the functions of this module.
    """

    measure: ClassVar[str] = "accuracy"
    """What `score` is called."""

    readout_bias: ClassVar[bool] = True
    """Whether the readout of a net for this task has a bias."""

    @property
    @abstractmethod
    def input_size(self) -> int:
        """Width k of an input."""

    @property
    @abstractmethod
    def output_size(self) -> int:
        """Width m of an answer."""

    @abstractmethod
    def sample(
        self, sequences: int, *, generator: torch.Generator | None = None
    ) -> Sequences:
        """Draw sequences: the same generator, the same data."""

    @abstractmethod
    def loss(self, answers: OutputSequences, data: Sequences) -> Tensor:
        """What training makes small, of answers (n, t, m)."""

    @abstractmethod
    def score(self, answers: OutputSequences, data: Sequences) -> float:
        """How good answers (n, t, m) are, 1 for perfect ones."""


class RegressionTask(SequenceTask):
    """A task whose targets (n, t, 1) are numbers to say at every step."""

    measure = "share of variance"

    def loss(self, answers: OutputSequences, data: Sequences) -> Tensor:
        """Mean squared error at all steps."""
        return nn.functional.mse_loss(answers, data.targets)

    def score(self, answers: OutputSequences, data: Sequences) -> float:
        """Share of the targets' variance that the answers explain."""
        missed = (answers - data.targets).square().sum()
        return float(1 - missed / (data.targets - data.targets.mean()).square().sum())


def train_task(
    task: SequenceTask,
    arch: str,
    size: int,
    *,
    seed: int = 0,
    updates: int = 2000,
    sequences: int = 64,
    learning_rate: float = 5e-3,
    weight_penalty: float = 0.0,
    checkpoint: Checkpoint | None = None,
    show_progress: bool = False,
) -> SequenceNet:
    """Train a net by Adam on new data in every update.

    The rate falls to 1 % along half a cosine, gradients are clipped at norm 1, and the
    initial weights keep a state (`models.keep_state`). The caller's random state is
    untouched; the same seed gives the same net.

    Args:
        task: what to learn.
        arch: "tanh" (the vanilla network), "relu", "ugrnn", "gru" or "lstm".
        size: units.
        seed: of initial weights and data.
        updates: updates of the weights.
        sequences: sequences of an update.
        learning_rate: first rate.
        weight_penalty: factor of the squared weights that are added to the loss. With
            one, states keep to fewer dimensions.
        checkpoint: the file that a killed training can go on from.
        show_progress: show a progress bar over updates.

    Returns:
        The net in evaluation mode.

    Raises:
        ValueError: for an unknown architecture, a number that is not positive, or a
            negative penalty.

    Example:
        >>> from captum_dynamics.tasks.integration import CategoricalIntegration
        >>> task = CategoricalIntegration(classes=2, length=5)
        >>> net = train_task(task, "gru", 8, updates=60, learning_rate=0.03)
        >>> evaluate_task(task, net) > 0.9
        True
    """
    _checks.check_count("size", size)
    _checks.check_count("sequences", sequences)
    _checks.check_not_negative("weight_penalty", weight_penalty)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = SequenceNet(
            arch, task.input_size, size, task.output_size, bias=task.readout_bias
        )
        keep_state(net.rnn)

    def loss(generator: torch.Generator) -> Tensor:
        data = task.sample(sequences, generator=generator)
        error = task.loss(net(data.inputs), data)
        return error + weight_penalty * squared_weights(net)

    fit(
        net,
        loss,
        Recipe(updates, learning_rate, seed),
        task=f"{task}, {arch}, {sequences} at once, penalty {weight_penalty}",
        checkpoint=checkpoint,
        show_progress=show_progress,
    )
    return net


def evaluate_task(
    task: SequenceTask, net: SequenceNet, *, sequences: int = 1000
) -> float:
    """The score of a net on fresh data, always the same: 1 is perfect."""
    _checks.check_count("sequences", sequences)
    generator = torch.Generator().manual_seed(EVALUATION_SEED)
    data = task.sample(sequences, generator=generator)
    with torch.no_grad():
        return task.score(net(data.inputs), data)


def save_net(
    net: SequenceNet, path: str | Path, *, about: dict[str, str] | None = None
) -> None:
    """Write weights and settings to a safetensors file.

    Args:
        net: the net.
        path: the file.
        about: further metadata, such as the task and its score.
    """
    settings = {
        "arch": net.arch,
        "inputs": str(net.rnn.input_size),
        "hidden": str(net.rnn.hidden_size),
        "outputs": str(net.readout.out_features),
        "readout_bias": str(net.readout.bias is not None),
    }
    save_weights(net, path, {**(about or {}), **settings})


def load_net(path: str | Path) -> SequenceNet:
    """Read a net written by `save_net`, in evaluation mode.

    Raises:
        FileFormatError: when the file is truncated, or holds something else.
    """

    def build(about: dict[str, str]) -> SequenceNet:
        sizes = (int(about[name]) for name in ("inputs", "hidden", "outputs"))
        return SequenceNet(about["arch"], *sizes, bias=about["readout_bias"] == "True")

    return load_weights(path, build, what="a net of a sequence task")
