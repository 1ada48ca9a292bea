"""What the slowest mode keeps of words of each class."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from captum_dynamics.findings import Words
from captum_dynamics.plots import _base

ORDER = ("negative", "neutral", "positive")
STRIP = 0.56  # width of a class's strip; classes are 1 apart


def plot_projections(words: Words, *, ax: Axes | None = None) -> tuple[Figure, Axes]:
    """Draw each word's projection on the slowest mode, by class.

    Every dot is a word; its bar is the standard deviation over the slow points. The
    black dot and bar are the mean and the standard deviation over the words.

    Args:
        words: effects of inputs, such as `findings.words`.
        ax: where to draw; a new figure by default.

    Returns:
        The figure and the axes drawn on.
    """
    figure, ax = _base.axes_for(ax)
    ax.axhline(0, color=_base.GREY, linewidth=0.8, zorder=1)
    for place, name in enumerate(ORDER):
        _draw_class(ax, words, name, place)
    ax.set_xticks(range(len(ORDER)), ORDER)
    ax.set_xlim(-0.5, len(ORDER) - 0.5)
    ax.grid(False, axis="x")
    _base.name_axes(ax, "class", "change of the output kept by mode 1")
    return figure, ax


def _draw_class(ax: Axes, words: Words, name: str, place: int) -> None:
    rows = words.classes()[name]
    colour = _base.CLASS_COLOURS[name]
    # Side by side in the order of the class: nothing hides, nothing is random.
    across = place + np.linspace(-STRIP / 2, STRIP / 2, len(rows))
    ax.errorbar(
        across,
        _base.array(words.projections[rows]),
        yerr=_base.array(words.spreads[rows]),
        fmt="o",
        markersize=2.2,
        elinewidth=0.5,
        color=colour,
        ecolor=colour,
        alpha=0.75,
    )
    mean, spread = words.class_projections()[name]
    ax.errorbar(
        [place],
        [mean],
        yerr=[spread],
        fmt="o",
        markersize=6,
        elinewidth=2,
        capsize=4,
        color=_base.INK,
        markeredgecolor="white",
        zorder=5,
    )
