"""Where words push the state."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from captum_dynamics.findings import Words
from captum_dynamics.plots import _base

NAMED = 4  # words labelled on each side
SLOT = 0.1  # height of a label with some air, as a share of the axes


def plot_input_effects(words: Words, *, ax: Axes | None = None) -> tuple[Figure, Axes]:
    """Draw the push of each word in the plane, by class, and the direction l_1.

    The slowest mode keeps of a push what lies along l_1; the rest is soon forgotten.
    The arrow shows a direction alone: its length means nothing.

    Args:
        words: effects of inputs, such as `findings.words`.
        ax: where to draw; a new figure by default.

    Returns:
        The figure and the axes drawn on.
    """
    figure, ax = _base.axes_for(ax)
    plane = _base.array(words.plane)
    classes = words.classes()
    for name, colour in _base.CLASS_COLOURS.items():
        rows = _base.array(classes[name])
        ax.scatter(
            plane[rows, 0],
            plane[rows, 1],
            s=9,
            color=colour,
            alpha=0.7,
            linewidths=0,
            label=name,
        )
    shown = plane[np.concatenate([_base.array(rows) for rows in classes.values()])]
    _draw_leading(ax, words, float(np.nanmax(np.abs(shown), initial=1e-12)))
    _base.name_axes(
        ax, "push along component 1 (state units)", "push along component 2"
    )
    ax.set_aspect("equal", adjustable="datalim")
    _name_strongest(ax, words, plane)
    _base.legend(ax, loc="upper center", ncols=4, bbox_to_anchor=(0.5, 1.14))
    return figure, ax


def _draw_leading(ax: Axes, words: Words, reach: float) -> None:
    tip = _base.array(words.leading) * 0.9 * reach
    if not np.isfinite(tip).all() or not tip.any():
        return
    ax.annotate(
        "",
        xy=(tip[0], tip[1]),
        xytext=(0, 0),
        arrowprops={"arrowstyle": "-|>", "color": _base.INK, "linewidth": 1.5},
        zorder=5,
    )
    ax.plot([], [], color=_base.INK, linewidth=1.5, label="$l_1$")


def _name_strongest(ax: Axes, words: Words, plane: _base.Numbers) -> None:
    """Label the strongest words in two columns beside the cloud, with leaders."""
    rows = {name: row for row, name in enumerate(words.names) if name}
    groups = [
        [rows[name] for name in words.strongest(NAMED, positive=positive) if name]
        for positive in (True, False)
    ]
    groups = [[row for row in g if np.isfinite(plane[row]).all()] for g in groups]
    if not all(groups):
        return
    ax.margins(x=0.42, y=0.1)
    middles = [plane[group].mean(0) for group in groups]
    for this, other in ((0, 1), (1, 0)):
        # Ties go to the positive words, so that the two columns never coincide.
        ahead = (middles[this] > middles[other]) | (
            (middles[this] == middles[other]) & (this == 0)
        )
        colour = _base.BLUE if this == 0 else _base.ORANGE
        _name_column(ax, words, plane, groups[this], colour, *ahead.tolist())


def _name_column(
    ax: Axes,
    words: Words,
    plane: _base.Numbers,
    rows: list[int],
    colour: str,
    right: bool,
    upper: bool,
) -> None:
    top = 0.93 if upper else 0.07 + SLOT * (len(rows) - 1)
    # From top to bottom in the order of the points: leaders do not cross.
    ordered = sorted(rows, key=lambda row: -plane[row, 1])
    for slot, row in enumerate(ordered):
        ax.annotate(
            _base.shorten(words.names[row]),
            xy=(plane[row, 0], plane[row, 1]),
            xytext=(0.985 if right else 0.015, top - SLOT * slot),
            textcoords="axes fraction",
            ha="right" if right else "left",
            va="center",
            fontsize=_base.SMALL,
            color=colour,
            arrowprops={
                "arrowstyle": "-",
                "color": colour,
                "linewidth": 0.5,
                "relpos": (0.0 if right else 1.0, 0.5),
            },
            zorder=6,
        )
