"""Training the networks of the tasks that are sequences of vectors."""

from __future__ import annotations

from captum_dynamics.experiments._bench import Bench
from captum_dynamics.models import SequenceNet
from captum_dynamics.tasks.sequence_task import (
    SequenceTask,
    load_net,
    save_net,
    train_task,
)


def trained_net(
    bench: Bench,
    name: str,
    task: SequenceTask,
    arch: str,
    seed: int,
    *,
    size: int,
    updates: int,
) -> SequenceNet:
    """Train a network, or load the one that an earlier run kept.

    Args:
        bench: where nets are kept.
        name: of the file.
        task: what to learn.
        arch: its layer.
        seed: added to that of the run.
        size: units.
        updates: updates of the weights.
    """
    return bench.net(
        name,
        {"arch": arch, "net": seed, "task": task, "size": size, "updates": updates},
        lambda checkpoint: train_task(
            task,
            arch,
            size,
            seed=bench.seed + seed,
            updates=updates,
            checkpoint=checkpoint,
            show_progress=bench.show_progress,
        ),
        save_net,
        load_net,
    )
