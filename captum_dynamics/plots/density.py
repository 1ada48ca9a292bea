"""Where the layer's states are in use."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from captum_dynamics.findings import Visits
from captum_dynamics.plots import _base

COLUMNS = 40  # hexagons along the first component


def plot_density(visits: Visits, *, ax: Axes | None = None) -> tuple[Figure, Axes]:
    """Draw how often each part of the plane is visited, on a log scale.

    Args:
        visits: the visited states, such as `findings.visits`.
        ax: where to draw; a new figure by default.

    Returns:
        The figure and the axes drawn on.

    Example:
        >>> import torch
        >>> from captum_dynamics.findings import Visits
        >>> none, plane = torch.zeros(0), torch.randn(50, 2)
        >>> flat = torch.zeros(2, 0)
        >>> visits = Visits(none, flat, none, none, plane, plane[:, 0], 1.0, none)
        >>> _, ax = plot_density(visits)
        >>> int(ax.collections[0].get_array().sum())
        50
    """
    figure, ax = _base.axes_for(ax)
    plane = _base.array(visits.plane)
    # Regular hexagons: as many rows as the height holds at the width of a column.
    width, height = np.ptp(plane, axis=0)
    rows = max(1, round(COLUMNS / 3**0.5 * height / width)) if width > 0 else 1
    cells = ax.hexbin(
        plane[:, 0],
        plane[:, 1],
        gridsize=(COLUMNS, rows),
        bins="log",
        mincnt=1,
        cmap="Blues",
        linewidths=0.1,
    )
    # The palest hexagon still has to stand out from white paper.
    cells.set_clim(0.3, None)
    bar = figure.colorbar(cells, ax=ax, shrink=0.8, pad=0.02)
    bar.set_label("visits", fontsize=_base.SMALL)
    bar.ax.tick_params(which="both", labelsize=_base.SMALL)
    _, most = bar.ax.get_ylim()
    if most > 1:
        bar.ax.set_ylim(1, most)
    _base.name_plane(ax)
    return figure, ax
