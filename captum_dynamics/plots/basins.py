"""Basins in a plane, with the points and saddles on top."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, to_rgb
from matplotlib.figure import Figure

from captum_dynamics.plots import _base
from captum_dynamics.topology import BasinMap

PALENESS = 0.62  # of a basin's colour: points and numbers must stand out
UNRESOLVED = "#FFFFFF"
IN_PLANE = 0.02  # of the picture's width: points farther from the plane are small
NUMBERED = 30  # points at most
NUMBER: dict[str, Any] = {"fontsize": _base.SMALL - 1, "color": _base.INK}


def plot_basins(basins: BasinMap, *, ax: Axes | None = None) -> tuple[Figure, Axes]:
    """Draw which attractor each state of a plane goes to.

    Each attractor has a colour for its basin; states that reach no known attractor are
    white. Filled circles attract, rings are saddles, triangles repel. Points in the
    plane are numbered; those that lie off it are drawn small, where they project to,
    and say nothing about the basins around them. The basin of an attractor that is not
    in the plane bears its number.

    Args:
        basins: what `map_basins` returned.
        ax: where to draw; a new figure by default.

    Returns:
        The figure and the axes drawn on.

    Example:
        >>> import captum_dynamics as cd
        >>> from captum_dynamics.testing.systems import coupled_switches
        >>> from captum_dynamics.topology import Plane, map_basins
        >>> known = coupled_switches()
        >>> points = cd.find_fixed_points(known.dynamics, known.states, known.inputs)
        >>> graph = cd.connect(known.dynamics, cd.linearize(known.dynamics, points))
        >>> plane = Plane.principal(points.states)
        >>> basins = map_basins(known.dynamics, graph, plane, resolution=20)
        >>> _, ax = plot_basins(basins)
        >>> ax.get_xlabel()
        'component 1'
    """
    figure, ax = _base.axes_for(ax, width=4.6, height=4.2)
    _base.name_axes(ax, *basins.plane.names)
    ax.grid(False)
    _draw_regions(ax, basins)
    near = _draw_points(ax, basins)
    for node, place in basins.centres.items():
        if node >= 0 and not near[node]:
            ax.text(*place, f"to {node}", ha="center", va="center", **NUMBER)
    _base.legend_above(ax, markerscale=0.7, ncols=2)
    return figure, ax


def _draw_regions(ax: Axes, basins: BasinMap) -> None:
    attractors = basins.graph.attractors
    order = {node: place for place, node in enumerate(attractors)}
    colours = [
        _pale(_base.CYCLE[place % len(_base.CYCLE)]) for place in range(len(attractors))
    ]
    labels = _base.array(basins.labels)
    places = [[order.get(node, -1) for node in row] for row in labels.tolist()]
    ax.pcolormesh(
        _base.array(basins.x),
        _base.array(basins.y),
        places,
        cmap=ListedColormap([to_rgb(UNRESOLVED), *colours]),
        vmin=-1.5,
        vmax=len(attractors) - 0.5,
        shading="nearest",
        rasterized=True,
        zorder=0,
    )
    ax.set_axisbelow(False)


def _pale(colour: str) -> tuple[float, float, float]:
    red, green, blue = (part + (1 - part) * PALENESS for part in to_rgb(colour))
    return red, green, blue


def _draw_points(ax: Axes, basins: BasinMap) -> list[bool]:
    """Draw the points, and say which are in the plane."""
    places = _base.array(basins.places)
    width = float(basins.x[-1] - basins.x[0]) * float(basins.plane.axes[0].norm())
    near = (basins.heights <= IN_PLANE * width).tolist()
    nodes = basins.graph.graph.nodes
    looks = [_base.look(nodes[row]) for row in range(len(places))]
    for name, style in _base.MARKERS.items():
        rows = [row for row, look in enumerate(looks) if look == name]
        for inside in (True, False):
            members = [row for row in rows if near[row] is inside]
            if not members:
                continue
            area = (220 if name == "repeller" else 110) if inside else 16
            where = "" if inside else " off the plane"
            ax.scatter(
                places[members, 0],
                places[members, 1],
                s=area,
                linewidths=1.5 if inside else 0.8,
                zorder=3 if inside else 2,
                label=f"{name}{where} ({len(members)})",
                **style,
            )
    if sum(near) <= NUMBERED:
        for row in (row for row, inside in enumerate(near) if inside):
            light = looks[row] in ("saddle", "not fixed")
            colour = _base.INK if light else "white"
            ax.annotate(
                str(row),
                places[row],
                # A triangle has its width, and its room for a number, at its foot.
                xytext=(0, -2.0 if looks[row] == "repeller" else 0),
                textcoords="offset points",
                ha="center",
                va="center_baseline",
                zorder=4,
                **{**NUMBER, "color": colour},
            )
    return near
