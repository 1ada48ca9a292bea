"""The n-bit flip-flop (`python -m captum_dynamics.tasks.flipflop`): data, nets, files.

Channels receive rare pulses of +1 or -1, and the network must say what the last pulse
of each channel was (Sussillo and Barak 2013, section 4). The best understood task of
the field: a trained network of n bits has 2^n attractors and 3^n fixed points at zero
input, laid out like the corners, edge and face centres and the middle of a cube.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from captum_dynamics.adapters import adapt
from captum_dynamics.dynamics import DynamicsMap
from captum_dynamics.fixed_points import FixedPoints, Kind, find_fixed_points
from captum_dynamics.linearization import Linearization, linearize
from captum_dynamics.models.sequence_net import SequenceNet, check_arch
from captum_dynamics.recording import record
from captum_dynamics.tasks._command import checkpoint_of, misuse_ends, training_parser
from captum_dynamics.tasks._files import load_weights, save_weights
from captum_dynamics.tasks._training import Checkpoint, Recipe, fit

__all__ = [
    "FlipFlop",
    "FlipFlopNet",
    "evaluate_flipflop",
    "flipflop_fixed_points",
    "load_flipflop",
    "main",
    "sample_flipflop",
    "save_flipflop",
    "train_flipflop",
]

_logger = logging.getLogger(__name__)

PULSE_PROBABILITY = 0.1
EVALUATION_STEPS = 256
Sequences = Float[Tensor, "n t b"]

_DESCRIPTION = """\
Train a small recurrent network on the n-bit flip-flop: it reads rare pulses of +1 or -1
and must say what the last pulse of each channel was. Write its weights, and say how
many fixed points it has at zero input: 3^n if it has learned the textbook solution, of
which 2^n are stable. Seconds to a few minutes on one core.

A net can solve the task with more points or fewer: try other seeds.
"""

_EPILOG = """\
example:
  python -m captum_dynamics.tasks.flipflop --arch gru --size 16 --seed 0 \\
      --out flipflop_gru.safetensors

  >>> import captum_dynamics as cd
  >>> from captum_dynamics.tasks.flipflop import load_flipflop
  >>> dynamics = cd.adapt(load_flipflop("flipflop_gru.safetensors"), "rnn")
"""


@dataclass(frozen=True, eq=False)
class FlipFlop:
    """Pulses, and the last pulse of every channel at every step; both (n, t, bits)."""

    inputs: Sequences
    targets: Sequences


class FlipFlopNet(SequenceNet):
    """A recurrent layer `rnn` (batch first), read out linearly by `readout`."""

    def __init__(self, cell: str, hidden: int, *, bits: int = 3) -> None:
        """Build an untrained net of one layer.

        Args:
            cell: "gru", "lstm", "tanh", "relu" or "ugrnn".
            hidden: units of the layer.
            bits: channels.

        Raises:
            ValueError: for another cell.
        """
        super().__init__(check_arch("cell", cell), bits, hidden, bits)
        self.cell, self.bits = cell, bits


def sample_flipflop(
    sequences: int,
    steps: int,
    *,
    bits: int = 3,
    probability: float = PULSE_PROBABILITY,
    generator: torch.Generator | None = None,
) -> FlipFlop:
    """Draw random sequences of pulses and their targets.

    Every channel pulses at the first step, so that there always is a last pulse.

    Args:
        sequences: number of sequences.
        steps: steps of each.
        bits: channels.
        probability: chance of a pulse, for each channel and step.
        generator: source of randomness.

    Returns:
        Pulses in {-1, 0, 1} and targets in {-1, 1}.

    Example:
        >>> generator = torch.Generator().manual_seed(4)
        >>> data = sample_flipflop(1, 5, bits=1, probability=0.5, generator=generator)
        >>> data.inputs.flatten().tolist()
        [-1.0, 0.0, -1.0, -1.0, 1.0]
        >>> data.targets.flatten().tolist()
        [-1.0, -1.0, -1.0, -1.0, 1.0]
    """
    shape = (sequences, steps, bits)
    pulses = torch.rand(shape, generator=generator) < probability
    pulses[:, :1] = True
    signs = 2.0 * torch.randint(2, shape, generator=generator) - 1
    clock = torch.arange(steps)[None, :, None]
    last = torch.where(pulses, clock, 0).cummax(1).values
    return FlipFlop(torch.where(pulses, signs, 0.0), signs.gather(1, last))


def train_flipflop(
    cell: str,
    hidden: int,
    seed: int,
    *,
    bits: int = 3,
    updates: int = 3000,
    sequences: int = 64,
    steps: int = 50,
    learning_rate: float = 1e-2,
    checkpoint: Checkpoint | None = None,
    show_progress: bool = False,
) -> FlipFlopNet:
    """Train a net by Adam, the rate falling to 1 % of its start along half a cosine.

    The caller's random state is untouched; the same seed gives the same net.

    Args:
        cell: "gru", "lstm", "tanh", "relu" or "ugrnn".
        hidden: units.
        seed: of initial weights and data.
        bits: channels.
        updates: updates of the weights, each on new data.
        sequences: sequences of an update.
        steps: steps of a sequence.
        learning_rate: first rate.
        checkpoint: the file that a killed training can go on from.
        show_progress: show a progress bar over updates.

    Returns:
        The net in evaluation mode.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = FlipFlopNet(cell, hidden, bits=bits)

    def loss(generator: torch.Generator) -> Tensor:
        data = sample_flipflop(sequences, steps, bits=bits, generator=generator)
        return nn.functional.mse_loss(net(data.inputs), data.targets)

    fit(
        net,
        loss,
        Recipe(updates, learning_rate, seed),
        task=f"flip-flop {cell}, {sequences} x {steps}",
        checkpoint=checkpoint,
        show_progress=show_progress,
    )
    return net


