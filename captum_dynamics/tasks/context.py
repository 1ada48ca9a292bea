"""A toy language with modifiers (`python -m captum_dynamics.tasks.context`).

Twelve words. Six are noise, four have a value, and two change what later words are
worth: "very" doubles the next word, "not" turns the sign of the next four. The network
reads one word a step, and must say the sum of all values so far (Maheswaranathan and
Sussillo 2020, section 3). The smallest system in which a word has an effect through
others alone, with a known answer for every pair of words.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from captum_dynamics.tasks._command import checkpoint_of, misuse_ends, training_parser
from captum_dynamics.tasks._files import load_weights, save_weights
from captum_dynamics.tasks._training import Checkpoint, Recipe, fit, squared_weights

__all__ = [
    "NOISE",
    "VALUES",
    "WORDS",
    "ContextNet",
    "Sentences",
    "encode_words",
    "evaluate_context",
    "load_context",
    "main",
    "sample_context",
    "save_context",
    "train_context",
]

_logger = logging.getLogger(__name__)

NOISE = ("and", "a", "the", "for", "it", "while")
VALUES = {"good": 1.0, "bad": -1.0, "awesome": 2.0, "awful": -2.0}
MODIFIERS = {"very": (2.0, 1), "not": (-1.0, 4)}
"""Factor of each modifier, and how many of the next words it multiplies."""

WORDS = (*NOISE, *VALUES, *MODIFIERS)
"""All words, in the order of the one-hot inputs."""

EVALUATION_SEED = 2**31
SHIPPED = "context_gru.safetensors"
Ids = Int[Tensor, "n t"]
OneHot = Float[Tensor, "n t 12"]
Sums = Float[Tensor, "n t"]

_DESCRIPTION = """\
Train a GRU on a toy language in which "very" doubles the next word and "not" turns the
sign of the next four; it must say the sum of all values so far. Write its weights, and
say its mean squared error on fresh sentences. About ten minutes on one core; train the
net further (--start, at a higher rate and another seed) to get the error below 0.006.
"""

_EPILOG = """\
example:
  python -m captum_dynamics.tasks.context --seed 0 --out context_gru.safetensors

  >>> import captum_dynamics as cd
  >>> from captum_dynamics.tasks.context import load_context
  >>> dynamics = cd.adapt(load_context("context_gru.safetensors"), "rnn")
"""


@dataclass(frozen=True, eq=False)
class Sentences:
    """Words as numbers, and the sum of their values so far; both (n, t)."""

    words: Ids
    targets: Sums

    @property
    def inputs(self) -> OneHot:
        """The words as a network reads them, one-hot."""
        return nn.functional.one_hot(self.words, len(WORDS)).float()


class ContextNet(nn.Module):
    """A GRU `rnn` (batch first) over one-hot words, read out linearly by `readout`."""

    def __init__(self, hidden: int) -> None:
        """Build an untrained net, its update gate biased to keep the state.

        Args:
            hidden: units of the layer.
        """
        super().__init__()
        self.rnn = nn.GRU(len(WORDS), hidden, batch_first=True)
        self.readout = nn.Linear(hidden, 1)
        biases = dict(self.rnn.named_parameters())["bias_ih_l0"].detach()
        # PyTorch's order of gates: reset, update, new.
        biases[hidden : 2 * hidden] += 0.5

    def forward(self, inputs: OneHot) -> Sums:
        """Read words (n, t, 12), answer at every step (n, t)."""
        answers: Tensor = self.readout(self.rnn(inputs)[0])
        return answers[..., 0]


def encode_words(sentence: str) -> OneHot:
    """Turn a sentence of the language into what a network reads.

    Args:
        sentence: Words of `WORDS`, with blanks between them.

    Returns:
        One-hot rows (1, t, 12).

    Raises:
        ValueError: If a word is not of the language, or there is none.

    Example:
        >>> encode_words("not bad").argmax(-1).tolist()
        [[11, 7]]
    """
    words = sentence.split()
    unknown = [word for word in words if word not in WORDS]
    if unknown or not words:
        raise ValueError(
            f"Expected `sentence` of the words {', '.join(WORDS)}, got {sentence!r}."
        )
    ids = torch.tensor([[WORDS.index(word) for word in words]])
    return nn.functional.one_hot(ids, len(WORDS)).float()


def sum_values(words: Ids) -> Sums:
    """The sum of values so far: each word times the factors that it stands under.

    Where several modifiers reach a word, their factors multiply: "not not good" is +1,
    "not very good" is -2.

    Args:
        words: Places in `WORDS`, (n, t).

    Returns:
        Sums (n, t).

    Example:
        >>> sum_values(encode_words("not good very good good good").argmax(-1)).tolist()
        [[0.0, -1.0, -1.0, -3.0, -4.0, -3.0]]
    """
    values = torch.tensor([VALUES.get(word, 0.0) for word in WORDS])[words]
    for word, (factor, reach) in MODIFIERS.items():
        seen = words == WORDS.index(word)
        for lag in range(1, min(reach, words.shape[1] - 1) + 1):
            values[:, lag:] *= torch.where(seen[:, :-lag], factor, 1.0)
    return values.cumsum(1)


def sample_context(
    sequences: int, steps: int, *, generator: torch.Generator | None = None
) -> Sentences:
    """Draw sentences of words that are all equally likely, at every place.

    Args:
        sequences: Number of sentences.
        steps: Words of each.
        generator: Source of randomness.

    Returns:
        The words, and the sums of their values.

    Example:
        >>> generator = torch.Generator().manual_seed(5)
        >>> data = sample_context(1, 6, generator=generator)
        >>> [WORDS[word] for word in data.words[0].tolist()]
        ['not', 'good', 'bad', 'awful', 'the', 'very']
        >>> data.targets[0].tolist()
        [0.0, -1.0, 0.0, 2.0, 2.0, 2.0]
    """
    words = torch.randint(len(WORDS), (sequences, steps), generator=generator)
    return Sentences(words, sum_values(words))


def train_context(
    hidden: int,
    seed: int,
    *,
    start: ContextNet | None = None,
    updates: int = 18000,
    sequences: int = 64,
    steps: int = 50,
    learning_rate: float = 1.2e-3,
    weight_penalty: float = 1e-5,
    checkpoint: Checkpoint | None = None,
    show_progress: bool = False,
) -> ContextNet:
    """Train a net by Adam, the rate falling to 1 % of its start along half a cosine.

    The caller's random state is untouched; the same seed gives the same net.

    Higher rates learn sooner, and grow larger weights: one-hot words then open gates
    for themselves, and input Jacobians say little of what words do.

    Args:
        hidden: Units.
        seed: Of initial weights and data.
        start: A net to train further, which is left as it is; a new one by default.
        updates: Updates of the weights, each on new sentences.
        sequences: Sentences of an update.
        steps: Words of a sentence.
        learning_rate: First rate.
        weight_penalty: Factor of the squared weights that are added to the loss.
        checkpoint: The file that a killed training can go on from.
        show_progress: Show a progress bar over updates.

    Returns:
        The net in evaluation mode.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = ContextNet(hidden)
    if start is not None:
        net.load_state_dict(start.state_dict())

    def loss(generator: torch.Generator) -> Tensor:
        data = sample_context(sequences, steps, generator=generator)
        error = nn.functional.mse_loss(net(data.inputs), data.targets)
        return error + weight_penalty * squared_weights(net)

    fit(
        net,
        loss,
        Recipe(updates, learning_rate, seed),
        task=f"context, {sequences} x {steps}, penalty {weight_penalty}",
        checkpoint=checkpoint,
        show_progress=show_progress,
    )
    return net


