"""The report is one whole file with everything in it, or a clear sentence."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch

from captum_dynamics import Kind
from captum_dynamics.analysis import Analysis
from captum_dynamics.plots import plot_variance
from captum_dynamics.report import write_report
from captum_dynamics.report._picture import picture
from captum_dynamics.report._table import number, table
from tests.analyses import (
    small_analysis,
    with_kind,
    with_nan,
    without_any_point,
)

VOID = {"img", "meta", "link", "br"}


class Page(HTMLParser):
    """Tags with their attributes, the visible text, and tags left open."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("report") / "report.html"
    assert small_analysis().report(path) == path
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(written: str) -> Page:
    return Page(written)


def test_the_page_is_well_formed(page: Page) -> None:
    assert page.open == []
    ids = [given["id"] for _, given in page.tags if "id" in given]
    assert len(ids) == len(set(ids))
    links = [given["href"] for given in page.all("a")]
    assert {f"#{name}" for name in ids} == set(links)


def test_the_page_needs_nothing_from_outside(written: str, page: Page) -> None:
    assert page.all("script") == []
    assert page.all("iframe") == []
    for _, given in page.tags:
        for name in ("src", "href", "srcset", "action", "data"):
            assert (given.get(name) or "#").startswith(("#", "data:"))
        assert not any(name.startswith("on") for name in given)
    assert not re.search(r"url\(|@import|https?://", written)


def test_the_page_stays_small(written: str) -> None:
    assert len(written) < 4_000_000


def test_every_picture_says_what_it_shows_and_brings_its_numbers(page: Page) -> None:
    images = page.all("img")
    sequences = len(small_analysis().documents.tokens)
    assert len(images) == 8 + 2 + sequences
    for image in images:
        assert (image["src"] or "").startswith("data:image/png;base64,")
        assert len(image["alt"] or "") > 10
    assert len(page.all("details")) == len(images)


def test_texts_from_outside_are_escaped(written: str, page: Page) -> None:
    assert page.all("b") == []
    assert "&lt;b&gt;bold&lt;/b&gt;" in written
    strongest = small_analysis().words.strongest(1, positive=True)[0]
    assert strongest.startswith("<w")
    assert strongest in page.text


def test_the_summary_and_the_settings_are_in_the_page(page: Page) -> None:
    analysis = small_analysis()
    seen = " ".join(page.text.split())
    for paragraph in analysis.summary().split("\n\n"):
        body = re.sub(r"^[A-Z ]+  ", "", paragraph)
        assert " ".join(body.split())[1:] in seen
    for release in analysis.setting.versions.values():
        assert release in seen


def test_the_points_are_listed_with_their_numbers(page: Page) -> None:
    linear = small_analysis().linearization
    assert f"{float(linear.spectral_radius[0]):.6f}" in page.text
    assert number(float(linear.points.residual_norms[0])) in page.text


@pytest.mark.usefixtures("coarse")
def test_inputs_without_names_are_not_called_words(tmp_path: Path, page: Page) -> None:
    path = write_report(small_analysis(1, named=False), tmp_path / "report.html")
    unnamed = Page(path.read_text(encoding="utf-8"))
    assert "Where words push" in page.text
    assert "known score" in page.text
    assert "Where inputs push" in unnamed.text
    assert "known score" not in unnamed.text


def test_methods_are_compared(page: Page) -> None:
    given = small_analysis().documents
    assert number(given.agreement(1)) in page.text
    assert "no sum promised" in page.text


Change = Callable[[Analysis], Analysis]


def without_methods(analysis: Analysis) -> Analysis:
    return replace(analysis, documents=replace(analysis.documents, explanations=()))


@pytest.mark.usefixtures("coarse")
@pytest.mark.parametrize(
    "change",
    [
        lambda a: without_any_point(without_methods(a)),
        lambda a: with_nan(with_kind(a, Kind.SLOW)),
        lambda _: small_analysis(1, named=False),
    ],
    ids=["nothing found", "nothing fixed, no numbers", "one dimension, no names"],
)
def test_a_report_stands_what_an_analysis_may_lack(
    tmp_path: Path, change: Change
) -> None:
    path = write_report(change(small_analysis()), tmp_path / "report.html")
    text = path.read_text(encoding="utf-8")
    assert Page(text).open == []
    assert "<td>nan</td>" not in text


@pytest.mark.usefixtures("coarse")
def test_of_many_sequences_the_first_are_shown(tmp_path: Path) -> None:
    analysis = small_analysis()
    given = analysis.documents
    rows = torch.zeros(40, dtype=torch.long)
    many = replace(
        given,
        tokens=given.tokens[:1] * 40,
        outputs=given.outputs[rows],
        baseline_outputs=given.baseline_outputs[rows],
        valid=given.valid[rows],
        explanations=tuple(
            replace(e, contributions=e.contributions[rows], deltas=e.deltas[rows])
            for e in given.explanations
        ),
    )
    path = write_report(replace(analysis, documents=many), tmp_path / "many.html")
    page = Page(path.read_text(encoding="utf-8"))
    assert len(page.all("article")) == 12
    assert "28 further sequences are left out" in page.text


def test_the_same_picture_gives_the_same_bytes() -> None:
    visits, nothing = small_analysis().visits, table(())
    first, second = (
        picture(plot_variance(visits), "title", "caption", "alt", nothing)
        for _ in range(2)
    )
    assert first.source == second.source


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "report.html"
    with pytest.raises(FileNotFoundError, match=r"missing does not exist") as caught:
        write_report(small_analysis(), path)
    assert str(path) in str(caught.value)


def test_a_folder_is_no_file_to_write(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match="it is a folder"):
        write_report(small_analysis(), tmp_path)


def test_a_file_is_no_folder_to_write_in(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("here")
    with pytest.raises(NotADirectoryError, match="is no folder"):
        write_report(small_analysis(), tmp_path / "file" / "report.html")


def test_no_right_to_write_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(PermissionError, match="no right to write"):
        write_report(small_analysis(), tmp_path / "report.html")


def test_a_failed_write_leaves_the_old_report_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("captum_dynamics.report._write.render", lambda _: "new")
    path = tmp_path / "report.html"
    path.write_text("old")

    def full(*_: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space left on device") as caught:
        write_report(small_analysis(), path)
    assert str(path) in str(caught.value)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_old_report_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("captum_dynamics.report._write.render", lambda _: "new")
    path = tmp_path / "report.html"
    path.write_text("old")
    write_report(small_analysis(), str(path))
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_long_table_says_how_many_rows_it_leaves_out() -> None:
    shown = table(("n",), range(1000), limit=200)
    assert len(shown.rows) == 200
    assert shown.left_out == 800
