"""How long the slowest modes remember, along the line of slow points."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from captum_dynamics.plots import _base
from captum_dynamics.topology import SlowManifold


def plot_time_constants(
    manifold: SlowManifold, *, ax: Axes | None = None
) -> tuple[Figure, Axes]:
    """Draw the time constants of the two leading modes against theta.

    Filled dots are steps in which a mode falls to 1/e. Where a mode grows instead, an
    open triangle gives the steps in which it doubles: the two are not the same unit
    of time, and a growing mode is no long memory.

    Args:
        manifold: the slow points, such as `findings.manifold`.
        ax: where to draw; a new figure by default.

    Returns:
        The figure and the axes drawn on.
    """
    figure, ax = _base.axes_for(ax)
    _base.name_axes(ax, "theta, place along the line", "time constant (steps)")
    if not len(manifold):
        _base.say_nothing_to_show(ax, "No slow points.")
        return figure, ax
    theta = _base.array(manifold.theta)
    decay = _base.array(manifold.leading_times)
    growth = _base.array(manifold.linearization.growth_times)
    colours = (_base.BLUE, _base.GREY)
    for mode, colour in enumerate(colours[: growth.shape[1]]):
        name = f"mode {mode + 1}"
        ax.scatter(theta, decay[:, mode], s=12, color=colour, label=f"{name} fades")
        grows = growth[:, mode] > 0
        if grows.any():
            ax.scatter(
                theta[grows],
                growth[grows, mode],
                s=22,
                marker="^",
                facecolors="none",
                edgecolors=_base.ORANGE,
                linewidths=0.9,
                label=f"{name} grows (doubles in)",
            )
    ax.set_yscale("log")
    ax.set_xlim(-1.05, 1.05)
    ax.set_xticks([-1, -0.5, 0, 0.5, 1])
    _base.legend(ax, loc="best")
    return figure, ax
