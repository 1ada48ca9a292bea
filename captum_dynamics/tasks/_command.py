"""What the training commands have in common: their options, and their checkpoint."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from captum_dynamics.models.sequence_net import LAYER_NAMES
from captum_dynamics.tasks._training import Checkpoint
from captum_dynamics.tasks.sequence_task import (
    SequenceTask,
    evaluate_task,
    save_net,
    train_task,
)

_logger = logging.getLogger(__name__)


def training_parser(
    name: str,
    description: str,
    epilog: str,
    *,
    size: int,
    updates: int,
    learning_rate: float,
    archs: Sequence[str] = LAYER_NAMES,
) -> argparse.ArgumentParser:
    """Describe the options of a training command; a task adds its own.

    Args:
        name: of the module in `captum_dynamics.tasks`.
        description: what is trained on what, and how long it takes.
        epilog: an example.
        size: units by default.
        updates: updates by default.
        learning_rate: first rate by default.
        archs: layers to choose from; none is asked for if there is one.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m captum_dynamics.tasks.{name}",
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    if len(archs) > 1:
        text = "recurrent layer; tanh is the vanilla network (%(default)s)"
        add("--arch", "--cell", choices=archs, default="gru", help=text)
    add("--size", "--hidden", type=positive, default=size, help="units (%(default)s)")
    add("--seed", type=int, default=0, help="of weights and data (%(default)s)")
    text = "updates of the weights, each on new data (%(default)s)"
    add("--steps", "--updates", type=positive, default=updates, help=text)
    text = "Adam's first rate, which falls to 1 %% along half a cosine (%(default)s)"
    add("--learning-rate", type=float, default=learning_rate, help=text)
    add("--quiet", action="store_true", help="show no progress bar")
    add_resume(parser)
    add("--out", required=True, metavar="FILE", help="safetensors file to write")
    return parser


def add_resume(parser: argparse.ArgumentParser) -> None:
    """Describe how to go on with what was killed."""
    text = (
        "go on from the checkpoint beside --out that a killed run left, to the same "
        "weights as without the kill; without it, start anew"
    )
    parser.add_argument("--resume", action="store_true", help=text)


def checkpoint_of(out: str | Path, *, resume: bool, every: int = 200) -> Checkpoint:
    """The checkpoint beside a file that a command will write."""
    path = Path(out)
    return Checkpoint(path.with_name(path.name + ".checkpoint"), every, resume)


def run_training(
    parser: argparse.ArgumentParser,
    task_of: Callable[[argparse.Namespace], SequenceTask],
    argv: Sequence[str] | None,
) -> None:
    """Train a net on a task, say how well it does, and write its file."""
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    checkpoint = checkpoint_of(options.out, resume=options.resume)
    with misuse_ends(parser):
        task = task_of(options)
        net = train_task(
            task,
            options.arch,
            options.size,
            seed=options.seed,
            updates=options.steps,
            learning_rate=options.learning_rate,
            checkpoint=checkpoint,
            show_progress=not options.quiet,
        )
    score = f"{evaluate_task(task, net):.4f}"
    _logger.info("%s of %s on %s: %s.", task.measure, options.arch, task, score)
    about = {
        "task": str(task),
        "seed": str(options.seed),
        "updates": str(options.steps),
        "learning_rate": str(options.learning_rate),
        task.measure: score,
    }
    save_net(net, options.out, about=about)
    checkpoint.path.unlink(missing_ok=True)


@contextmanager
def misuse_ends(parser: argparse.ArgumentParser) -> Iterator[None]:
    """End the command with the sentence of a `ValueError`: settings that do not fit."""
    try:
        yield
    except ValueError as error:
        parser.error(str(error))


def positive(text: str) -> int:
    """Read a whole number of at least 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text}")
    return number
