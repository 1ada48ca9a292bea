"""The 2,000 film reviews of Pang and Lee (2004) that nltk gives out as a corpus.

Only its files are read: nltk itself need not be installed.
"""

from __future__ import annotations

import os
import sys
import zipfile
from pathlib import Path

from captum_dynamics.exceptions import FileFormatError
from captum_dynamics.tasks._imdb_data import Review

__all__ = ["Review", "load_movie_reviews"]

CORPUS = "movie_reviews"
_LABELS = {"neg": 0, "pos": 1}


def load_movie_reviews(path: str | os.PathLike[str] | None = None) -> list[Review]:
    """Read the corpus `movie_reviews` of nltk.

    Its texts are lower case already, with blanks around every punctuation mark. For
    held-out reviews see `tasks.imdb.hold_out`, for a network's input `encode_reviews`.

    Args:
        path: the corpus, as a folder with "neg" and "pos" or as the zip file of one, or
            a folder `nltk_data` that holds it; by default the places where nltk looks,
            the environment variable NLTK_DATA first.

    Returns:
        Negative reviews, then positive ones, each in the order of their names.

    Raises:
        FileNotFoundError: if the corpus is not there.
        FileFormatError: if a zip file is damaged, or it is another corpus.

    References:
        Pang and Lee (2004), A sentimental education, ACL; polarity data set v2.0.

    Example:
        >>> load_movie_reviews("nowhere")
        Traceback (most recent call last):
            ...
        FileNotFoundError: Expected nltk's corpus movie_reviews in nowhere, found ...
    """
    places = nltk_folders() if path is None else [Path(path)]
    found = next((kept for place in places for kept in _kept_in(place)), None)
    if found is None:
        looked = ", ".join(map(str, places))
        raise FileNotFoundError(
            f"Expected nltk's corpus {CORPUS} in {looked}, found none; fetch it with "
            f"`python -m nltk.downloader {CORPUS}`, or give the `path` of a copy."
        )
    texts = _zipped(found) if found.is_file() else _unzipped(found)
    if {name.split("/")[0] for name in texts} != set(_LABELS):
        raise FileFormatError(
            f"Expected texts in the folders neg and pos of {found}, got {len(texts)} "
            f"in others."
        )
    return [
        Review(texts[name].decode("utf-8"), _LABELS[name.split("/")[0]])
        for name in sorted(texts)
    ]


def nltk_folders() -> list[Path]:
    """Where nltk looks for its data on this machine."""
    given = os.environ.get("NLTK_DATA", "")
    bases = [Path(part) for part in given.split(os.pathsep) if part]
    bases.append(Path.home() / "nltk_data")
    bases += [Path(sys.prefix) / part / "nltk_data" for part in ("", "share", "lib")]
    bases += [Path("/usr/share/nltk_data"), Path("/usr/local/share/nltk_data")]
    return bases


def _kept_in(place: Path) -> list[Path]:
    """The corpus itself, or what holds it in a folder of nltk's data."""
    if place.is_file() or (place / "pos").is_dir():
        return [place]
    corpora = place / "corpora"
    folder, packed = corpora / CORPUS, corpora / f"{CORPUS}.zip"
    return [p for p in (folder, packed) if p.is_file() or (p / "pos").is_dir()]


def _unzipped(folder: Path) -> dict[str, bytes]:
    """Contents by names such as "pos/cv000_29590.txt"."""
    files = [file for label in _LABELS for file in (folder / label).glob("*.txt")]
    return {f"{file.parent.name}/{file.name}": file.read_bytes() for file in files}


def _zipped(file: Path) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(file) as archive:
            names = [n for n in archive.namelist() if n.endswith(".txt")]
            return {"/".join(n.split("/")[-2:]): archive.read(n) for n in names}
    except zipfile.BadZipFile as error:
        raise FileFormatError(f"{file} is truncated, or no zip file.") from error
