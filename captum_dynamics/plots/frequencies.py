"""Frequencies of linear modes against those that were asked for."""

from __future__ import annotations

from collections.abc import Mapping

from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from captum_dynamics.plots import _base


def plot_frequencies(
    wanted: Float[Tensor, " m"],
    found: Mapping[str, Float[Tensor, " m"]],
    *,
    ax: Axes | None = None,
) -> tuple[Figure, Axes]:
    """Draw found frequencies over wanted ones, with the line on which they agree.

    Args:
        wanted: radians a step (m,).
        found: for each name, such as an architecture, the angle of a multiplier at each
            of them (m,); NaN where there is none.
        ax: where to draw; a new figure by default.

    Returns:
        The figure and the axes drawn on.

    Example:
        >>> import torch
        >>> wanted = torch.tensor([0.1, 0.3])
        >>> _, ax = plot_frequencies(wanted, {"gru": torch.tensor([0.12, 0.31])})
        >>> [len(line.get_xdata()) for line in ax.lines]
        [2, 2]
    """
    figure, ax = _base.axes_for(ax)
    _base.name_axes(ax, "frequency asked for, radians a step", "angle of leading pair")
    ends = [float(wanted.min()), float(wanted.max())] if len(wanted) else [0.0, 1.0]
    ax.plot(ends, ends, color=_base.GREY, linewidth=1.0, zorder=1.5)
    for number, (name, values) in enumerate(found.items()):
        ax.plot(
            _base.array(wanted),
            _base.array(values),
            ".-",
            color=_base.CYCLE[number % len(_base.CYCLE)],
            linewidth=0.8,
            markersize=5,
            label=_base.shorten(name),
        )
    _base.legend(ax, loc="upper left")
    return figure, ax
