"""The loops of a set of points: when they are born, and how long they last."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from captum_dynamics.plots import _base
from captum_dynamics.topology import ShapeEvidence


def plot_persistence(
    evidence: ShapeEvidence, *, ax: Axes | None = None
) -> tuple[Figure, Axes]:
    """Draw the death of every loop against its birth.

    On the lower line loops would die as they are born. Those above the dashed line,
    at three births for curves and 2.5 for surfaces, last. The dotted line marks the
    longest edge that joins the points: a loop that is born long after closes a gap.

    Args:
        evidence: of a cloud or a manifold, such as `manifold.evidence`.
        ax: where to draw; a new figure by default.

    Returns:
        The figure and the axes drawn on.

    Example:
        >>> import torch
        >>> from captum_dynamics.topology import find_shape
        >>> angles = torch.linspace(0, 6.2, 80, dtype=torch.float64)
        >>> ring = torch.stack([angles.cos(), angles.sin()], dim=1)
        >>> _, ax = plot_persistence(find_shape(ring))
        >>> ax.get_ylabel()
        'death'
    """
    figure, ax = _base.axes_for(ax)
    _base.name_axes(ax, "birth of a loop (distance)", "death")
    if not evidence.homology:
        _base.say_nothing_to_show(ax, "Loops were not looked for.")
        return figure, ax
    births, deaths = _base.array(evidence.loops).T
    edge = evidence.longest_edge
    reach = 1.1 * max(edge, *deaths.tolist()) if len(deaths) else 2.0 * edge
    line = np.array([0.0, reach])
    ax.plot(line, line, color=_base.GREY, linewidth=0.8)
    ax.plot(
        line,
        evidence.threshold * line,
        color=_base.ORANGE,
        linewidth=1.0,
        linestyle=(0, (4, 2)),
        label=f"death = {evidence.threshold:g} births",
    )
    ax.axvline(
        edge, color=_base.GREY, linewidth=1.0, linestyle=":", label="longest edge"
    )
    strong = deaths > evidence.threshold * births
    for label, rows, colour in (
        ("lasts", strong, _base.BLUE),
        ("noise", ~strong, _base.PALE),
    ):
        if rows.any():
            ax.scatter(
                births[rows],
                deaths[rows],
                s=30,
                color=colour,
                edgecolors=_base.INK,
                linewidths=0.5,
                zorder=3,
                label=label,
            )
    ax.set_xlim(0, reach)
    ax.set_ylim(0, reach)
    _base.legend(ax, loc="lower right")
    return figure, ax
