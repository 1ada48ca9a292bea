"""The reviews of nltk: read from a folder or a zip file, or said to be missing."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest

from captum_dynamics.exceptions import FileFormatError
from captum_dynamics.tasks.imdb import hold_out
from captum_dynamics.tasks.movie_reviews import Review, load_movie_reviews

REAL_DATA = os.environ.get("CAPTUM_DYNAMICS_NLTK", "")
TEXTS = {
    "pos/cv001_2.txt": "a great film . \n",
    "pos/cv000_9.txt": "caf\u00e9 society \n",
    "neg/cv000_1.txt": "dull and long . \n",
}
WANTED = [
    Review(TEXTS["neg/cv000_1.txt"], 0),
    Review(TEXTS["pos/cv000_9.txt"], 1),
    Review(TEXTS["pos/cv001_2.txt"], 1),
]


def write_folder(base: Path) -> Path:
    folder = base / "corpora" / "movie_reviews"
    for name, text in TEXTS.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "README").write_text("Movie reviews.")
    return folder


def write_zip(base: Path) -> Path:
    (base / "corpora").mkdir(parents=True)
    file = base / "corpora" / "movie_reviews.zip"
    with zipfile.ZipFile(file, "w") as archive:
        for name, text in {**TEXTS, "README": "Movie reviews."}.items():
            archive.writestr(f"movie_reviews/{name}", text)
    return file


@pytest.mark.parametrize("write", [write_folder, write_zip], ids=["folder", "zip"])
def test_reviews_are_read_from_the_corpus_and_from_what_holds_it(
    write: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = write(tmp_path)
    assert load_movie_reviews(corpus) == WANTED
    assert load_movie_reviews(tmp_path) == WANTED
    monkeypatch.setenv("NLTK_DATA", os.pathsep.join(["nowhere", str(tmp_path)]))
    assert load_movie_reviews() == WANTED


def test_a_missing_corpus_is_said_to_be_missing_and_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FileNotFoundError, match=r"nltk.downloader movie.*`path`"):
        load_movie_reviews(tmp_path)
    monkeypatch.setattr(
        "captum_dynamics.tasks.movie_reviews.nltk_folders", lambda: [tmp_path / "no"]
    )
    with pytest.raises(FileNotFoundError, match=r"in .*no, found none"):
        load_movie_reviews()


def test_damaged_and_foreign_files_are_refused(tmp_path: Path) -> None:
    file = write_zip(tmp_path)
    file.write_bytes(file.read_bytes()[:-30])
    with pytest.raises(FileFormatError, match="truncated, or no zip file"):
        load_movie_reviews(file)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("polarity/rt.txt", "dull")
    with pytest.raises(FileFormatError, match="folders neg and pos"):
        load_movie_reviews(file)


@pytest.mark.skipif(
    not REAL_DATA, reason="CAPTUM_DYNAMICS_NLTK does not name a folder nltk_data"
)
def test_the_corpus_has_a_thousand_reviews_of_each_kind() -> None:
    reviews = load_movie_reviews(REAL_DATA)
    labels = [review.label for review in reviews]
    assert labels == [0] * 1000 + [1] * 1000
    assert len(hold_out(reviews, 400).training) == 1600
