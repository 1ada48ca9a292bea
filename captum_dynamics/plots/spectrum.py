"""Multipliers of the fixed points in the complex plane."""

from __future__ import annotations

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from captum_dynamics.linearization import Linearization
from captum_dynamics.plots import _base

NEAR = 0.12  # multipliers this close to 1 share one blot without a zoom
LEAST_ZOOM = 1e-3


def plot_spectrum(
    linearization: Linearization, *, ax: Axes | None = None
) -> tuple[Figure, Axes]:
    """Draw the eigenvalues of each point against the unit circle.

    Inside the circle a deviation fades, outside it grows; the angle turns it. Where
    leading multipliers crowd near 1, the part around 1 is drawn again, larger.

    Args:
        linearization: the points, such as `findings.linearization`.
        ax: where to draw; a new figure by default.

    Returns:
        The figure and the axes drawn on.

    Example:
        >>> import torch, captum_dynamics as cd
        >>> switch = cd.FunctionAdapter(lambda h, x: torch.tanh(2 * h), 1, 0)
        >>> starts = torch.tensor([[-1.0], [0.1], [1.0]])
        >>> points = cd.find_fixed_points(switch, starts, torch.zeros(1, 0))
        >>> _, ax = plot_spectrum(cd.linearize(switch, points))
        >>> round(float(ax.collections[1].get_offsets()[0, 0]), 6)
        2.0
    """
    figure, ax = _base.axes_for(ax, width=6.8, height=4.0)
    _base.name_axes(ax, "real part of multiplier", "imaginary part of multiplier")
    values = _base.array(linearization.eigenvalues)
    if not len(values):
        _base.say_nothing_to_show(ax, "No points.")
        return figure, ax
    _draw(ax, values, size=12.0)
    reach = max(1.15, 1.05 * float(np.abs(values).max()))
    ax.set_xlim(-reach, reach)
    ax.set_ylim(-reach, reach)
    ax.set_aspect("equal")
    leading = values[:, 0]
    distances = np.abs(leading - 1)
    if distances.min() < NEAR:
        # The zoom shows every leading multiplier that is near, with some air.
        near = max(1.3 * distances[distances < NEAR].max(), LEAST_ZOOM)
        _zoom(ax, values, float(near), reach)
    _base.legend_above(ax, title="point", title_fontsize=_base.SMALL, alignment="left")
    return figure, ax


def _draw(ax: Axes, values: _base.Numbers, *, size: float) -> None:
    ax.add_patch(Circle((0, 0), 1, fill=False, edgecolor=_base.GREY, linewidth=0.9))
    many = len(values) > len(_base.CYCLE)
    for row, own in enumerate(values):
        share = row / max(1, len(values) - 1)
        ax.scatter(
            own.real,
            own.imag,
            s=size,
            color=colormaps["viridis"](share) if many else _base.CYCLE[row],
            alpha=0.75,
            linewidths=0,
            zorder=3,
            label=None if many else str(row),
        )


def _zoom(ax: Axes, values: _base.Numbers, near: float, reach: float) -> None:
    """Draw the surroundings of 1 again, in room made at the right."""
    ax.set_xlim(-reach, 2.9 * reach)
    ticks = [tick for tick in ax.get_yticks() if abs(tick) <= reach]
    ax.set_xticks(ticks)
    ax.set_yticks(ticks)
    inset = ax.inset_axes((0.62, 0.16, 0.34, 0.68))
    _draw(inset, values, size=26.0)
    inset.set_xlim(1 - near, 1 + near)
    inset.set_ylim(-near, near)
    inset.tick_params(labelsize=_base.SMALL - 1, color=_base.GREY)
    inset.locator_params(nbins=4)
    inset.ticklabel_format(useOffset=False)
    inset.grid(True, color="#E8EBEF", linewidth=0.6)
    inset.set_title("around 1", fontsize=_base.SMALL, color=_base.INK)
    ax.indicate_inset_zoom(inset, edgecolor=_base.GREY)
