"""Synthetic sentiment (`python -m captum_dynamics.tasks.synthetic_sentiment`).

Documents of tokens with known values, and nets that read them.

Half of the tokens are neutral, the others are worth +-1 or +-2. A document's label is
drawn, or given as a probability, by the sum of its values: what every token is worth is
known, and an attribution can be held against it.

With soft labels (a probability, a noisy vote) nets integrate along a line; with hard
ones (the sign of the sum) there are two stable states and a saddle between them.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from captum_dynamics import _checks
from captum_dynamics._typing import PerPoint
from captum_dynamics.models import SentimentClassifier
from captum_dynamics.models.sentiment import CELLS
from captum_dynamics.tasks._command import checkpoint_of, misuse_ends, training_parser
from captum_dynamics.tasks._documents import initialize
from captum_dynamics.tasks._files import load_weights, save_weights
from captum_dynamics.tasks._training import Checkpoint, Recipe, fit

__all__ = [
    "SyntheticDocuments",
    "evaluate_synthetic_sentiment",
    "load_synthetic_sentiment",
    "main",
    "sample_synthetic_sentiment",
    "save_synthetic_sentiment",
    "token_values",
    "train_synthetic_sentiment",
]

TOKENS = 60
SLOPE = 0.5
SHORTEST, LONGEST = 10, 40
WORTH = (1.0, -1.0, 2.0, -2.0)

_logger = logging.getLogger(__name__)

_DESCRIPTION = """\
Train a small network to tell documents of 60 tokens apart, of which half are neutral
and the others worth +-1 or +-2: positive if they add up to more than zero. Say how
often it is right on fresh documents, and how well its logits agree with the sums.
Labels are soft (probabilities), which makes nets integrate along a line, or --hard
(signs), which makes two stable states. Half a minute for documents of 10 to 40 tokens
on one core; those of 100 tokens and more make a longer line.
"""

_EPILOG = """\
example:
  python -m captum_dynamics.tasks.synthetic_sentiment --arch gru --size 32 \\
      --shortest 100 --longest 200 --out long_documents.safetensors

  >>> import captum_dynamics as cd
  >>> from captum_dynamics.tasks.synthetic_sentiment import load_synthetic_sentiment
  >>> dynamics = cd.adapt(load_synthetic_sentiment("long_documents.safetensors"), "rnn")
