"""How tokens change the effects of later ones, and for how long."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from mpl_toolkits.axes_grid1 import make_axes_locatable

from captum_dynamics.plots import _base

if TYPE_CHECKING:  # it would import captum, which figures need not
    from captum_dynamics.attr.context_effects import ContextEffects

LARGEST_NUMBERED = 12  # tokens whose effects fit into the cells as numbers
DRAWN = 5  # strongest tokens, as lines against the lag
WORTH_SHOWING = 0.05  # of the largest effect: no number, and no line, below it
DARK = 0.6  # of the largest effect: white type from here on
GAP = 0.8  # inches between matrix and lines, for the numbers of the latter
DIVERGING = LinearSegmentedColormap.from_list(
    "effects", [_base.ORANGE, "white", _base.BLUE]
)


def plot_context(
    effects: ContextEffects,
    tokens: Sequence[str],
    *,
    document: int = 0,
    ax: Axes | None = None,
) -> tuple[Figure, Axes]:
    """Draw the effect of each token on each later one; beside it, effect against lag.

    A row is a token that changes others, a column one that is changed. On the diagonal,
    in grey type, is what each token adds itself. The lines are those of the strongest
    tokens, as far as the example goes.

    Args:
        effects: what `ContextAttribution.attribute_context` returned.
        tokens: the words of this example; steps beyond them are not drawn.
        document: which example.
        ax: where to draw the matrix, with the lines right of it; a new figure by
            default.

    Returns:
        The figure, and the axes of the matrix.

    Raises:
        ValueError: If there are more `tokens` than steps, or none.
    """
    matrix = _base.array(effects.effects[document])
    if not 0 < len(tokens) <= len(matrix):
        raise ValueError(
            f"Expected `tokens` for 1 to {len(matrix)} steps, got {len(tokens)}."
        )
    count = len(tokens)
    figure, ax = _base.axes_for(ax, width=8.0, height=3.5)
    names = [_base.shorten(token) for token in tokens]
    direct = _base.array(effects.direct[document])[:count]
    _draw_matrix(ax, matrix[:count, :count], direct, names)
    # Takes its place from `ax`, so that both fit where one was asked for.
    beside = make_axes_locatable(ax).append_axes("right", size="80%", pad=GAP)
    _base.axes_for(beside)
    lags = _base.array(effects.by_lag[document])[:count, : count - 1]
    _draw_lags(beside, lags, names, _base.array(effects.strengths[document])[:count])
    return figure, ax


def _draw_matrix(
    ax: Axes, matrix: _base.Numbers, direct: _base.Numbers, names: list[str]
) -> None:
    count = len(names)
    reach = float(np.abs(matrix).max()) or 1.0
    shown = np.ma.masked_where(np.tril(np.ones_like(matrix)) > 0, matrix)
    ax.grid(False)
    ax.imshow(shown, cmap=DIVERGING, vmin=-reach, vmax=reach, aspect="auto")
    size = _base.SMALL - 1
    ax.set_xticks(range(count), names, rotation=90, fontsize=size)
    ax.set_yticks(range(count), names, fontsize=size)
    ax.tick_params(length=0)
    _base.name_axes(ax, "token that is changed", "token that changes it")
    if count > LARGEST_NUMBERED:
        return
    text: dict[str, Any] = {"fontsize": size, "ha": "center", "va": "center"}
    for row in range(count):
        ax.text(row, row, f"{direct[row]:+.2f}", color=_base.GREY, **text)
    for row, column in np.argwhere(np.abs(matrix) >= WORTH_SHOWING * reach).tolist():
        value = matrix[row, column]
        colour = "white" if abs(value) > DARK * reach else _base.INK
        ax.text(column, row, f"{value:+.2f}", color=colour, **text)


def _draw_lags(
    ax: Axes, lags: _base.Numbers, names: list[str], strengths: _base.Numbers
) -> None:
    ax.axhline(0, color=_base.GREY, linewidth=0.8)
    least = max(WORTH_SHOWING * strengths.max(), np.finfo(float).tiny)
    ranked = np.argsort(-strengths, kind="stable")[:DRAWN]
    rows = [row for row in ranked.tolist() if strengths[row] >= least]
    if not rows:
        _base.say_nothing_to_show(ax, "No token changes a later one.")
        return
    for colour, row in zip(_base.CYCLE, rows, strict=False):
        follow = len(names) - 1 - row
        ax.plot(
            np.arange(1, follow + 1),
            lags[row, :follow],
            color=colour,
            marker="o",
            markersize=3,
            linewidth=1.2,
            label=f"{names[row]} ({row + 1})",
        )
    longest = len(names) - 1 - min(rows)
    ax.set_xticks(np.arange(1, longest + 1, 1 + longest // 10))
    _base.name_axes(ax, "steps later", "effect (units of the output)")
    _base.legend(ax, loc="best", title="token (place)", title_fontsize=_base.SMALL)
