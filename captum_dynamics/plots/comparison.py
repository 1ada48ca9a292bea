"""Attribution methods side by side: where they agree, and what removal says."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from captum_dynamics.attr.comparison import Comparison
from captum_dynamics.plots import _base
from captum_dynamics.plots._heat import draw_heat

STYLES = ("-", "--", ":")
"""Of lines, for each round of the colours."""

LONGEST_NAME = 24  # characters of a method's name


def plot_comparison(
    comparison: Comparison, *, figure: Figure | None = None
) -> tuple[Figure, tuple[Axes, Axes, Axes]]:
    """Draw rank correlations, deletion and insertion of all methods.

    On the left is the median over examples of the rank correlation of two methods. The
    curves are means over examples with a standard error on each side, less the
    straight line between F(x) and F(baseline), which is what a random order gives of a
    sum: the sooner and the farther a deletion curve dips below 0, and an insertion
    curve rises above it, the better the order.

    Args:
        comparison: of `attr.compare`.
        figure: where to draw; a new one by default.

    Returns:
        The figure and its axes: correlations, deletion, insertion.
    """
    count = len(comparison.names)
    if figure is None:
        height = max(3.6, 1.7 + 0.3 * count)
        figure = Figure(figsize=(11.5, height), layout="constrained")
    axes = figure.subplots(1, 3, width_ratios=(1.15, 1, 1))
    for ax in axes:
        _base.axes_for(ax)
    _draw_correlations(axes[0], comparison)
    _draw_bends(axes[1], comparison, comparison.deletion_bends)
    _base.name_axes(
        axes[1], "share of the steps removed", "output, less the straight line"
    )
    axes[1].set_title("deletion: lower is better", fontsize=_base.SMALL + 1)
    _draw_bends(axes[2], comparison, comparison.insertion_bends)
    _base.name_axes(axes[2], "share of the steps put in", "")
    axes[2].set_title("insertion: higher is better", fontsize=_base.SMALL + 1)
    figure.legend(
        *axes[1].get_legend_handles_labels(),
        loc="outside lower right",
        ncols=min(5, count),
        fontsize=_base.SMALL,
        frameon=False,
    )
    return figure, (axes[0], axes[1], axes[2])


def _draw_correlations(ax: Axes, comparison: Comparison) -> None:
    ax.grid(False)
    values = _base.array(comparison.rank_correlations_within)
    draw_heat(ax, values, aspect="equal")
    names = [_base.shorten(name, LONGEST_NAME) for name in comparison.names]
    places = range(len(names))
    ax.set_xticks(places, names, rotation=45, ha="right", fontsize=_base.SMALL)
    ax.set_yticks(places, names, fontsize=_base.SMALL)
    for (row, column), value in np.ndenumerate(values):
        ax.text(
            column,
            row,
            "-" if math.isnan(value) else f"{value:.2f}".replace("0.", ".", 1),
            ha="center",
            va="center",
            fontsize=_base.SMALL - 1,
            color="white" if abs(value) > 0.6 else _base.INK,
        )
    title = "rank correlation, median within an example"
    ax.set_title(title, fontsize=_base.SMALL + 1)


def _draw_bends(ax: Axes, comparison: Comparison, bends: Tensor) -> None:
    shares = _base.array(comparison.shares)
    ax.axhline(0, color=_base.GREY, linewidth=0.8)
    middles = _base.array(bends.mean(1))
    errors = _base.array(bends.std(1, correction=0) / math.sqrt(bends.shape[1]))
    for row, name in enumerate(comparison.names):
        turn, colour = divmod(row, len(_base.CYCLE))
        ax.plot(
            shares,
            middles[row],
            STYLES[turn % len(STYLES)],
            color=_base.CYCLE[colour],
            linewidth=1.4,
            label=_base.shorten(name, LONGEST_NAME),
        )
        ax.fill_between(
            shares,
            middles[row] - errors[row],
            middles[row] + errors[row],
            color=_base.CYCLE[colour],
            alpha=0.15,
            linewidth=0,
        )