"""


@dataclass(frozen=True, eq=False)
class SyntheticDocuments:
    """Documents, what they are worth, and their labels.

    Attributes:
        ids: (n, t) tokens from 1, padded on the right by 0.
        sums: (n,) sum of the values of each document's tokens.
        targets: (n,) probability of a positive label, 0 or 1 for hard labels.
    """

    ids: Int[Tensor, "n t"]
    sums: PerPoint
    targets: PerPoint

    def __len__(self) -> int:
        """Number of documents."""
        return len(self.ids)


def token_values(tokens: int = TOKENS) -> Float[Tensor, " v"]:
    """What each id is worth, (tokens + 1,): 0 for the padding and every other token.

    Example:
        >>> token_values(8).tolist()
        [0.0, 0.0, 1.0, 0.0, -1.0, 0.0, 2.0, 0.0, -2.0]
    """
    values = torch.zeros(tokens + 1)
    worth = values[2::2]
    worth += torch.tensor(WORTH).repeat(tokens)[: len(worth)]
    return values


def sample_synthetic_sentiment(
    documents: int,
    *,
    soft: bool = True,
    shortest: int = SHORTEST,
    longest: int = LONGEST,
    tokens: int = TOKENS,
    generator: torch.Generator | None = None,
) -> SyntheticDocuments:
    """Draw documents of tokens that are all equally likely.

    Args:
        documents: number of documents.
        soft: whether the target is sigmoid(sum / 2); else 1 for sums above zero, and a
            coin for sums of zero.
        shortest: tokens of a document at least.
        longest: tokens of a document at most; every length is equally likely.
        tokens: number of different tokens.
        generator: source of randomness.

    Returns:
        Documents with their sums and targets.

    Raises:
        ValueError: if a number is not positive, or `longest` is below `shortest`.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> data = sample_synthetic_sentiment(3, generator=generator)
        >>> torch.equal(token_values()[data.ids].sum(1), data.sums)
        True
    """
    for name, value in (("documents", documents), ("shortest", shortest)):
        _checks.check_positive(name, value)
    if longest < shortest:
        raise ValueError(
            f"Expected `longest` to be at least `shortest` = {shortest}, got {longest}."
        )
    lengths = torch.randint(shortest, longest + 1, (documents, 1), generator=generator)
    drawn = torch.randint(1, tokens + 1, (documents, longest), generator=generator)
    ids = torch.where(torch.arange(longest) < lengths, drawn, 0)
    sums = token_values(tokens)[ids].sum(1)
    if soft:
        return SyntheticDocuments(ids, sums, torch.sigmoid(SLOPE * sums))
    coins = torch.rand(documents, generator=generator) < 0.5
    return SyntheticDocuments(
        ids, sums, torch.where(sums == 0, coins, sums > 0).float()
    )


def train_synthetic_sentiment(
    cell: str,
    hidden: int = 32,
    seed: int = 0,
    *,
    soft: bool = True,
    shortest: int = SHORTEST,
    longest: int = LONGEST,
    embedding_dim: int = 16,
    updates: int = 2000,
    documents: int = 128,
    learning_rate: float = 5e-3,
    checkpoint: Checkpoint | None = None,
    show_progress: bool = False,
) -> SentimentClassifier:
    """Train a classifier by Adam on new documents in every update.

    The rate falls to 1 % along half a cosine. The caller's random state is untouched;
    the same seed gives the same net. About half a minute for 32 units on one core.

    Args:
        cell: "gru", "lstm", "tanh", "ugrnn" or "linear".
        hidden: units.
        seed: of initial weights and data.
        soft: whether labels are probabilities.
        shortest: tokens of a document at least.
        longest: tokens of a document at most.
        embedding_dim: width of an embedded token.
        updates: updates of the weights.
        documents: documents of an update.
        learning_rate: first rate.
        checkpoint: the file that a killed training can go on from.
        show_progress: show a progress bar over updates.

    Returns:
        The net in evaluation mode, which reads ids (n, t).

    Raises:
        ValueError: if the cell is unknown or a number is not positive.
    """
    sizes = {"embedding_dim": embedding_dim, "hidden_size": hidden}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = SentimentClassifier(TOKENS + 1, cell=cell, dropout=0.0, **sizes)
        initialize(model)
    lengths = {"shortest": shortest, "longest": longest}

    def loss(generator: torch.Generator) -> Tensor:
        data = sample_synthetic_sentiment(
            documents, soft=soft, **lengths, generator=generator
        )
        return nn.functional.binary_cross_entropy_with_logits(
            model(data.ids)[:, 0], data.targets
        )

    fit(
        model,
        loss,
        Recipe(updates, learning_rate, seed),
        task=f"sentiment {cell}, {documents} of {shortest} to {longest}, soft {soft}",
        checkpoint=checkpoint,
        show_progress=show_progress,
    )
    return model


def evaluate_synthetic_sentiment(
    model: SentimentClassifier,
    *,
    documents: int = 2000,
    shortest: int = SHORTEST,
    longest: int = LONGEST,
) -> tuple[float, float]:
    """Accuracy where sums are not zero, and correlation of logits with sums."""
    data = sample_synthetic_sentiment(
        documents,
        shortest=shortest,
        longest=longest,
        generator=torch.Generator().manual_seed(2**31),
    )
    with torch.no_grad():
        logits = model(data.ids)[:, 0]
    told = data.sums != 0
    right = torch.sign(logits[told]) == torch.sign(data.sums[told])
    pair = torch.corrcoef(torch.stack([logits, data.sums]))[0, 1]
    return float(right.double().mean()), float(pair)


def save_synthetic_sentiment(
    model: SentimentClassifier,
    path: str | Path,
    *,
    about: dict[str, str] | None = None,
) -> None:
    """Write weights and settings to a safetensors file.

    Args:
        model: the net, of `train_synthetic_sentiment`.
        path: the file.
        about: further metadata, such as the seed and the accuracy.
    """
    cells = {
        "GRU": "gru",
        "LSTM": "lstm",
        "RNN": "tanh",
        "UGRNN": "ugrnn",
        "LinearRNN": "linear",
    }
    settings = {
        "task": "synthetic sentiment",
        "cell": cells[type(model.rnn).__name__],
        "tokens": str(model.embedding.num_embeddings - 1),
        "embedding": str(model.embedding.embedding_dim),
        "hidden": str(model.readout.in_features),
    }
    save_weights(model, path, {**(about or {}), **settings})


def load_synthetic_sentiment(path: str | Path) -> SentimentClassifier:
    """Read a net written by `save_synthetic_sentiment`, in evaluation mode.

    Raises:
        FileFormatError: when the file is truncated, or holds something else.
    """

    def build(about: dict[str, str]) -> SentimentClassifier:
        return SentimentClassifier(
            int(about["tokens"]) + 1,
            cell=about["cell"],
            embedding_dim=int(about["embedding"]),
            hidden_size=int(about["hidden"]),
            dropout=0.0,
        )

    return load_weights(path, build, what="a net of synthetic sentiment")


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line: train one net, say how well it reads, write its file."""
    parser = _parser()
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    checkpoint = checkpoint_of(options.out, resume=options.resume)
    lengths = {"shortest": options.shortest, "longest": options.longest}
    with misuse_ends(parser):
        model = train_synthetic_sentiment(
            options.arch,
            options.size,
            options.seed,
            soft=not options.hard,
            **lengths,
            updates=options.steps,
            learning_rate=options.learning_rate,
            checkpoint=checkpoint,
            show_progress=not options.quiet,
        )
    right, agreement = evaluate_synthetic_sentiment(model, **lengths)
    _logger.info(
        "Accuracy %.4f where sums are not zero, correlation of logits with sums %.4f.",
        right,
        agreement,
    )
    about = {
        "seed": str(options.seed),
        "updates": str(options.steps),
        "learning_rate": str(options.learning_rate),
        "labels": "hard" if options.hard else "soft",
        "lengths": f"{options.shortest} to {options.longest}",
        "accuracy": f"{right:.4f}",
    }
    save_synthetic_sentiment(model, options.out, about=about)
    checkpoint.path.unlink(missing_ok=True)


def _parser() -> argparse.ArgumentParser:
    parser = training_parser(
        "synthetic_sentiment",
        _DESCRIPTION,
        _EPILOG,
        size=32,
        updates=2000,
        learning_rate=5e-3,
        archs=CELLS,
    )
    add = parser.add_argument
    add("--hard", action="store_true", help="labels are signs, not probabilities")
    add("--shortest", type=int, default=SHORTEST, help="tokens at least (%(default)s)")
    add("--longest", type=int, default=LONGEST, help="tokens at most (%(default)s)")
    return parser


if __name__ == "__main__":
    main()
