"""States in a plane, coloured by label, with what holds them there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from captum_dynamics.linearization import Linearization, Stability
from captum_dynamics.plots import _base
from captum_dynamics.plots._state_plane import draw_by_stability
from captum_dynamics.topology import Plane

ARROW = 0.85  # length of the longest readout vector, of the states' half width


def plot_labelled_states(
    plane: Plane,
    states: Float[Tensor, "n d"],
    labels: Int[Tensor, " _"],
    *,
    names: Sequence[str] | None = None,
    slow: Float[Tensor, "m d"] | None = None,
    fixed: Linearization | None = None,
    readouts: Float[Tensor, "k d"] | None = None,
    ax: Axes | None = None,
) -> tuple[Figure, Axes]:
    """Draw states in a plane, one colour a label, with slow and fixed points on top.

    Small dark dots are slow points; filled circles attract, rings are saddles,
    triangles repel. Arrows are the readout vectors' parts in the plane, all to one
    scale that is not that of the states.

    Args:
        plane: where to project, such as `topology.Plane.principal(states)`.
        states: visited states (n, d).
        labels: a label (n,) of each, from 0.
        names: names of the labels, for the legend.
        slow: slow points (m, d).
        fixed: fixed points.
        readouts: weights (k, d) of the outputs.
        ax: where to draw; a new figure by default.

    Returns:
        The figure and the axes drawn on.

    Raises:
        ValueError: if `labels` are not one for each state, or `names` too few.

    References:
        Aitken et al. (2021), arXiv 2010.15114, figure 1.

    Example:
        >>> import torch
        >>> states = torch.eye(3).double().repeat_interleave(4, 0)
        >>> states[:, 0] += torch.arange(12) / 40
        >>> labels = torch.arange(12) // 4
        >>> _, ax = plot_labelled_states(Plane.principal(states), states, labels)
        >>> [len(dots.get_offsets()) for dots in ax.collections]
        [4, 4, 4]
    """
    if len(labels) != len(states):
        raise ValueError(
            f"Expected `labels` for {len(states)} states, got {len(labels)}."
        )
    kinds = sorted(set(labels.tolist()))
    if names is not None and kinds and kinds[-1] >= len(names):
        raise ValueError(
            f"Expected `names` for the labels 0 to {kinds[-1]}, got {len(names)}."
        )
    figure, ax = _base.axes_for(ax, width=4.2, height=3.9)
    places = _base.array(plane.places(states))
    for kind in kinds:
        rows = _base.array(labels == kind)
        ax.scatter(
            places[rows, 0],
            places[rows, 1],
            s=5,
            alpha=0.35,
            linewidths=0,
            color=_base.CYCLE[kind % len(_base.CYCLE)],
            rasterized=True,
            zorder=1,
            label=None if names is None else _base.shorten(names[kind]),
        )
    if readouts is not None:
        _draw_readouts(ax, plane, readouts, places)
    if slow is not None and len(slow):
        dots = _base.array(plane.places(slow))
        ax.scatter(dots[:, 0], dots[:, 1], s=4, color=_base.INK, zorder=3, label="slow")
    if fixed is not None:
        _draw_fixed(ax, plane, fixed)
    _base.name_axes(ax, *plane.names)
    ax.set_aspect("equal", adjustable="datalim")
    _base.legend_above(ax, ncols=3, markerscale=1.6, handletextpad=0.1)
    legend = ax.get_legend()
    if legend is not None:
        for handle in legend.legend_handles:
            if handle is not None:
                handle.set_alpha(1)
    return figure, ax


def _draw_readouts(
    ax: Axes, plane: Plane, readouts: Tensor, places: _base.Numbers
) -> None:
    """Arrows from the middle of the states, the longest nearly as far as they go."""
    parts = _base.array(plane.places(plane.origin + readouts.to(plane.origin)))
    middle = places.mean(0)
    half = float(np.abs(places - middle).max())
    longest = float(np.linalg.norm(parts, axis=1).max())
    for part in parts * (ARROW * half / max(longest, np.finfo(float).tiny)):
        ax.annotate(
            "",
            xy=middle + part,
            xytext=middle,
            arrowprops={"arrowstyle": "-|>", "color": _base.INK, "linewidth": 1.4},
            zorder=5,
        )


def _draw_fixed(ax: Axes, plane: Plane, fixed: Linearization) -> None:
    places = _base.array(plane.places(fixed.points.states))
    names = [Stability(verdict).name.lower() for verdict in fixed.stability.tolist()]
    draw_by_stability(ax, places, names, size=42, zorder=6)
