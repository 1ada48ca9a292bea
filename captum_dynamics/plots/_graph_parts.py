"""Nodes and arrows of a graph of fixed points, wherever they are placed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch

from captum_dynamics._typing import Graph
from captum_dynamics.plots import _base

NODE = 150.0  # area of a node's marker, in points squared
LARGEST_LABELLED = 60
BEND = 0.14  # of an arrow; parallel ones bend more and more

Places = Mapping[int, _base.Numbers]

# Colour and name of what the kinds of edges show.
ARROWS = {
    "unstable_branch": (_base.GREY, "to an attractor"),
    "unstable_directions": (_base.PALE, "one of many ways"),
    "connecting_orbit": (_base.BLUE, "saddle to saddle"),
    "connecting_family": (_base.PALE, "one of many ways"),
    "border": (_base.ORANGE, "to no known saddle"),
}
FAINT = ("unstable_directions", "connecting_family")


def draw_nodes(ax: Axes, graph: Graph, places: Places) -> None:
    """Add markers by stability, each with its number where there are few."""
    looks = {node: _base.look(data) for node, data in graph.nodes(data=True)}
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
        unresolved = graph.nodes[node]["kind"] == "unresolved"
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


def draw_edges(ax: Axes, graph: Graph, places: Places, *, bend: float = BEND) -> None:
    """Add arrows: colour by kind, width by evidence, dashed where not verified."""
    seen = Counter[tuple[int, int]]()
    radius = (NODE / np.pi) ** 0.5
    for source, target, data in graph.edges(data=True):
        seen[source, target] += 1
        faint = data["kind"] in FAINT
        width = 0.6 if faint else 0.7 + 2.0 * data["directions"] / data["tried"]
        ax.add_patch(
            FancyArrowPatch(
                tuple(places[source]),
                tuple(places[target]),
                connectionstyle=f"arc3,rad={bend * seen[source, target]}",
                arrowstyle="-|>,head_length=5,head_width=2.5",
                linewidth=width,
                linestyle="-" if data["verified"] else "--",
                color=ARROWS[data["kind"]][0],
                shrinkA=radius,
                shrinkB=radius,
                zorder=1.5 if faint else 2,
            )
        )
    for colour, name in dict.fromkeys(
        ARROWS[data["kind"]] for *_, data in graph.edges(data=True)
    ):
        ax.add_line(Line2D([], [], color=colour, label=name))