def evaluate_context(
    net: ContextNet, *, sequences: int = 1024, steps: int = 50
) -> float:
    """Mean squared error of the answers at all steps, on fresh sentences."""
    generator = torch.Generator().manual_seed(EVALUATION_SEED)
    data = sample_context(sequences, steps, generator=generator)
    with torch.no_grad():
        return float(nn.functional.mse_loss(net(data.inputs), data.targets))


def save_context(
    net: ContextNet, path: str | Path, *, about: dict[str, str] | None = None
) -> None:
    """Write the weights to a safetensors file.

    Args:
        net: The net.
        path: The file.
        about: Metadata, such as the seed and the loss.
    """
    settings = {"task": "context", "hidden": str(net.rnn.hidden_size)}
    save_weights(net, path, {**(about or {}), **settings})


def load_context(path: str | Path | None = None) -> ContextNet:
    """Read a trained net, in evaluation mode.

    Args:
        path: A file written by `save_context`; by default the shipped net of 100 units.

    Returns:
        The net, with its own copy of the weights.

    Raises:
        FileFormatError: When the file is truncated, or holds something else.

    Example:
        >>> net = load_context()
        >>> answers = net(encode_words("not good and very good"))[0]
        >>> [round(answer) for answer in answers.tolist()]
        [0, -1, -1, -1, -3]
    """

    def build(about: dict[str, str]) -> ContextNet:
        return ContextNet(int(about["hidden"]))

    what = "a net of the toy language"
    if path is not None:
        return load_weights(path, build, what=what)
    shipped = resources.files("captum_dynamics.models") / "weights" / SHIPPED
    with resources.as_file(shipped) as file:
        return load_weights(file, build, what=what)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line: train one net, say how well it adds up, write its file."""
    parser = _parser()
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    start = None if options.start is None else load_context(options.start)
    checkpoint = checkpoint_of(options.out, resume=options.resume)
    hidden = options.size if start is None else start.rnn.hidden_size
    with misuse_ends(parser):
        net = train_context(
            hidden,
            options.seed,
            start=start,
            updates=options.steps,
            learning_rate=options.learning_rate,
            weight_penalty=options.weight_penalty,
            checkpoint=checkpoint,
            show_progress=not options.quiet,
        )
    loss = evaluate_context(net)
    _logger.info("Mean squared error %.2e over 50 words.", loss)
    about = {
        "seed": str(options.seed),
        "updates": str(options.steps),
        "learning_rate": str(options.learning_rate),
        "weight_penalty": str(options.weight_penalty),
        "loss": f"{loss:.2e}",
    }
    save_context(net, options.out, about=about)
    checkpoint.path.unlink(missing_ok=True)


def _parser() -> argparse.ArgumentParser:
    parser = training_parser(
        "context",
        _DESCRIPTION,
        _EPILOG,
        size=100,
        updates=18000,
        learning_rate=1.2e-3,
        archs=["gru"],
    )
    add = parser.add_argument
    add("--start", metavar="FILE", help="a net to train further, instead of a new one")
    text = "factor of the squared weights in the loss (%(default)s)"
    add("--weight-penalty", type=float, default=1e-5, help=text)
    return parser


if __name__ == "__main__":
    main()
