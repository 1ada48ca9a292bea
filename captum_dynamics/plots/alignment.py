"""Whether the slowest mode points along the line of slow points."""

from __future__ import annotations

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from captum_dynamics.plots import _base
from captum_dynamics.topology import SlowManifold

BINS = 25


def plot_alignment(
    manifold: SlowManifold, *, ax: Axes | None = None
) -> tuple[Figure, Axes]:
    """Draw histograms of |cos| of r_1 with the line, against random directions.

    With the main axis m of all slow points, and with the local direction of the line,
    which is the fairer of the two where the line bends. Of a pair that turns, the
    plane of r_1 is taken. The grey steps are what unit vectors drawn at random would
    give in as many dimensions.

    Args:
        manifold: the slow points, such as `findings.manifold`.
        ax: where to draw; a new figure by default.

    Returns:
        The figure and the axes drawn on.
    """
    figure, ax = _base.axes_for(ax)
    _base.name_axes(ax, "|cos| with the leading eigenvector $r_1$", "slow points")
    if not len(manifold):
        _base.say_nothing_to_show(ax, "No slow points.")
        return figure, ax
    edges = torch.linspace(0, 1, BINS + 1, dtype=torch.float64)
    bins = edges.tolist()
    local = _base.array(manifold.tangent_alignment)
    main = _base.array(manifold.axis_alignment)
    ax.hist(local, bins, color=_base.BLUE, alpha=0.75, label="local tangent")
    ax.hist(
        main, bins, color=_base.ORANGE, histtype="step", lw=1.6, label="main axis m"
    )
    dim = manifold.points.states.shape[1]
    expected = manifold.random_alignment(edges)
    label = f"random, {dim} dimensions"
    ax.stairs(_base.array(expected), bins, color=_base.GREY, lw=1.2, label=label)
    ax.set_xlim(0, 1.01)
    _base.legend(ax, loc="best")
    return figure, ax
