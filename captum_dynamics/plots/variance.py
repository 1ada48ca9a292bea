"""How many dimensions the visited states fill."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from captum_dynamics.findings import Visits
from captum_dynamics.plots import _base

MARK = 0.9  # the share whose number of components is quoted, as in the paper


def plot_variance(visits: Visits, *, ax: Axes | None = None) -> tuple[Figure, Axes]:
    """Draw the share of variance in the first components, trained and untrained.

    A trained network that steps up at once uses few of its dimensions; the same layer
    with fresh weights, on the same inputs, says what would be nothing special.

    Args:
        visits: the visited states, such as `findings.visits`.
        ax: where to draw; a new figure by default.

    Returns:
        The figure and the axes drawn on.

    Example:
        >>> import torch
        >>> from captum_dynamics.findings import Visits
        >>> share, none = torch.tensor([0.8, 0.2]), torch.zeros(0)
        >>> flat = torch.zeros(2, 0)
        >>> visits = Visits(none, flat, share, none, flat.T, none, 1.0, none)
        >>> _, ax = plot_variance(visits)
        >>> [round(float(share), 2) for share in ax.get_lines()[1].get_ydata()]
        [0.8, 1.0]
    """
    figure, ax = _base.axes_for(ax)
    trained, untrained = (_base.array(part) for part in visits.cumulative)
    ax.axhline(MARK, color=_base.GREY, linewidth=0.8, linestyle=":", zorder=1)
    _draw(ax, trained, "trained", _base.BLUE, visits.dims_for(MARK, visits.variance))
    if len(untrained):
        dims = visits.dims_for(MARK, visits.untrained_variance)
        _draw(ax, untrained, "untrained", _base.GREY, dims)
    ax.set_xscale("log")
    ticks = [n for n in (1, 2, 5, 10, 20, 50, 100, 200, 500) if n <= len(trained)]
    ax.set_xticks(ticks, [str(n) for n in ticks])
    ax.set_xticks([], minor=True)
    ax.set_ylim(0, 1.04)
    _base.name_axes(ax, "number of components", "share of variance")
    _base.legend(ax, loc="lower right")
    return figure, ax


def _draw(
    ax: Axes,
    shares: _base.Numbers,
    name: str,
    colour: str,
    dims: int,
) -> None:
    label = f"{name}: {dims} for {MARK:.0%}"
    counts = np.arange(1, len(shares) + 1)
    ax.plot(counts, shares, color=colour, marker="o", markersize=2.5, label=label)
