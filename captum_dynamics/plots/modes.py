"""The direction that the slowest mode keeps, at every slow point."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from captum_dynamics.findings import Findings
from captum_dynamics.plots import _base, _state_plane

STROKE = 0.06  # full length of an in-plane stroke, as a share of the visited width


def plot_modes(findings: Findings, *, ax: Axes | None = None) -> tuple[Figure, Axes]:
    """Draw a stroke along the leading right eigenvector r_1 at each slow point.

    On a line attractor the strokes follow the line. A stroke is shorter the more its
    eigenvector points out of the plane; an eigenvector has no sign, so there is no
    arrow head. Of a pair that turns, the long axis of its ellipse is drawn.

    Args:
        findings: what `analyze` returned.
        ax: where to draw; a new figure by default.

    Returns:
        The figure and the axes drawn on.
    """
    figure, ax = _base.axes_for(ax)
    slow, visits = findings.manifold, findings.visits
    _state_plane.draw_visits(ax, visits)
    _base.name_plane(ax)
    if not len(slow):
        _base.say_nothing_to_show(ax, "No slow points.")
        return figure, ax
    centres = _base.array(visits.project(slow.points.states))
    halves = _base.array(visits.project_directions(slow.leading_axes[:, 0]))
    halves = halves * STROKE / 2 * np.ptp(_base.array(visits.plane), axis=0).max()
    ends = np.stack([centres - halves, centres + halves], axis=1)
    ax.scatter(centres[:, 0], centres[:, 1], s=4, color=_base.INK, zorder=3)
    strokes = LineCollection(list(ends), colors=_base.ORANGE, linewidths=0.8, zorder=4)
    ax.add_collection(strokes)
    ax.plot([], [], color=_base.ORANGE, linewidth=1.2, label="$r_1$")
    _base.legend(ax, loc="best")
    return figure, ax
