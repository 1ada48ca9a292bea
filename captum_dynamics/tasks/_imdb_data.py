"""IMDB reviews: reading them and holding some out by a fixed rule."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from captum_dynamics.models.vocabulary import SPECIAL_WORDS, Vocabulary, tokenize


class Review(NamedTuple):
    """One review: its text, and 1 for a positive or 0 for a negative one."""

    text: str
    label: int


class Split(NamedTuple):
    """Reviews to learn from, and reviews to judge by."""

    training: list[Review]
    held_out: list[Review]


def read_reviews(path: str | os.PathLike[str]) -> list[Review]:
    """Read reviews from a file with one JSON object per line.

    Args:
        path: A `.jsonl` file, gzipped if its name ends in `.gz`, whose lines look like
            `{"text": "...", "label": 1}`.

    Returns:
        The reviews in the file's order.

    Raises:
        ValueError: If a line has another form.
    """
    file = Path(path)
    data = file.read_bytes()
    plain = gzip.decompress(data) if file.suffix == ".gz" else data
    # Only newlines end a line: str.splitlines would also break inside reviews.
    lines = plain.decode("utf-8").rstrip("\n").split("\n")
    return [_parse(line, number) for number, line in enumerate(lines, start=1)]


def _parse(line: str, number: int) -> Review:
    """Read one line."""
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"Expected JSON in line {number} of the reviews.") from error
    return _review(row, f"line {number} of the reviews")


def _review(row: Any, place: str) -> Review:
    """Check the form of one row."""
    if (
        not isinstance(row, dict)
        or not isinstance(row.get("text"), str)
        or row.get("label") not in (0, 1)
        or not tokenize(row["text"])
    ):
        raise ValueError(
            f'Expected {{"text": some words, "label": 0 or 1}} in {place}.'
        )
    return Review(row["text"], int(row["label"]))


def download_reviews(split: str = "train") -> list[Review]:
    """Fetch 25,000 reviews of `stanfordnlp/imdb`.

    Args:
        split: "train", or "test" for the official test set.

    Returns:
        The reviews in the data set's order.

    Raises:
        ImportError: If the package `datasets` is missing.
        ConnectionError: If they cannot be fetched, as without a network.
    """
    if split not in ("train", "test"):
        raise ValueError(f'Expected `split` to be "train" or "test", got {split!r}.')
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise ImportError(
            "Downloading IMDB needs the package `datasets`: pip install datasets, or "
            "pass your own copy by --data."
        ) from error
    try:
        rows = load_dataset("stanfordnlp/imdb", split=split)
    except Exception as error:  # of several libraries, which share no base
        raise ConnectionError(
            "Expected `datasets` to fetch stanfordnlp/imdb, or to have a copy of it, "
            f"got {type(error).__name__}; without a network, pass your own copy by "
            "--data."
        ) from error
    return [_review(dict(row), f"row {index}") for index, row in enumerate(rows)]


def hold_out(reviews: Iterable[Review], count: int) -> Split:
    """Hold out exactly `count` reviews, whatever order they come in.

    The rule: sort by the SHA-256 digest of the words (`tokenize`, joined by spaces)
    and take from the front. Copies of a review share their digest and go to the same
    side; a group of copies that no longer fits is passed over. Nothing is random, so
    two people with the same reviews hold out the same ones.

    Reviews of one *film* may fall on both sides, unlike in IMDB's own test set.

    Args:
        reviews: All reviews.
        count: How many to hold out.

    Returns:
        Both sides, each sorted by digest.

    Raises:
        ValueError: If no such split leaves both sides filled.
    """
    groups: defaultdict[str, list[Review]] = defaultdict(list)
    for review in reviews:
        groups[_digest(review.text)].append(review)
    split = Split([], [])
    for _, copies in sorted(groups.items()):
        fits = len(split.held_out) + len(copies) <= count
        # Copies may differ in mark-up; sorted, they too forget the order they came in.
        (split.held_out if fits else split.training).extend(sorted(copies))
    if len(split.held_out) != count or not split.held_out or not split.training:
        total = len(split.held_out) + len(split.training)
        raise ValueError(
            f"Expected `count` between 1 and the {total} reviews less one, got {count}."
        )
    return split


def _digest(text: str) -> str:
    """Fingerprint a text by its words alone."""
    return hashlib.sha256(" ".join(tokenize(text)).encode("utf-8")).hexdigest()


def build_vocabulary(
    texts: Sequence[str], *, size: int, max_words: int = 400
) -> Vocabulary:
    """Collect the most frequent words, ties in alphabetical order.

    Args:
        texts: Training texts only; held-out words must stay unknown.
        size: Number of words at most, the two special ones included.
        max_words: Count only the last words of a text, those a network reads.

    Returns:
        The special words, then the others by falling frequency.
    """
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(tokenize(text)[-max_words:])
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    return Vocabulary((*SPECIAL_WORDS, *ranked[: size - len(SPECIAL_WORDS)]))
