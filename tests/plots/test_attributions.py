"""Contributions along sequences: added up, and as coloured text."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
import torch
from captum.attr import Saliency

from captum_dynamics.attr import DynamicsAttribution, compare
from captum_dynamics.findings import Documents, Explanation
from captum_dynamics.plots import plot_accumulation, text_html
from captum_dynamics.plots.text import text_style
from tests.analyses import small_analysis
from tests.attr.models import gru, vectors


def documents(contributions: list[float], *tokens: str) -> Documents:
    values = torch.tensor([contributions], dtype=torch.float64)
    ours = Explanation("Ours", values, torch.zeros(1), 0.1)
    valid = torch.ones_like(values, dtype=torch.bool)
    return Documents((tokens,), values.sum(1), torch.zeros(1), valid, (ours,))


def test_contributions_add_up_from_the_baseline_to_the_output() -> None:
    given = small_analysis().documents
    _, ax = plot_accumulation(given, document=1)
    labels = [line.get_label() for line in ax.get_lines()]
    assert labels[1:] == ["DynamicsAttribution", "IntegratedGradients"]
    for line in ax.get_lines()[1:]:
        total = line.get_ydata()
        assert total[0] == pytest.approx(float(given.baseline_outputs[1]))
        assert total[-1] == pytest.approx(float(given.outputs[1]), abs=1e-3)


def test_steps_after_the_end_of_a_sequence_do_not_count() -> None:
    given = documents([1.0, 2.0, 9.0], "a", "b")
    given = replace(given, valid=torch.tensor([[True, True, False]]))
    _, ax = plot_accumulation(given)
    assert ax.get_lines()[1].get_ydata().tolist() == [0.0, 1.0, 3.0]


def test_outputs_that_are_not_known_are_said_to_be_so() -> None:
    given = Documents.of([["a", "b"]], {"mine": torch.ones(1, 2)})
    _, ax = plot_accumulation(given)
    assert [text.get_text() for text in ax.texts] == ["The outputs are not known."]


def test_a_comparison_becomes_coloured_text_in_two_lines() -> None:
    model, x = gru(), vectors(2)
    methods = {"ours": DynamicsAttribution(model, model.rnn), "size": Saliency(model)}
    result = compare(methods, x, target=1, points=1, n_perturb_samples=0)
    documents = Documents.of([["a"] * 7, ["b"] * 3], result.attributions)
    page = text_html(documents)
    assert len(Spans(page).found) == 2 * (7 + 3)
    total = float(result["ours"].attributions[1, 2].sum())
    assert ["b", f"{total:+.4g}"] in [[t, n] for _, n, t in Spans(page).found]
    assert page.count("own scale") == 2  # of the sizes, which have no delta


class Spans(HTMLParser):
    """Collects class, title and text of every span with a title."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[list[str]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "span" and "title" in given:
            self.found.append([given["class"] or "", given["title"] or "", ""])

    def handle_data(self, data: str) -> None:
        if self.found and not self.found[-1][2]:
            self.found[-1][2] = data


def test_colours_are_symmetric_around_zero_and_titles_hold_the_numbers() -> None:
    page = text_html(documents([2.0, -2.0, 0.0, 1.0], "a", "b", "c", "d"))
    assert Spans(page).found == [
        ["p10", "+2", "a"],
        ["n10", "-2", "b"],
        ["z", "+0", "c"],
        ["p5", "+1", "d"],
    ]


def test_methods_that_promise_a_sum_share_a_scale_and_others_have_their_own() -> None:
    given = documents([1.0], "a")
    (ours,) = given.explanations
    larger = replace(ours, method="Larger", contributions=torch.tensor([[2.0]]))
    lost = torch.tensor([torch.nan])
    other = replace(
        ours, method="Other", contributions=torch.tensor([[50.0]]), deltas=lost
    )
    page = text_html(replace(given, explanations=(ours, larger, other)))
    assert [shade for shade, _, _ in Spans(page).found] == ["p5", "p10", "p10"]
    assert page.count("own scale ±50") == 1


def test_tokens_and_methods_are_escaped() -> None:
    given = documents([1.0], "<script>alert('&')</script>")
    (ours,) = given.explanations
    page = text_html(replace(given, explanations=(replace(ours, method="<i>x"),)))
    assert "<script" not in page
    assert "<i>" not in page
    assert "&lt;script&gt;alert(&#x27;&amp;&#x27;)&lt;/script&gt;" in page


def test_a_number_that_is_none_is_said_to_be_none() -> None:
    page = text_html(documents([float("nan"), 1.0], "a", "b"))
    assert Spans(page).found[0] == ["none", "not defined", "a"]


def test_long_sequences_are_cut_with_a_note() -> None:
    page = text_html(documents([1.0] * 50, *["a"] * 50), max_steps=20)
    assert len(Spans(page).found) == 20
    assert "30 further steps are left out" in page


def test_every_shade_is_readable() -> None:
    looks = re.findall(r"background: #(\w{6}); color: #(\w{3})", text_style())
    assert len(looks) == 20
    for paint, ink in looks:
        parts = [int(paint[i : i + 2], 16) / 255 for i in (0, 2, 4)]
        linear = [
            p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts
        ]
        back = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
        front = 0.0 if ink == "000" else 1.0
        lighter, darker = max(back, front), min(back, front)
        assert (lighter + 0.05) / (darker + 0.05) >= 4.5
