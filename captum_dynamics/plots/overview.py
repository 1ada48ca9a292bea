"""All that an analysis shows of one layer, and of several side by side."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from captum_dynamics.findings import Findings
from captum_dynamics.plots import _base
from captum_dynamics.plots.alignment import plot_alignment
from captum_dynamics.plots.density import plot_density
from captum_dynamics.plots.input_effects import plot_input_effects
from captum_dynamics.plots.modes import plot_modes
from captum_dynamics.plots.panels import panels
from captum_dynamics.plots.projections import plot_projections
from captum_dynamics.plots.slow_points import plot_slow_points
from captum_dynamics.plots.time_constants import plot_time_constants
from captum_dynamics.plots.variance import plot_variance

TITLES = (
    "dimensions in use",
    "visited states",
    "slow and fixed points",
    "memory",
    "where words push",
    "what words write",
    "what the slow mode keeps",
    "does it follow the line?",
)
COUNTS = (1, 2, 5, 10, 20, 50, 100)  # of components, on the axis
MODES = 3  # time constants that are compared


def plot_overview(findings: Findings) -> tuple[Figure, tuple[Axes, ...]]:
    """Draw the eight panels of an analysis in one figure.

    They are those of the report, in the order of figure 3 of the paper on sentiment
    networks (Maheswaranathan et al. 2019): each has a function of its own here.

    Args:
        findings: what `analyze` returned.

    Returns:
        The figure and its eight axes.
    """
    figure, axes = panels(TITLES, columns=4, width=3.9, height=3.6)
    plot_variance(findings.visits, ax=axes[0])
    plot_density(findings.visits, ax=axes[1])
    plot_slow_points(findings, ax=axes[2])
    plot_time_constants(findings.manifold, ax=axes[3])
    plot_input_effects(findings.words, ax=axes[4])
    plot_projections(findings.words, ax=axes[5])
    plot_modes(findings, ax=axes[6])
    plot_alignment(findings.manifold, ax=axes[7])
    return figure, axes


def plot_networks(
    analyses: Mapping[str, Findings], *, figure: Figure | None = None
) -> tuple[Figure, tuple[Axes, Axes, Axes, Axes]]:
    """Set several layers side by side: is it the same line in all of them?

    From the left: the share of variance in the first components, trained (full lines)
    and untrained (dotted); the time constants |1 / ln|lambda|| of the three leading
    modes at the slow points; |cos| of the leading mode with the local direction of the
    line; and what words of each class write, over the largest of a layer's means.
    Dots are medians, or means of a class; bars reach from the 10th to the 90th
    percentile.

    Args:
        analyses: what `analyze` returned, by a name for each layer.
        figure: where to draw; a new one by default.

    Returns:
        The figure and its axes.

    References:
        Maheswaranathan et al. (2019), arXiv 1906.10720, figure 6.
    """
    if figure is None:
        figure = Figure(figsize=(14.5, 3.4), layout="constrained")
    variance, times, alignment, words = figure.subplots(1, 4)
    for ax in (variance, times, alignment, words):
        _base.axes_for(ax)
    names = [_base.shorten(name, _base.LONGEST_NAME) for name in analyses]
    for place, (name, findings) in enumerate(
        zip(names, analyses.values(), strict=True)
    ):
        colour = _base.CYCLE[place % len(_base.CYCLE)]
        _draw_variance(variance, findings, name, colour)
        _draw_times(times, findings, place)
        _draw_range(
            alignment, place, findings.manifold.tangent_alignment, colour, marker="o"
        )
        _draw_words(words, findings, place)
    variance.set_xscale("log")
    variance.set_xticks(COUNTS, [str(count) for count in COUNTS])
    variance.set_xticks([], minor=True)
    _base.name_axes(variance, "number of components", "share of variance")
    _base.legend(variance, loc="lower right")
    times.set_yscale("log")
    _base.name_axes(times, "", "time constant (steps)")
    _base.legend_above(times)
    alignment.set_ylim(0, 1.03)
    _base.name_axes(alignment, "", "|cos| of $r_1$ with the line")
    words.axhline(0, color=_base.GREY, linewidth=0.8, zorder=1)
    _base.name_axes(words, "", "written on mode 1, relative")
    _base.legend_above(words)
    for ax in (times, alignment, words):
        ax.set_xticks(range(len(names)), names)
        ax.set_xlim(-0.6, len(names) - 0.4)
    return figure, (variance, times, alignment, words)


def _draw_variance(ax: Axes, findings: Findings, name: str, colour: str) -> None:
    for shares, style, label in zip(
        findings.visits.cumulative, ("-", ":"), (name, None), strict=True
    ):
        counts = np.arange(1, len(shares) + 1)
        ax.plot(counts, _base.array(shares), style, color=colour, lw=1.4, label=label)


def _draw_times(ax: Axes, findings: Findings, place: int) -> None:
    scales = findings.manifold.linearization.time_scales
    for mode in range(min(MODES, scales.shape[1])):
        _draw_range(
            ax,
            place + 0.22 * (mode - 1),
            scales[:, mode],
            _base.CYCLE[mode],
            marker="os^"[mode],
            label=f"mode {mode + 1}" if place == 0 else None,
        )


def _draw_words(ax: Axes, findings: Findings, place: int) -> None:
    words = findings.words
    means = words.class_projections()
    largest = max(abs(mean) for mean, _ in means.values()) or 1.0
    for offset, (kind, rows) in enumerate(words.classes().items()):
        _draw_range(
            ax,
            place + 0.22 * (offset - 1),
            words.projections[rows] / largest,
            _base.CLASS_COLOURS[kind],
            marker="o",
            label=kind if place == 0 else None,
            middle=means[kind][0] / largest,
        )


def _draw_range(
    ax: Axes,
    place: float,
    values: Tensor,
    colour: str,
    *,
    marker: str,
    label: str | None = None,
    middle: float | None = None,
) -> None:
    """A dot at the median, or at `middle`, and a bar over four fifths of the values."""
    found = _base.array(values)
    found = found[np.isfinite(found)]
    if not len(found):
        return
    low, median, high = np.quantile(found, [0.1, 0.5, 0.9])
    ax.plot([place, place], [low, high], color=colour, lw=1.6, alpha=0.7)
    dot = median if middle is None else middle
    ax.plot([place], [dot], marker, color=colour, markersize=5, label=label)
