"""The graph of fixed points, in rows by unstable dimension."""

from __future__ import annotations

import networkx as nx
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from captum_dynamics._typing import Graph
from captum_dynamics.plots import _base
from captum_dynamics.plots._graph_parts import draw_edges, draw_nodes
from captum_dynamics.topology import FixedPointGraph

SWEEPS = 12  # orders of the rows by the mean place of neighbours settle after a few


def plot_hierarchy(
    graph: FixedPointGraph, *, ax: Axes | None = None
) -> tuple[Figure, Axes]:
    """Draw points in rows: attractors below, above them what leads to them.

    The height is the number of unstable dimensions. Only connections that lose one of
    them are drawn: those of a three-bit memory are the faces, edges and corners of a
    cube. Ends that are no known point stand in the lowest row, below the attractors.

    Args:
        graph: what `connect` returned.
        ax: where to draw; a new figure by default.

    Returns:
        The figure and the axes drawn on.

    Example:
        >>> import torch, captum_dynamics as cd
        >>> switch = cd.FunctionAdapter(lambda h, x: torch.tanh(2 * h), 1, 0)
        >>> starts = torch.tensor([[-1.0], [0.1], [1.0]])
        >>> points = cd.find_fixed_points(switch, starts, torch.zeros(1, 0))
        >>> _, ax = plot_hierarchy(cd.connect(switch, cd.linearize(switch, points)))
        >>> [float(text.get_position()[1]) for text in ax.texts]
        [0.0, 1.0, 0.0]
    """
    figure, ax = _base.axes_for(ax, width=7.6, height=4.4)
    if not graph.graph.number_of_nodes():
        _base.say_nothing_to_show(ax, "No points.")
        return figure, ax
    drawn: Graph = nx.MultiDiGraph()
    drawn.add_nodes_from(graph.graph.nodes(data=True))
    drawn.add_edges_from(
        (source, target, data)
        for source, target, data in graph.graph.edges(data=True)
        if data["unstable_drop"] == 1 or not data["verified"]
    )
    places = _places(drawn)
    draw_edges(ax, drawn, places)
    draw_nodes(ax, drawn, places)
    ax.set_xticks([])
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    ax.yaxis.set_major_formatter(lambda dim, _: f"{dim:.0f}" if dim >= 0 else "?")
    ax.set_ylabel("unstable dimensions", fontsize=_base.SMALL + 1, color=_base.INK)
    ax.margins(0.06, 0.12)
    _base.legend_above(ax, markerscale=0.7, ncols=4)
    return figure, ax


def _places(graph: Graph) -> dict[int, _base.Numbers]:
    """Even rows, in an order in which neighbours are close: few lines cross."""
    dims = {node: int(data["unstable_dim"]) for node, data in graph.nodes(data=True)}
    rows: dict[int, list[int]] = {}
    for node, dim in dims.items():
        rows.setdefault(dim, []).append(node)
    across = dict.fromkeys(graph, 0.0)
    for row in rows.values():
        across |= _spread(row)
    for sweep in range(SWEEPS):
        # Up and down in turn: each row by the mean place of its neighbours.
        for dim in sorted(rows, reverse=bool(sweep % 2)):
            near = {
                node: [across[other] for other in nx.all_neighbors(graph, node)]
                for node in rows[dim]
            }
            means = {n: np.mean(at or [across[n]]) for n, at in near.items()}
            rows[dim].sort(key=means.__getitem__)
            across |= _spread(rows[dim])
    return {node: np.array([across[node], float(dims[node])]) for node in graph}


def _spread(row: list[int]) -> dict[int, float]:
    """Places of a row's nodes, evenly over the same width as all rows."""
    return {node: (place + 0.5) / len(row) for place, node in enumerate(row)}
