"""Film reviews for the experiments that read some: the user's, or fetched ones."""

from __future__ import annotations

from captum_dynamics.experiments._bench import Bench
from captum_dynamics.tasks.imdb import Review, download_reviews, read_reviews


def find_reviews(bench: Bench) -> list[Review]:
    """The user's file, else the reviews that `datasets` fetches.

    Raises:
        ValueError: for a file that is none of reviews.
        ImportError: without the package `datasets`.
        ConnectionError: without a network.
    """
    path = bench.options.data
    return download_reviews() if path is None else read_reviews(path)