def evaluate_flipflop(
    net: FlipFlopNet, *, sequences: int = 64, steps: int = EVALUATION_STEPS
) -> tuple[float, float]:
    """Mean squared error, and share of answers of the right sign, on fresh data."""
    generator = torch.Generator().manual_seed(2**31)
    data = sample_flipflop(sequences, steps, bits=net.bits, generator=generator)
    with torch.no_grad():
        answers = net(data.inputs)
    loss = nn.functional.mse_loss(answers, data.targets)
    right = torch.sign(answers) == data.targets
    return float(loss), float(right.double().mean())


def flipflop_fixed_points(
    net: FlipFlopNet, *, starts: int = 1024, seed: int = 0
) -> tuple[DynamicsMap, FixedPoints]:
    """Distinct fixed points at zero input, searched from visited states.

    Args:
        net: a trained net.
        starts: searches; half from visited states, half from mixtures of them.
        seed: of the data and the starts.

    Returns:
        The map of the net's layer, and its points.
    """
    generator = torch.Generator().manual_seed(seed)
    dynamics = adapt(net, "rnn")
    data = sample_flipflop(32, 64, bits=net.bits, generator=generator)
    runs = record(net, "rnn", data.inputs)
    points = find_fixed_points(
        dynamics,
        runs.sample_states(starts - starts // 2, generator=generator),
        torch.zeros(1, net.bits),
        extra_starts=starts // 2,
        generator=generator,
    )
    return dynamics, points[points.kind == Kind.FIXED].unique()


def save_flipflop(
    net: FlipFlopNet, path: str | Path, *, about: dict[str, str] | None = None
) -> None:
    """Write weights and settings to a safetensors file.

    Args:
        net: the net.
        path: the file.
        about: further metadata, such as the seed and the loss.
    """
    settings = {
        "cell": net.cell,
        "hidden": str(net.readout.in_features),
        "inputs": str(net.bits),
        "outputs": str(net.bits),
    }
    save_weights(net, path, {**(about or {}), **settings})


def load_flipflop(path: str | Path) -> FlipFlopNet:
    """Read a net written by `save_flipflop`, in evaluation mode.

    Raises:
        FileFormatError: when the file is truncated, or holds something else.
    """

    def build(about: dict[str, str]) -> FlipFlopNet:
        sizes = int(about["hidden"]), int(about["inputs"])
        return FlipFlopNet(about["cell"], sizes[0], bits=sizes[1])

    return load_weights(path, build, what="a flip-flop net")


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line: train one net, describe it, write its file."""
    parser = _parser()
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    checkpoint = checkpoint_of(options.out, resume=options.resume)
    with misuse_ends(parser):
        net = train_flipflop(
            options.arch,
            options.size,
            options.seed,
            bits=options.bits,
            updates=options.steps,
            learning_rate=options.learning_rate,
            checkpoint=checkpoint,
            show_progress=not options.quiet,
        )
    loss, accuracy = evaluate_flipflop(net)
    _logger.info("%s", _verdict(net, loss, accuracy))
    about = {
        "task": "flip-flop",
        "seed": str(options.seed),
        "updates": str(options.steps),
        "loss": f"{loss:.2e}",
        "accuracy": f"{accuracy}",
    }
    save_flipflop(net, options.out, about=about)
    checkpoint.path.unlink(missing_ok=True)


def _verdict(net: FlipFlopNet, loss: float, accuracy: float) -> str:
    """What was learned, in two lines."""
    dynamics, points = flipflop_fixed_points(net)
    linear = linearize(dynamics, points)
    return (
        f"Loss {loss:.1e}, accuracy {accuracy:.4f} over {EVALUATION_STEPS} steps.\n"
        f"{len(points)} fixed points at zero input (the textbook has "
        f"{3**net.bits}), by unstable dimensions: {_by_unstable_dims(linear)}; index "
        f"sum {int(linear.indices.sum())}."
    )


def _by_unstable_dims(linear: Linearization) -> str:
    counts = torch.bincount(linear.unstable_dims).tolist()
    return ", ".join(f"{count} with {dims}" for dims, count in enumerate(counts))


def _parser() -> argparse.ArgumentParser:
    parser = training_parser(
        "flipflop", _DESCRIPTION, _EPILOG, size=16, updates=3000, learning_rate=1e-2
    )
    parser.add_argument("--bits", type=int, default=3, help="channels (%(default)s)")
    return parser


if __name__ == "__main__":
    main()
