"""The nets whose geometry is looked at: their tasks, and how they are trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from captum_dynamics.experiments._bench import Bench
from captum_dynamics.models.sequence_net import SequenceNet
from captum_dynamics.tasks._training import Checkpoint
from captum_dynamics.tasks.integration import (
    CategoricalIntegration,
    Integration,
    LabelIntegration,
    OrderedIntegration,
)
from captum_dynamics.tasks.sequence_task import load_net, save_net, train_task

# Documents, units and penalties are those of the authors' public notebooks, where files
# of ordered classes with uniform sums are named after theirs. Their Adam has a rate and
# an epsilon of .1, for which ours has its own rate.
SHORTEST, LONGEST = 20, 25
PENALTY, ORDERED_PENALTY = 5e-4, 1e-2


@dataclass(frozen=True)
class Recipe:
    """How all nets of a run are trained.

    Attributes:
        size: units.
        updates: updates of the weights.
        sequences: documents of an update.
        learning_rate: first rate.
    """

    size: int = 128
    updates: int = 2000
    sequences: int = 64
    learning_rate: float = 5e-3


FULL = Recipe()
QUICK = Recipe(size=32, updates=300, learning_rate=2e-2)


@dataclass(frozen=True)
class Net:
    """One net to train and to look at.

    Attributes:
        name: of its files.
        title: of its rows.
        task: what it learns.
        arch: its layer.
        dims: numbers that it must keep, and so the components that are expected.
        penalty: factor of the squared weights.
    """

    name: str
    title: str
    task: Integration
    arch: str
    dims: int
    penalty: float = PENALTY


def categorical(
    classes: int, arch: str = "gru", *, penalty: float = PENALTY, name: str = ""
) -> Net:
    """N classes, of which the one with most words wins: N - 1 numbers to keep."""
    task = CategoricalIntegration(LONGEST, SHORTEST, classes=classes)
    label = "vanilla" if arch == "tanh" else arch.upper()
    free = "" if penalty else ", no penalty"
    name = name or f"categorical-{classes}-{arch}"
    return Net(
        name, f"{classes} classes, {label}{free}", task, arch, classes - 1, penalty
    )


def ordered(classes: int, *, penalty: float = ORDERED_PENALTY) -> Net:
    """N ordered classes: one number to keep. Drawn so that each is common."""
    task = OrderedIntegration(LONGEST, SHORTEST, "scores", classes=classes)
    name, title = f"ordered-{classes}", f"{classes} ordered, GRU"
    if penalty != ORDERED_PENALTY:
        name, title = f"{name}-{penalty:g}", f"{title}, penalty {penalty:g}"
    return Net(name, title, task, "gru", 1, penalty)


def labels(count: int) -> Net:
    """Independent labels: a number each."""
    task = LabelIntegration(LONGEST, SHORTEST, labels=count)
    return Net(f"labels-{count}", f"{count} labels, GRU", task, "gru", count)


CATEGORICAL = tuple(categorical(classes) for classes in (2, 3, 4))
ORDERED = (ordered(3), ordered(5), ordered(5, penalty=PENALTY))
LABELS = (labels(2), labels(3))
OTHERS = tuple(categorical(3, arch) for arch in ("lstm", "ugrnn", "tanh"))
FREE = categorical(3, penalty=0.0, name="categorical-3-gru-free")


def trained(bench: Bench, net: Net, recipe: Recipe) -> SequenceNet:
    """Train a net, or load the one that an earlier run kept."""

    def train(checkpoint: Checkpoint) -> SequenceNet:
        return train_task(
            net.task,
            net.arch,
            recipe.size,
            seed=bench.seed,
            updates=recipe.updates,
            sequences=recipe.sequences,
            learning_rate=recipe.learning_rate,
            weight_penalty=net.penalty,
            checkpoint=checkpoint,
            show_progress=bench.show_progress,
        )

    def save(trained: SequenceNet, path: Path) -> None:
        save_net(trained, path, about={"task": str(net.task)})

    settings = {"task": str(net.task), "penalty": net.penalty, **asdict(recipe)}
    return bench.net(net.name, {**settings, "arch": net.arch}, train, save, load_net)


def every_net() -> Sequence[Net]:
    """All nets of the full version, in the order of its sections."""
    return (*CATEGORICAL, *ORDERED, *LABELS, *OTHERS, FREE)
