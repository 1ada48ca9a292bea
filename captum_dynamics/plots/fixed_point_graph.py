"""The graph of fixed points, in state space."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from captum_dynamics.plots import _base
from captum_dynamics.plots._graph_parts import draw_edges, draw_nodes
from captum_dynamics.topology import FixedPointGraph

CROWDED = 0.035  # points closer than this share of the width hide each other
SLANT = (0.38, 0.27)  # shift in the plane for a unit of the third component


def plot_graph(
    graph: FixedPointGraph,
    *,
    project: Callable[[Tensor], Tensor] | None = None,
    ax: Axes | None = None,
) -> tuple[Figure, Axes]:
    """Draw fixed points where they are, and the connections between them.

    Filled circles attract, rings are saddles, triangles repel, diamonds are marginal.
    Grey arrows follow an unstable direction to where it ends, blue ones lead from
    saddle to saddle, and pale ones are each one of many; an arrow is the wider
    the more of the tried directions went there. Dashed ones end at nothing known, and
    their squares with a question mark stand beside their source. Of a cycle all states
    are drawn, and of other sets and of a continuum of points a sample.

    Args:
        graph: what `connect` returned.
        project: takes states (m, d) to places (m, 2), such as two readouts; by
            default to the graph's own coordinates, the principal components of the
            points. Where points hide each other in their plane, the third component is
            drawn slantwise, and the axes say so.
        ax: where to draw; a new figure by default.

    Returns:
        The figure and the axes drawn on.

    Example:
        >>> import torch, captum_dynamics as cd
        >>> switch = cd.FunctionAdapter(lambda h, x: torch.tanh(2 * h), 1, 0)
        >>> starts = torch.tensor([[-1.0], [0.1], [1.0]])
        >>> points = cd.find_fixed_points(switch, starts, torch.zeros(1, 0))
        >>> _, ax = plot_graph(cd.connect(switch, cd.linearize(switch, points)))
        >>> [text.get_text() for text in ax.texts]
        ['0', '1', '2']
    """
    figure, ax = _base.axes_for(ax, width=6.8, height=4.0)
    if not graph.graph.number_of_nodes():
        _base.say_nothing_to_show(ax, "No points.")
        return figure, ax
    if project is None:
        project = _own_plane(ax, graph)
    _draw_sets(ax, graph, project)
    places = _places(graph, project)
    draw_edges(ax, graph.graph, places)
    draw_nodes(ax, graph.graph, places)
    ax.margins(0.12)
    _base.legend_above(ax, markerscale=0.7, ncols=4)
    return figure, ax


def _own_plane(ax: Axes, graph: FixedPointGraph) -> Callable[[Tensor], Tensor]:
    """Coordinates that the graph's nodes carry; the axes are named after them."""
    points = graph.components(graph.linearization.points.states)
    slants = torch.zeros(2)
    if hidden(points[:, :2]):
        slants = torch.tensor(SLANT)
    for number, slant in enumerate(slants.tolist(), start=1):
        third = f" + {slant:.2g} x component 3" if slant else ""
        name = f"component {number}{third}"
        (ax.set_xlabel if number == 1 else ax.set_ylabel)(
            name, fontsize=_base.SMALL + 1, color=_base.INK
        )

    def project(states: Tensor) -> Tensor:
        parts = graph.components(states)
        return parts[:, :2] + parts[:, 2:] * slants.to(parts)

    return project


def hidden(positions: Tensor) -> bool:
    """Whether points lie on top of each other in the plane."""
    if len(positions) < 2:
        return False
    width = (positions.amax(0) - positions.amin(0)).max()
    return bool(torch.pdist(positions).min() < CROWDED * width)


def _draw_sets(
    ax: Axes, graph: FixedPointGraph, project: Callable[[Tensor], Tensor]
) -> None:
    """Add the states of cycles, joined in their order, and samples of other sets."""
    for ending in graph.endings:
        # Irregular sets have a period of 0: their states are joined by no line.
        states = torch.cat([ending.states, ending.states[: ending.period][:1]])
        x, y = _base.array(project(states)).T
        style = ".-" if ending.period else "."
        ax.plot(x, y, style, color=_base.GREEN, linewidth=0.8, markersize=5, zorder=1.6)
    for continuum in graph.continua:
        x, y = _base.array(project(continuum.points.states)).T
        ax.scatter(x, y, s=7, color=_base.PURPLE, linewidths=0, zorder=1.6)
    if graph.endings or graph.continua:
        ax.set_aspect("equal", adjustable="datalim")


def _places(
    graph: FixedPointGraph, project: Callable[[Tensor], Tensor]
) -> dict[int, _base.Numbers]:
    points = graph.linearization.points.states
    firsts = [ending.states[:1].to(points) for ending in graph.endings]
    known = dict(enumerate(_base.array(project(torch.cat([points, *firsts])))))
    width = np.ptp(np.stack(list(known.values())), axis=0).max() or 1.0
    beside = Counter[int]()
    for node in graph.graph.nodes:
        if node not in known:
            # An end that is no known point has no place: it stands by its source.
            (source, *_) = graph.graph.predecessors(node)
            shift = np.array([0.10, 0.14 + 0.1 * beside[source]]) * width
            known[node] = known[source] + shift
            beside[source] += 1
    return known
