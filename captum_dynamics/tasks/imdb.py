"""Train the shipped review classifiers: `python -m captum_dynamics.tasks.imdb`."""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from captum_dynamics.models.sentiment import (
    CELLS,
    SentimentClassifier,
    load_sentiment,
)
from captum_dynamics.models.vocabulary import SPECIAL_WORDS, Vocabulary
from captum_dynamics.tasks._command import add_resume, checkpoint_of, positive
from captum_dynamics.tasks._documents import Documents, Recipe, accuracy, logits, train
from captum_dynamics.tasks._imdb_data import (
    Review,
    Split,
    build_vocabulary,
    download_reviews,
    hold_out,
    read_reviews,
)

__all__ = [
    "Review",
    "Split",
    "download_reviews",
    "encode_reviews",
    "fit_word_scores",
    "hold_out",
    "main",
    "read_reviews",
]

_logger = logging.getLogger(__name__)

MAX_WORDS = 400
# Strong shrinkage: thousands of words are rare, and their coefficients must stay
# near zero to be comparable with those of frequent words.
INVERSE_PENALTY = 0.03

_DESCRIPTION = """\
Train a GRU or an LSTM to tell praise from blame in film reviews, beside a
bag-of-words logistic regression, and write them where load_sentiment finds them.

Of the reviews, some are held out by a fixed rule (a hash of their words, so the order
of the file does not matter; copies of a review stay on one side). The network reads
the last 400 words of a review and answers after the last one. Weights are rounded to
float16 before the accuracies of the model card are measured. On two cores an epoch
over 20,000 reviews takes one to two minutes.
"""

_EPILOG = """\
example:
  python -m captum_dynamics.tasks.imdb --data imdb_train.jsonl.gz --cell lstm --out nets

  >>> from captum_dynamics.models import load_sentiment
  >>> trained = load_sentiment("lstm", directory="nets")
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line: train one network and write its files.

    Args:
        argv: Arguments, by default those of the process; `--help` explains them.
    """
    options = _parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    reviews = read_reviews(options.data) if options.data else download_reviews()
    split = hold_out(reviews, options.held_out)
    vocabulary = build_vocabulary(
        [review.text for review in split.training],
        size=options.vocabulary_size,
        max_words=MAX_WORDS,
    )
    training = encode_reviews(vocabulary, split.training)
    held_out = encode_reviews(vocabulary, split.held_out)
    _logger.info(
        "%d reviews to learn from, %d held out, %d words.",
        len(training.ids),
        len(held_out.ids),
        len(vocabulary),
    )
    scores, bag_accuracy = fit_word_scores(training, held_out, size=len(vocabulary))
    _logger.info("Bag of words: %.2f %% held out.", 100 * bag_accuracy)
    folder = Path(options.out)
    _export_words(folder, vocabulary, training, scores)
    recipe = Recipe(epochs=options.epochs, seed=options.seed)
    checkpoint = checkpoint_of(folder / f"imdb_{options.cell}", resume=options.resume)
    started = time.perf_counter()
    model, by_epoch = train(
        len(vocabulary),
        training,
        held_out,
        recipe,
        cell=options.cell,
        checkpoint=checkpoint,
        show_progress=True,
    )
    card = {
        **_describe(options, recipe, training, held_out),
        "seconds": round(time.perf_counter() - started),
        "held_out_accuracy_by_epoch": [round(value, 4) for value in by_epoch],
        "bag_of_words_held_out_accuracy": round(bag_accuracy, 4),
    }
    _export_weights(folder, options.cell, model, card)
    _measure(folder, options.cell, model, training, held_out)
    checkpoint.path.unlink(missing_ok=True)


def encode_reviews(
    vocabulary: Vocabulary, reviews: Sequence[Review], *, max_words: int = MAX_WORDS
) -> Documents:
    """Turn reviews into word ids, the last words of each.

    Args:
        vocabulary: The words with an id of their own.
        reviews: Reviews of at least one word.
        max_words: Longest document kept.

    Returns:
        Documents in the order of the reviews.
    """
    return Documents(
        [vocabulary.encode(review.text)[-max_words:] for review in reviews],
        torch.tensor([review.label for review in reviews]),
    )


def fit_word_scores(
    training: Documents, held_out: Documents, *, size: int
) -> tuple[Tensor, float]:
    """Fit a bag-of-words logistic regression: which words occur, in any order.

    The reference that a recurrent network has to beat, and an independent opinion on
    what each word is worth. Features are 0 or 1 per word, so that a word's coefficient
    is what its presence adds to the logit. The special words have no feature.

    Args:
        training: Reviews to learn from.
        held_out: Reviews to judge by.
        size: Number of words.

    Returns:
        Coefficients of shape (size,), 0 for the special words, and the held-out
        accuracy.

    Raises:
        ImportError: If scikit-learn is missing.
    """
    try:
        from scipy.sparse import csr_matrix
        from sklearn.linear_model import LogisticRegression
    except ImportError as error:
        raise ImportError(
            "The bag-of-words regression needs scikit-learn: pip install scikit-learn."
        ) from error

    def presence(documents: Documents) -> csr_matrix:
        pairs = [
            (row, word)
            for row, ids in enumerate(documents.ids)
            for word in set(ids)
            if word >= len(SPECIAL_WORDS)
        ]
        rows, words = zip(*pairs, strict=True)
        shape = (len(documents.ids), size)
        return csr_matrix(([1.0] * len(pairs), (rows, words)), shape=shape)

    regression = LogisticRegression(C=INVERSE_PENALTY, max_iter=1000)
    regression.fit(presence(training), training.labels.numpy())
    right = regression.score(presence(held_out), held_out.labels.numpy())
    return torch.from_numpy(regression.coef_[0]).float(), float(right)


