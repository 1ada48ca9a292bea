"""The eight panels of the overview, as in figure 3 of the paper on sentiment."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from captum_dynamics import plots
from captum_dynamics.findings import Findings
from captum_dynamics.report._picture import Picture, picture
from captum_dynamics.report._table import LIMIT, decay, number, share, table

NEAR_ONE = 0.8  # |cos| that the alternative text counts as aligned


def panels(findings: Findings) -> list[Picture]:
    """Draw the panels in the paper's order."""
    return [
        _variance(findings),
        _density(findings),
        _slow_points(findings),
        _time_constants(findings),
        _input_effects(findings),
        _projections(findings),
        _modes(findings),
        _alignment(findings),
    ]


def word_names(findings: Findings) -> list[str]:
    """Name every input; those without a name by their number."""
    return [name or f"input {row}" for row, name in enumerate(findings.words.names)]


def noun(findings: Findings) -> str:
    """What the inputs are called: words, where they have names."""
    return "word" if any(findings.words.names) else "input"


def _variance(findings: Findings) -> Picture:
    visits = findings.visits
    trained, untrained = (part.tolist() for part in visits.cumulative)
    dims = visits.dims_for(0.9, visits.variance)
    alt = f"{dims} components hold 90 % of the variance when trained"
    if untrained:
        fresh = visits.dims_for(0.9, visits.untrained_variance)
        alt += f", {fresh} with fresh random weights"
    missing = ["unknown"] * max(0, len(trained) - len(untrained))
    return picture(
        plots.plot_variance(visits),
        "Dimensions in use",
        "Share of the variance of visited states in the first principal components. "
        "Untrained: the same layer with fresh weights on the same inputs.",
        f"{alt}.",
        table(
            ("components", "trained", "untrained"),
            range(1, len(trained) + 1),
            trained,
            [*untrained, *missing],
        ),
    )


def _density(findings: Findings) -> Picture:
    visits = findings.visits
    return picture(
        plots.plot_density(visits),
        "Visited states",
        "How often the layer is in each part of the plane of its first two principal "
        "components, on a log scale.",
        f"Density of {len(visits.plane):,} visited states in the plane.",
        table(
            ("component 1", "component 2", "readout w.h"),
            *_columns(visits.plane),
            visits.readouts.tolist(),
        ),
    )


def _slow_points(findings: Findings) -> Picture:
    slow = findings.manifold
    plane = findings.visits.project(slow.points.states)
    return picture(
        plots.plot_slow_points(findings),
        "Slow and fixed points",
        "Where visited states linger once the input is held constant, coloured by "
        "their place along the line. Filled circles attract, rings are saddles.",
        f"{len(slow)} slow points and {len(findings.points)} distinct points of the "
        f"search over the visited states.",
        table(
            ("theta", "component 1", "component 2", "residual |F(h) - h|"),
            slow.theta.tolist(),
            *_columns(plane),
            slow.points.residual_norms.tolist(),
        ),
    )


def _time_constants(findings: Findings) -> Picture:
    slow = findings.manifold
    times = slow.linearization.time_constants.T.tolist()
    fades = [[_fading(steps) for steps in mode] for mode in times[:2]]
    growth = slow.linearization.growth_times[:, 0].tolist()
    alt = f"Mode 1 grows at {share(slow.growing_share)} of the slow points."
    if not math.isnan(slow.memory):
        alt = f"Median steps until mode 1 fades: {decay(slow.memory)}. {alt}"
    return picture(
        plots.plot_time_constants(slow),
        "Memory",
        "Steps in which the two slowest modes fade to 1/e, at each slow point. "
        "Triangles mark points where a mode grows, with the steps in which it doubles.",
        alt,
        table(
            ("theta", "mode 1 doubles in", "mode 1 fades in", "mode 2 fades in")[
                : 2 + len(fades)
            ],
            slow.theta.tolist(),
            ["does not grow" if math.isnan(steps) else steps for steps in growth],
            *fades,
        ),
    )


def _fading(steps: float) -> str:
    return "grows" if math.isnan(steps) else decay(steps)


def _input_effects(findings: Findings) -> Picture:
    words, one = findings.words, noun(findings)
    rows = words.projections.abs().nan_to_num(-1).argsort(descending=True)[:LIMIT]
    chosen, names = rows.tolist(), word_names(findings)
    columns = (words.plane[rows], words.projections[rows, None])
    shown = table(
        (one, "along component 1", "along component 2", "kept by mode 1", "known"),
        [names[row] for row in chosen],
        *_columns(torch.cat(columns, dim=1)),
        words.scores[rows].tolist(),
    )
    left_out = len(names) - len(chosen)
    return picture(
        plots.plot_input_effects(words),
        f"Where {one}s push",
        f"Mean push of the state by each {one}, against the reference input. The "
        f"slowest mode keeps what lies along the arrow l\u2081.",
        f"Pushes of positive, neutral and negative {one}s, and the direction l1.",
        type(shown)(shown.columns, shown.rows, left_out),
    )


def _projections(findings: Findings) -> Picture:
    words, one = findings.words, noun(findings)
    summaries, classes = words.class_projections(), words.classes()
    means = [mean for mean, _ in summaries.values()]
    told = ", ".join(f"{name} {number(mean)}" for name, (mean, _) in summaries.items())
    return picture(
        plots.plot_projections(words),
        f"What {one}s write",
        f"Change of the output that each {one} leaves on the slowest mode. Bars are "
        f"standard deviations over slow points; in black, over the {one}s of a class.",
        f"Mean projection by class: {told}.",
        table(
            ("class", f"{one}s", "mean projection", "standard deviation", "strongest"),
            list(summaries),
            [len(rows) for rows in classes.values()],
            means,
            [spread for _, spread in summaries.values()],
            [_first_names(findings, rows) for rows in classes.values()],
        ),
    )


def _first_names(findings: Findings, rows: Tensor) -> str:
    sizes = findings.words.projections[rows].abs()
    names = word_names(findings)
    leading = rows[sizes.argsort(descending=True)[:8]]
    return ", ".join(names[row] for row in leading.tolist())


def _modes(findings: Findings) -> Picture:
    slow, visits = findings.manifold, findings.visits
    return picture(
        plots.plot_modes(findings),
        "What the slow mode keeps",
        "The direction r\u2081 that fades most slowly, at each slow point. On a line "
        "attractor the strokes follow the line.",
        f"Strokes along the leading eigenvector at {len(slow)} slow points.",
        table(
            ("theta", "component 1", "component 2", "r1 along 1", "r1 along 2"),
            slow.theta.tolist(),
            *_columns(visits.project(slow.points.states)),
            *_columns(visits.project_directions(slow.leading_axes[:, 0])),
        ),
    )


def _alignment(findings: Findings) -> Picture:
    slow = findings.manifold
    if len(slow):
        aligned = (slow.tangent_alignment > NEAR_ONE).double().mean()
        alt = (
            f"{share(float(aligned))} of the cosines with the local tangent exceed 0.8"
        )
    else:
        alt = "No slow points"
    return picture(
        plots.plot_alignment(slow),
        "Does it follow the line?",
        "Cosines of r\u2081 with the line of slow points, against unit vectors drawn "
        "at random.",
        f"{alt}.",
        table(
            ("theta", "|cos| with local tangent", "|cos| with main axis"),
            slow.theta.tolist(),
            slow.tangent_alignment.tolist(),
            slow.axis_alignment.tolist(),
        ),
    )


def _columns(matrix: Tensor) -> list[list[float]]:
    columns: list[list[float]] = matrix.T.tolist()
    return columns
