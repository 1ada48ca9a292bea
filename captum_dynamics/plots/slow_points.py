"""Slow points along their line, and the fixed points among them."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from captum_dynamics.findings import Findings
from captum_dynamics.plots import _base, _state_plane


def plot_slow_points(
    findings: Findings, *, ax: Axes | None = None
) -> tuple[Figure, Axes]:
    """Draw slow points coloured by theta, and fixed points marked by stability.

    Filled circles attract, rings are saddles, triangles repel, and diamonds have a
    multiplier on the unit circle; squares are rests of a search that found no fixed
    point. Pale dots are visited states.

    Args:
        findings: what `analyze` returned.
        ax: where to draw; a new figure by default.

    Returns:
        The figure and the axes drawn on.
    """
    figure, ax = _base.axes_for(ax)
    slow = findings.manifold
    _state_plane.draw_visits(ax, findings.visits)
    if len(slow):
        plane = _base.array(findings.visits.project(slow.points.states))
        dots = ax.scatter(
            plane[:, 0],
            plane[:, 1],
            c=_base.array(slow.theta),
            cmap="viridis",
            vmin=-1,
            vmax=1,
            s=14,
            zorder=3,
        )
        bar = figure.colorbar(dots, ax=ax, shrink=0.8, pad=0.02, ticks=[-1, 0, 1])
        bar.set_label("theta, place along the line", fontsize=_base.SMALL)
        bar.ax.tick_params(labelsize=_base.SMALL)
    _state_plane.draw_points(ax, findings)
    _base.name_plane(ax)
    _base.legend(ax, loc="best")
    return figure, ax
