"""The graph of fixed points, in state space."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch
from torch import Tensor

from captum_dynamics.plots import _base
from captum_dynamics.topology import FixedPointGraph

NODE = 150.0  # area of a node's marker, in points squared
LARGEST_LABELLED = 60
CROWDED = 0.02  # points closer than this share of the width hide each other
SLANT = (0.38, 0.27)  # shift in the plane for a unit of the third component
BEND = 0.14  # of an arrow; parallel ones bend more and more


def plot_graph(
    graph: FixedPointGraph, *, positions: Tensor | None = None, ax: Axes | None = None
) -> tuple[Figure, Axes]:
    """Draw fixed points where they are, and the connections between them.

    Filled circles attract, rings are saddles, triangles repel, diamonds are marginal.
    An arrow follows an unstable direction to where it ends, and is the wider the more
    of the tried directions went there; dashed ones end at no known attractor, and
    their squares with a question mark stand beside their source.

    Args:
        graph: what `connect` returned.
        positions: coordinates (n, 2) of the n points; by default the graph's own, the
            principal components of the points. Where points hide each other in their
            plane, the third component is drawn slantwise, and the axes say so.
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
    if positions is None:
        positions = _draw_own_plane(ax, graph)
    else:
        _base.name_axes(
            ax, "component 1 of visited states", "component 2 of visited states"
        )
    places = _places(graph, positions)
    _draw_edges(ax, graph, places)
    _draw_nodes(ax, graph, places)
    ax.margins(0.12)
    _base.legend_above(ax, markerscale=0.7)
    return figure, ax


def _draw_own_plane(ax: Axes, graph: FixedPointGraph) -> Tensor:
    """Name the axes after the coordinates (n, 2) that the graph's nodes carry."""
    nodes = graph.graph.nodes
    rows = range(len(graph.linearization))
    pairs = [[nodes[row]["x"], nodes[row]["y"]] for row in rows]
    positions = torch.tensor(pairs, dtype=torch.float64)
    slants = ["", ""]
    if hidden(positions):
        slants = [f" + {part} x component 3" for part in SLANT]
        depth = graph.depth.detach().cpu()
        positions = positions + depth[:, None] * positions.new_tensor(SLANT)
    names = [f"component {i + 1}{slants[i]} of the fixed points" for i in (0, 1)]
    _base.name_axes(ax, *names)
    return positions


def hidden(positions: Tensor) -> bool:
    """Whether points lie on top of each other in the plane."""
    if len(positions) < 2:
        return False
    width = (positions.amax(0) - positions.amin(0)).max()
    return bool(torch.pdist(positions).min() < CROWDED * width)


def _places(graph: FixedPointGraph, positions: Tensor) -> dict[int, _base.Numbers]:
    known = dict(enumerate(_base.array(positions)))
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


def _draw_nodes(
    ax: Axes, graph: FixedPointGraph, places: dict[int, _base.Numbers]
) -> None:
    looks = {n: _look(data) for n, data in graph.graph.nodes(data=True)}
    labelled = len(looks) <= LARGEST_LABELLED
    size = NODE if labelled else NODE / 4
    for name, style in _base.MARKERS.items():
        members = [node for node, look in looks.items() if look == name]
        if not members:
            continue
        at = np.stack([places[node] for node in members])
        # A triangle needs a larger area to hold a number.
        area = 2 * size if name == "repeller" else size
        label = f"{name} ({len(members)})"
        ax.scatter(
            at[:, 0], at[:, 1], s=area, linewidths=1.6, zorder=3, label=label, **style
        )
    for node, look in looks.items() if labelled else ():
        x, y = places[node]
        unresolved = graph.graph.nodes[node]["kind"] == "unresolved"
        ax.text(
            x,
            y,
            "?" if unresolved else str(node),
            ha="center",
            va="center_baseline",
            fontsize=_base.SMALL - 1,
            color=_base.INK if look in ("saddle", "not fixed") else "white",
            zorder=4,
        )


def _look(data: dict[str, Any]) -> str:
    known = data["kind"] == "fixed_point" and data["stability"] in _base.MARKERS
    return str(data["stability"]) if known else "not fixed"


def _draw_edges(
    ax: Axes, graph: FixedPointGraph, places: dict[int, _base.Numbers]
) -> None:
    seen = Counter[tuple[int, int]]()
    radius = (NODE / np.pi) ** 0.5
    for source, target, data in graph.graph.edges(data=True):
        seen[source, target] += 1
        share = data["directions"] / data["tried"]
        ax.add_patch(
            FancyArrowPatch(
                tuple(places[source]),
                tuple(places[target]),
                connectionstyle=f"arc3,rad={BEND * seen[source, target]}",
                arrowstyle="-|>,head_length=5,head_width=2.5",
                linewidth=0.7 + 2.0 * share,
                linestyle="-" if data["verified"] else "--",
                color=_base.GREY,
                shrinkA=radius,
                shrinkB=radius,
                zorder=2,
            )
        )
