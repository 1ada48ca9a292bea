"""Sine waves of a frequency that is asked for (`python -m captum_dynamics.tasks.sine`).

A constant input says which of several frequencies to produce (Sussillo and Barak 2013;
Maheswaranathan et al. 2019, "frequency-cued sine"). Under each input a trained net
circles around a fixed point.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from captum_dynamics import _checks
from captum_dynamics.tasks._command import run_training, training_parser
from captum_dynamics.tasks.sequence_task import (
    RegressionTask,
    Sequences,
    SequenceTask,
)

__all__ = ["FrequencyCuedSine", "main"]

OFFSET = 0.25  # of the cue: no frequency is asked for by an input near zero

_DESCRIPTION = """\
Train a recurrent network to produce a sine wave whose frequency a constant input asks
for. It is judged by the share of the waves' variance that it explains on fresh data.
Minutes on one core.
"""

_EPILOG = """\
example:
  python -m captum_dynamics.tasks.sine --arch gru --size 64 --out sine.safetensors

  >>> import captum_dynamics as cd
  >>> from captum_dynamics.tasks.sequence_task import load_net
  >>> dynamics = cd.adapt(load_net("sine.safetensors"), "rnn")
"""


@dataclass(frozen=True)
class FrequencyCuedSine(RegressionTask):
    """One of `levels` sine waves, asked for by a constant input.

    Level j is asked for by the input j / levels + 1/4, and has the frequency
    lowest + (highest - lowest) j / (levels - 1). The wave sin(frequency t) begins in
    phase, and counts from the first step, t = 1.

    Attributes:
        levels: number of frequencies.
        steps: steps of a sequence.
        lowest: radians a step of level 0.
        highest: radians a step of the last level.

    Raises:
        ValueError: for fewer than two levels, no steps, or frequencies that are not
            between 0 and pi and growing.

    References:
        Sussillo and Barak (2013), Opening the black box (their frequencies, but for one
        step of ours a unit of time); Maheswaranathan et al. (2019), arXiv 1907.08549.

    Example:
        >>> task = FrequencyCuedSine(levels=2, steps=3)
        >>> data = task.sample(1, generator=torch.Generator().manual_seed(1))
        >>> data.inputs.flatten().tolist()
        [0.75, 0.75, 0.75]
        >>> [round(wave, 4) for wave in data.targets.flatten().tolist()]
        [0.5646, 0.932, 0.9738]
    """

    levels: int = 51
    steps: int = 100
    lowest: float = 0.1
    highest: float = 0.6

    def __post_init__(self) -> None:
        """Check the settings."""
        _checks.check_count("levels", self.levels, 2)
        _checks.check_count("steps", self.steps)
        if not 0 < self.lowest < self.highest < math.pi:
            raise ValueError(
                f"Expected `lowest` and `highest` as growing numbers between 0 and pi, "
                f"got {self.lowest} and {self.highest}."
            )

    @property
    def input_size(self) -> int:
        """The cue."""
        return 1

    @property
    def output_size(self) -> int:
        """The wave."""
        return 1

    def sample(
        self, sequences: int, *, generator: torch.Generator | None = None
    ) -> Sequences:
        """Draw levels that are all equally likely.

        Args:
            sequences: number of waves.
            generator: source of randomness.

        Returns:
            Cues and waves, (n, t, 1) both.
        """
        _checks.check_count("sequences", sequences)
        level = torch.randint(self.levels, (sequences, 1, 1), generator=generator)
        span = self.highest - self.lowest
        frequency = self.lowest + span * level.double() / (self.levels - 1)
        clock = torch.arange(1, self.steps + 1)[None, :, None]
        cue = (level.double() / self.levels + OFFSET).expand(-1, self.steps, -1)
        lengths = torch.full((sequences,), self.steps)
        return Sequences(cue.float(), torch.sin(frequency * clock).float(), lengths)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line: train one net, say how well it does, write its file."""
    parser = training_parser(
        "sine", _DESCRIPTION, _EPILOG, size=64, updates=5000, learning_rate=5e-3
    )
    add = parser.add_argument
    add("--levels", type=int, default=51, help="frequencies (%(default)s)")
    add("--length", type=int, default=100, help="steps of a wave (%(default)s)")
    run_training(parser, _task, argv)


def _task(options: argparse.Namespace) -> SequenceTask:
    return FrequencyCuedSine(options.levels, options.length)


if __name__ == "__main__":
    main()
