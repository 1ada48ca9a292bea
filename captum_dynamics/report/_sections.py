"""Sections below the overview: points, graph, words, attributed text, settings."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from captum_dynamics import plots
from captum_dynamics.findings import Findings
from captum_dynamics.fixed_points import Kind
from captum_dynamics.linearization import Stability
from captum_dynamics.plots.fixed_point_graph import hidden
from captum_dynamics.plots.text import text_rows
from captum_dynamics.report._panels import noun, word_names
from captum_dynamics.report._picture import Picture, picture
from captum_dynamics.report._table import LIMIT, Table, decay, number, share, table

DOCUMENTS = 12  # sequences shown with text and picture
MODES = 10  # multipliers listed of each point
STRONGEST = 20  # words listed on each side


@dataclass(frozen=True)
class Document:
    """One explained sequence.

    Attributes:
        title: heading.
        facts: its output, the output under the baseline, and the change.
        text: coloured text, a row a method.
        picture: contributions added up.
    """

    title: str
    facts: str
    text: Markup
    picture: Picture


def point_table(findings: Findings) -> Table:
    """List the distinct points with all that decides about them."""
    points, linear = findings.points, findings.linearization
    nodes = findings.graph.graph.nodes
    basins = [
        share(nodes[row]["basin_fraction"]) if "basin_fraction" in nodes[row] else "-"
        for row in range(len(points))
    ]
    return table(
        (
            "point",
            "kind",
            "stability",
            "unstable dims",
            "|leading multiplier|",
            "slowest decay (steps)",
            "residual",
            "found",
            "basin",
        ),
        range(len(points)),
        [Kind(kind).name.lower() for kind in points.kind.tolist()],
        [Stability(verdict).name.lower() for verdict in linear.stability.tolist()],
        linear.unstable_dims.tolist(),
        [f"{size:.6f}" for size in linear.spectral_radius.tolist()],
        [decay(steps) for steps in linear.slowest_decay.tolist()],
        points.residual_norms.tolist(),
        [f"{count} times" for count in points.multiplicity.tolist()],
        basins,
    )


def spectrum(findings: Findings) -> Picture:
    """Draw the multipliers of the points."""
    linear = findings.linearization
    values = linear.eigenvalues[:, :MODES]
    count, modes = values.shape
    flat = values.reshape(-1)
    sizes = ", ".join(number(size) for size in linear.spectral_radius[:5].tolist())
    return picture(
        plots.plot_spectrum(linear),
        "Spectrum",
        "Multipliers of the linearized step at each point. Inside the unit circle a "
        "deviation fades, outside it grows; next to 1 it stays.",
        f"Eigenvalues of {count} points; the largest magnitudes are {sizes or 'none'}.",
        table(
            ("point", "mode", "real part", "imaginary part", "magnitude"),
            [row for row in range(count) for _ in range(modes)],
            [mode + 1 for _ in range(count) for mode in range(modes)],
            flat.real.tolist(),
            flat.imag.tolist(),
            flat.abs().tolist(),
        ),
    )


def graph(findings: Findings) -> Picture:
    """Draw the graph of points in the plane of visited states."""
    found = findings.graph
    edges = list(found.graph.edges(data=True))
    visits = findings.visits
    # The graph's own coordinates tell apart what hides in the visited plane.
    own = hidden(visits.project(findings.points.states))
    figure, ax = plots.plot_graph(found, project=None if own else visits.project)
    if not own:
        ax.set_xlabel("component 1 of visited states")
        ax.set_ylabel("component 2 of visited states")
    return picture(
        (figure, ax),
        "Connections",
        "Arrows follow the unstable directions of a point to where they end, and are "
        "the wider the more directions went there.",
        f"{found.graph.number_of_nodes()} nodes and {len(edges)} connections.",
        table(
            ("from", "to", "directions", "tried", "steps", "distance", "verified"),
            [source for source, _, _ in edges],
            [target for _, target, _ in edges],
            *(
                [data.get(name, "not finite") for _, _, data in edges]
                for name in ("directions", "tried", "transit_steps", "distance")
            ),
            ["yes" if data["verified"] else "no" for _, _, data in edges],
        ),
    )


def word_tables(findings: Findings) -> list[tuple[str, Table]]:
    """List the words that push the readout most, in both directions."""
    words, names = findings.words, word_names(findings)
    columns = (noun(findings), "projection", "spread over points", "known score")
    known = 3 if bool(words.scores.isnan().all()) else 4
    sides = {
        "Push up": words.ranked(STRONGEST, positive=True),
        "Push down": words.ranked(STRONGEST, positive=False),
    }
    return [
        (
            title,
            table(
                columns[:known],
                [names[row] for row in rows.tolist()],
                words.projections[rows].tolist(),
                words.spreads[rows].tolist(),
                *[words.scores[rows].tolist()][: known - 3],
            ),
        )
        for title, rows in sides.items()
    ]


def agreement(findings: Findings) -> Table:
    """Compare the methods: agreement with ours, completeness, time."""
    documents = findings.documents
    explanations = documents.explanations
    largest = [
        number(float(e.deltas.abs().max())) if e.complete else "no sum promised"
        for e in explanations
    ]
    return table(
        ("method", "correlation with the first", "largest |delta|", "seconds"),
        [explanation.method for explanation in explanations],
        [documents.agreement(row) for row in range(len(explanations))],
        largest,
        [explanation.seconds for explanation in explanations],
    )


def documents(findings: Findings) -> list[Document]:
    """Show the first explained sequences."""
    if not findings.documents.explanations:
        return []
    count = min(DOCUMENTS, len(findings.documents.tokens))
    return [_document(findings, row) for row in range(count)]


def _document(findings: Findings, row: int) -> Document:
    given = findings.documents
    output, baseline = float(given.outputs[row]), float(given.baseline_outputs[row])
    names = given.tokens[row]
    facts = (
        f"Output {number(output)}; under the baseline {number(baseline)}; "
        f"change {output - baseline:+.4g}; {len(names)} steps."
    )
    title = f"Sequence {row + 1}"
    drawn = picture(
        plots.plot_accumulation(given, document=row),
        title,
        "Contributions added up, from the output under the baseline to the output.",
        f"From {number(baseline)} to {number(output)} over {len(names)} steps.",
        table(
            ("step", "token", *(e.method for e in given.explanations)),
            range(1, len(names) + 1),
            names,
            *(e.contributions[row].tolist() for e in given.explanations),
            limit=LIMIT,
        ),
    )
    # `text_rows` escapes every token itself.
    return Document(title, facts, Markup(text_rows(given, row)), drawn)


def settings(findings: Findings) -> list[tuple[str, Table]]:
    """Say what was analysed, with which releases, in what time."""
    s = findings.setting
    what = {
        "model": s.model,
        "layer": f"{s.layer} at {s.path!r}" if s.path else s.layer,
        "state": f"{s.state_dim} dimensions ({', '.join(s.blocks)})",
        "inputs": f"{s.input_dim} dimensions",
        "recorded": f"{s.sequences:,} sequences, {s.steps:,} steps",
        "explained": s.target,
        "median step in use": number(findings.visits.task_step),
        "seed": str(s.seed),
        "all searches": s.search,
    }
    return [
        ("Setting", _pairs(what)),
        ("Releases", _pairs(s.versions)),
        ("Seconds", _pairs({k: f"{v:.2f}" for k, v in s.seconds.items()})),
    ]


def _pairs(values: dict[str, str]) -> Table:
    return table(("name", "value"), list(values), list(values.values()))
