"""What a word adds after modifiers: over time, and without the modes that carry it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from captum_dynamics.plots import _base

if TYPE_CHECKING:  # it would import captum, which figures need not
    from captum_dynamics.attr.modifiers import ModifierEffects

BAND = 0.18  # opacity
APART = 0.1  # between the marks of two modifiers at one number of removals


def plot_modifiers(
    effects: ModifierEffects,
    modifiers: Sequence[str],
    *,
    word: int = 0,
    name: str = "the word",
    ax: Axes | None = None,
) -> tuple[Figure, Axes]:
    """Draw what a word adds to the output, 1, 2, ... steps after each modifier.

    At 0, and as a dashed line, is what it adds without one. Lines are medians over
    points, bands go from the least to the largest.

    Args:
        effects: what `attr.measure_modifiers` returned.
        modifiers: their names, in its order.
        word: which of its words.
        name: what that word is called.
        ax: where to draw; a new figure by default.

    Returns:
        The figure and the axes drawn on.

    Raises:
        ValueError: if there are not as many names as modifiers, or no such word.
    """
    _check(effects, modifiers, word)
    figure, ax = _base.axes_for(ax, width=4.4)
    plain = effects.plain_effects[:, word, None]
    _draw_plain(ax, plain)
    for row, modifier in enumerate(modifiers):
        later = effects.effects[:, row, word]
        _draw(ax, np.arange(later.shape[1] + 1), [plain, later], row, modifier)
    ax.set_xticks(range(effects.effects.shape[3] + 1))
    _base.name_axes(
        ax, "steps after the modifier", f"{_base.shorten(name)} adds to the output"
    )
    _base.legend(ax, loc="best", title="modifier", title_fontsize=_base.SMALL)
    return figure, ax


def plot_removals(
    effects: ModifierEffects,
    modifiers: Sequence[str],
    *,
    word: int = 0,
    name: str = "the word",
    ax: Axes | None = None,
) -> tuple[Figure, Axes]:
    """Draw what a word adds one step after a modifier, without groups of modes.

    The dashed line is what it adds without a modifier: where a removal brings it there,
    those modes carried the effect. Marks are medians over points, bars go from the
    least to the largest.

    Args:
        effects: what `attr.measure_modifiers` returned.
        modifiers: their names, in its order.
        word: which of its words.
        name: what that word is called.
        ax: where to draw; a new figure by default.

    Returns:
        The figure and the axes drawn on.

    Raises:
        ValueError: if there are not as many names as modifiers, or no such word.
    """
    _check(effects, modifiers, word)
    figure, ax = _base.axes_for(ax, width=4.4)
    _draw_plain(ax, effects.plain_effects[:, word], label="no modifier")
    for row, modifier in enumerate(modifiers):
        values = _base.array(effects.without[:, row, word])
        middle = np.median(values, axis=0)
        reach = np.stack([middle - values.min(0), values.max(0) - middle])
        shift = APART * (row - (len(modifiers) - 1) / 2)
        ax.errorbar(
            np.arange(len(middle)) + shift,
            middle,
            reach,
            color=_base.CYCLE[row % len(_base.CYCLE)],
            marker="o",
            markersize=4,
            linewidth=1.2,
            capsize=2,
            label=f"after {_base.shorten(modifier)}",
        )
    ax.set_xticks(range(effects.without.shape[3]))
    _base.name_axes(
        ax, "groups of modes removed", f"{_base.shorten(name)} adds to the output"
    )
    _base.legend(ax, loc="best")
    return figure, ax


def _check(effects: ModifierEffects, modifiers: Sequence[str], word: int) -> None:
    _, count, words, _ = effects.effects.shape
    if len(modifiers) != count:
        raise ValueError(
            f"Expected `modifiers` to be {count} names, got {len(modifiers)}."
        )
    if not 0 <= word < words:
        raise ValueError(f"Expected `word` from 0 to {words - 1}, got {word}.")


def _draw_plain(ax: Axes, values: Tensor, label: str | None = None) -> None:
    ax.axhline(
        float(np.median(_base.array(values))),
        color=_base.GREY,
        linewidth=0.8,
        linestyle="--",
        zorder=1,
        label=label,
    )


def _draw(
    ax: Axes, steps: _base.Numbers, parts: list[Tensor], row: int, name: str
) -> None:
    values = np.concatenate([_base.array(part) for part in parts], axis=1)
    colour = _base.CYCLE[row % len(_base.CYCLE)]
    ax.fill_between(
        steps, values.min(0), values.max(0), color=colour, alpha=BAND, linewidth=0
    )
    ax.plot(
        steps,
        np.median(values, axis=0),
        color=colour,
        marker="o",
        markersize=3,
        linewidth=1.4,
        label=_base.shorten(name),
    )
