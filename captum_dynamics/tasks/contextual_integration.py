"""Adding up one of several streams, the one that a context names.

As a command: `python -m captum_dynamics.tasks.contextual_integration --help`.

Noisy streams arrive at once, and a constant one-hot input says which of them counts
(Mante et al. 2013; Maheswaranathan et al. 2019). Trained nets have a line attractor for
each context, and ignore the other streams.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from captum_dynamics import _checks
from captum_dynamics.tasks._command import run_training, training_parser
from captum_dynamics.tasks.sequence_task import (
    RegressionTask,
    Sequences,
    SequenceTask,
)

__all__ = ["ContextualIntegration", "main"]

_DESCRIPTION = """\
Train a recurrent network to add up one of several noisy streams, and to ignore the
others: a constant input says which. It is judged by the share of the sums' variance
that it explains on fresh data. About a minute on one core.
"""

_EPILOG = """\
example:
  python -m captum_dynamics.tasks.contextual_integration --arch gru --size 64 \\
      --out contextual.safetensors

  >>> import captum_dynamics as cd
  >>> from captum_dynamics.tasks.sequence_task import load_net
  >>> dynamics = cd.adapt(load_net("contextual.safetensors"), "rnn")
"""


@dataclass(frozen=True)
class ContextualIntegration(RegressionTask):
    """The sum so far of the stream that the context names, at every step.

    A stream is white noise of variance 1 around a mean that is drawn for the sequence.
    Sums are divided by the square root of `steps`, so that answers are of order one.

    Attributes:
        streams: number of streams, and of contexts.
        steps: steps of a sequence.
        drift: standard deviation of a stream's mean.

    Raises:
        ValueError: for fewer than two streams, no steps, or a negative drift.

    References:
        Mante, Sussillo, Shenoy and Newsome (2013), Context-dependent computation by
        recurrent dynamics in prefrontal cortex; Maheswaranathan et al. (2019),
        arXiv 1907.08549.

    Example:
        >>> task = ContextualIntegration(steps=4)
        >>> data = task.sample(1, generator=torch.Generator().manual_seed(0))
        >>> data.inputs[0, :, 2:].tolist()
        [[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [1.0, 0.0]]
        >>> torch.allclose(data.targets[0, -1, 0], data.inputs[0, :, 0].sum() / 2)
        True
    """

    streams: int = 2
    steps: int = 50
    drift: float = 0.2

    def __post_init__(self) -> None:
        """Check the settings."""
        _checks.check_count("streams", self.streams, 2)
        _checks.check_count("steps", self.steps)
        _checks.check_not_negative("drift", self.drift)

    @property
    def input_size(self) -> int:
        """The streams, then the context."""
        return 2 * self.streams

    @property
    def output_size(self) -> int:
        """The sum."""
        return 1

    def sample(
        self, sequences: int, *, generator: torch.Generator | None = None
    ) -> Sequences:
        """Draw streams, and contexts that are all equally likely.

        Args:
            sequences: number of sequences.
            generator: source of randomness.

        Returns:
            Streams and one-hot contexts (n, t, 2 streams), sums (n, t, 1).
        """
        _checks.check_count("sequences", sequences)
        context = torch.randint(self.streams, (sequences,), generator=generator)
        means = torch.randn(sequences, 1, self.streams, generator=generator)
        shape = (sequences, self.steps, self.streams)
        streams = self.drift * means + torch.randn(shape, generator=generator)
        cues = nn.functional.one_hot(context, self.streams).float()[:, None]
        cued = (streams * cues).sum(-1, keepdim=True)
        targets = cued.cumsum(1) / math.sqrt(self.steps)
        inputs = torch.cat([streams, cues.expand(shape)], dim=-1)
        return Sequences(inputs, targets, torch.full((sequences,), self.steps))


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line: train one net, say how well it does, write its file."""
    parser = training_parser(
        "contextual_integration",
        _DESCRIPTION,
        _EPILOG,
        size=64,
        updates=2000,
        learning_rate=5e-3,
    )
    add = parser.add_argument
    add("--streams", type=int, default=2, help="streams (%(default)s)")
    add("--length", type=int, default=50, help="steps of a sequence (%(default)s)")
    add("--drift", type=float, default=0.2, help="of a stream's mean (%(default)s)")
    run_training(parser, _task, argv)


def _task(options: argparse.Namespace) -> SequenceTask:
    return ContextualIntegration(options.streams, options.length, options.drift)


if __name__ == "__main__":
    main()
