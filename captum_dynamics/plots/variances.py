"""How many dimensions the states of several networks fill."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from captum_dynamics.plots import _base

MARK = 0.95  # the share that the paper counts components to
DASHES = ("-", "--", ":", "-.")  # a further round of colours has another


def plot_variances(
    shares: Mapping[str, Float[Tensor, " _"]],
    *,
    mark: float = MARK,
    most: int = 10,
    ax: Axes | None = None,
) -> tuple[Figure, Axes]:
    """Draw the share of variance in the first components, a line for each network.

    Args:
        shares: share of variance in each component, in decreasing order, by network.
        mark: the share at which a dotted line is drawn.
        most: components drawn at most.
        ax: where to draw; a new figure by default.

    Returns:
        The figure and the axes drawn on.

    Raises:
        ValueError: if there is no network.

    References:
        Aitken et al. (2021), arXiv 2010.15114, figure 2.

    Example:
        >>> import torch
        >>> _, ax = plot_variances({"three classes": torch.tensor([0.5, 0.25, 0.25])})
        >>> ax.get_lines()[1].get_ydata().tolist()
        [0.5, 0.75, 1.0]
    """
    if not shares:
        raise ValueError("Expected `shares` of at least one network, got none.")
    figure, ax = _base.axes_for(ax, width=5.8, height=3.6)
    ax.axhline(mark, color=_base.GREY, linewidth=0.8, linestyle=":", zorder=1)
    for row, (name, variance) in enumerate(shares.items()):
        drawn = _base.array(variance.cumsum(0)[:most])
        ax.plot(
            np.arange(1, len(drawn) + 1),
            drawn,
            color=_base.CYCLE[row % len(_base.CYCLE)],
            linestyle=DASHES[row // len(_base.CYCLE) % len(DASHES)],
            marker="o",
            markersize=2.5,
            linewidth=1.2,
            label=name,
        )
    longest = min(most, max(len(variance) for variance in shares.values()))
    ax.set_xticks(range(1, longest + 1))
    ax.set_ylim(0, 1.04)
    _base.name_axes(ax, "number of components", "share of variance")
    _base.legend(ax, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure, ax