def _describe(
    options: argparse.Namespace,
    recipe: Recipe,
    training: Documents,
    held_out: Documents,
) -> dict[str, Any]:
    """Write down where a network comes from: the fixed part of its card."""
    source = Path(options.data).name if options.data else "stanfordnlp/imdb, train"
    data_option = f"--data {source} " if options.data else ""
    return {
        "cell": options.cell,
        "data": source,
        "split": (
            f"{len(training.ids)} for training, {len(held_out.ids)} held out: those "
            "with the smallest SHA-256 digest of their words, copies on one side"
        ),
        "input": f"last {MAX_WORDS} words, state read at the last word",
        "epochs": recipe.epochs,
        "epoch_shipped": "the last; held-out reviews choose nothing in this run",
        "seed": recipe.seed,
        "batch_size": recipe.batch_size,
        "learning_rate": recipe.learning_rate,
        "command": (
            f"python -m captum_dynamics.tasks.imdb {data_option}--cell {options.cell} "
            f"--epochs {recipe.epochs} --seed {recipe.seed} "
            f"--held-out {options.held_out} "
            f"--vocabulary-size {options.vocabulary_size}"
        ),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
    }


def _export_words(
    folder: Path, vocabulary: Vocabulary, training: Documents, scores: Tensor
) -> None:
    """Write the words with counts and scores, which both cells share.

    Done before training: a directory whose networks know other words is refused, for
    those would go on reading the new ids without complaint.
    """
    file = folder / "imdb_vocabulary.json"
    words = list(vocabulary.words)
    if file.exists() and json.loads(file.read_text("utf-8"))["words"] != words:
        raise FileExistsError(
            f"Expected a directory for these {len(words)} words, got {folder} with "
            f"networks for others; choose another --out."
        )
    read = torch.tensor([word for ids in training.ids for word in ids])
    table = {
        "words": words,
        "counts": torch.bincount(read, minlength=len(words)).tolist(),
        "scores": [round(value, 4) for value in scores.tolist()],
    }
    folder.mkdir(parents=True, exist_ok=True)
    _write_json(file, table, indent=None)


def _export_weights(
    folder: Path, cell: str, model: SentimentClassifier, card: dict[str, Any]
) -> None:
    """Write the weights in float16, and the card."""
    weights = {name: value.half() for name, value in model.state_dict().items()}
    # Through bytes, so that the file gets the usual permissions.
    (folder / f"imdb_{cell}.safetensors").write_bytes(save(weights, {"format": "pt"}))
    _write_json(folder / f"imdb_{cell}.json", card, indent=2)


def _measure(
    folder: Path,
    cell: str,
    model: SentimentClassifier,
    training: Documents,
    held_out: Documents,
) -> None:
    """Read the files back and add to the card what these very weights achieve."""
    shipped = load_sentiment(cell, directory=folder)
    found = logits(shipped.model, held_out)
    flipped = int(((found > 0) != (logits(model, held_out) > 0)).sum())
    card = {
        **shipped.card,
        "held_out_accuracy": round(accuracy(found, held_out.labels), 4),
        "training_accuracy": round(
            accuracy(logits(shipped.model, training), training.labels), 4
        ),
        "held_out_labels_flipped_by_float16": flipped,
    }
    _write_json(folder / f"imdb_{cell}.json", card, indent=2)
    _logger.info(
        "%s: %.2f %% held out in float16, which flips %d labels; files in %s.",
        cell,
        100 * card["held_out_accuracy"],
        flipped,
        os.fspath(folder),
    )


def _write_json(file: Path, content: dict[str, Any], *, indent: int | None) -> None:
    text = json.dumps(content, ensure_ascii=False, indent=indent)
    file.write_text(text + "\n", encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m captum_dynamics.tasks.imdb",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--data",
        metavar="FILE",
        help='your copy of the reviews, .jsonl or .jsonl.gz, one {"text": "...", '
        '"label": 0 or 1} per line; without it, stanfordnlp/imdb is fetched by the '
        "package `datasets`",
    )
    parser.add_argument(
        "--arch",
        "--cell",
        dest="cell",
        choices=sorted(CELLS),
        default="gru",
        help="the recurrent layer, 128 units (default: %(default)s)",
    )
    parser.add_argument(
        "--out",
        metavar="DIR",
        default="imdb_weights",
        help="directory to write: weights, vocabulary, card (default: %(default)s)",
    )
    add_resume(parser)
    _add_numbers(parser)
    return parser


def _add_numbers(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments that are whole numbers."""
    parser.add_argument(
        "--epochs",
        type=positive,
        default=4,
        help="passes over the training reviews; the learning rate reaches zero at the "
        "last (default: %(default)s)",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        help="seed of initial weights, order and dropout; equal seeds give equal "
        "weights on one machine with one number of threads (default: %(default)s)",
    )
    parser.add_argument(
        "--held-out",
        type=positive,
        default=5000,
        help="reviews kept for judging (default: %(default)s)",
    )
    parser.add_argument(
        "--vocabulary-size",
        type=positive,
        default=16000,
        help="most frequent words kept, two special ones included; the weights file "
        "takes 256 bytes per word (default: %(default)s)",
    )


if __name__ == "__main__":
    main()
