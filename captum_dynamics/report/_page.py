"""Everything the template shows, in one object."""

from __future__ import annotations

import re
from dataclasses import dataclass

from markupsafe import Markup

from captum_dynamics.findings import Findings, Visits
from captum_dynamics.fixed_points import Kind
from captum_dynamics.plots.text import text_key, text_style
from captum_dynamics.report import _sections
from captum_dynamics.report._panels import noun, panels
from captum_dynamics.report._picture import Picture
from captum_dynamics.report._table import Table, decay, share
from captum_dynamics.report.summary import summarize

# "WORDS  up: good, fine." has its heading in capitals before two spaces.
_HEADED = re.compile(r"^([A-Z][A-Z ]*[A-Z])  (.*)$", re.DOTALL)


@dataclass(frozen=True)
class Page:
    """The content of a report.

    Attributes:
        title: of the page.
        subtitle: what was analysed.
        figures: key figures, as pairs of name and value.
        summary: paragraphs, as pairs of heading and text.
        panels: the eight pictures of the overview.
        points: table of the distinct points.
        spectrum: picture of their multipliers.
        graph: picture of their connections.
        nouns: what the inputs are called.
        words: tables of the strongest of them.
        agreement: table of the methods.
        key: legend of the coloured text.
        documents: explained sequences.
        documents_left_out: number of explained sequences that are not shown.
        settings: tables of settings, releases and times.
        text_style: style sheet of the coloured text.
    """

    title: str
    subtitle: str
    figures: list[tuple[str, str]]
    summary: list[tuple[str, str]]
    panels: list[Picture]
    points: Table
    spectrum: Picture
    graph: Picture
    nouns: str
    words: list[tuple[str, Table]]
    agreement: Table
    key: Markup
    documents: list[_sections.Document]
    documents_left_out: int
    settings: list[tuple[str, Table]]
    text_style: Markup


def page(findings: Findings) -> Page:
    """Collect texts, tables and pictures."""
    setting, documents = findings.setting, _sections.documents(findings)
    place = f" at {setting.path!r}" if setting.path else ""
    return Page(
        title=f"How the {setting.layer} of {setting.model} computes",
        subtitle=(
            f"{setting.layer}{place}, {setting.state_dim} state dimensions; "
            f"{setting.sequences:,} sequences with {setting.steps:,} steps; "
            f"explained: {setting.target}."
        ),
        figures=_figures(findings),
        summary=_paragraphs(summarize(findings)),
        panels=panels(findings),
        points=_sections.point_table(findings),
        spectrum=_sections.spectrum(findings),
        graph=_sections.graph(findings),
        nouns=f"{noun(findings).capitalize()}s",
        words=_sections.word_tables(findings),
        agreement=_sections.agreement(findings),
        # Style and key hold no text from outside.
        key=Markup(text_key(findings.documents)),
        documents=documents,
        documents_left_out=len(findings.documents.tokens) - len(documents),
        settings=_sections.settings(findings),
        text_style=Markup(text_style()),
    )


def _figures(findings: Findings) -> list[tuple[str, str]]:
    visits, slow = findings.visits, findings.manifold
    dims, held = (
        str(visits.dims_for(0.9, visits.variance)),
        "components for 90 % of the variance",
    )
    if len(visits.untrained_variance):
        fresh = Visits.dims_for(0.9, visits.untrained_variance)
        held += f" ({fresh} untrained)"
    figures = [
        (held, dims),
        ("fixed points found", str(int((findings.points.kind == Kind.FIXED).sum()))),
        ("of visited states stay slow", share(slow.slow_share)),
    ]
    if len(slow):
        figures += [
            ("steps until mode 1 fades (median)", decay(round(slow.memory, 1))),
            ("of the readout's range covered", share(findings.coverage)),
        ]
    explanations = findings.documents.explanations
    if explanations and explanations[0].complete:
        error = float(explanations[0].deltas.abs().max())
        figures.append(("largest error of the attributions' sum", f"{error:.1e}"))
    return figures


def _paragraphs(summary: str) -> list[tuple[str, str]]:
    parts = [part for part in summary.split("\n\n") if part.strip()]
    found = ((_HEADED.match(part), part) for part in parts)
    return [
        (match[1].capitalize(), _sentence(match[2])) if match else ("", part)
        for match, part in found
    ]


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
