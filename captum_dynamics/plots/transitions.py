"""An automaton: states, and the symbols that lead from one to another."""

from __future__ import annotations

import networkx as nx
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch

from captum_dynamics.plots import _base
from captum_dynamics.topology import Automaton

NODE = 620.0  # area of a state's disc, in points squared; holds five characters
BEND = 0.16  # of an arrow, so that there and back are two
LABEL_AT = 0.33  # of the way along an arrow: nearer to where it leaves
SPRING_STEPS = 200  # after which small machines rest
MOST_NAMED = 3  # symbols of one arrow that are spelled out


def plot_transitions(
    automaton: Automaton, *, ax: Axes | None = None
) -> tuple[Figure, Axes]:
    """Draw the states of an automaton by their outputs, and what each symbol does.

    A disc is a state, with its output inside. An arrow carries the symbols that lead
    along it, nearer to where it leaves; a symbol that leaves a state by no arrow
    changes nothing there. Dashed squares are ends at no known attractor. Places have no
    meaning but that states few symbols apart stand close.

    Args:
        automaton: such as `find_transitions(...).automaton(readout)`.
        ax: where to draw; a new figure by default.

    Returns:
        The figure and the axes drawn on.

    Example:
        >>> import torch, captum_dynamics as cd
        >>> machine = cd.Automaton(
        ...     torch.tensor([[1, 0], [1, 0]]), ("0", "1"), ("up", "down"), ((0,), (1,))
        ... )
        >>> _, ax = plot_transitions(machine)
        >>> sorted(text.get_text() for text in ax.texts)
        ['0', '1', 'down', 'up']
    """
    figure, ax = _base.axes_for(ax, width=6.8, height=5.6)
    ax.set_axis_off()
    if not len(automaton):
        _base.say_nothing_to_show(ax, "No states.")
        return figure, ax
    places = _places(automaton)
    symbols: dict[tuple[int, int], list[str]] = {}
    for source, target, data in automaton.graph.edges(data=True):
        symbols.setdefault((source, target), []).append(data["symbol"])
    for (source, target), names in symbols.items():
        if source != target:
            _draw_arrow(ax, places[source], places[target], names)
    for state, output in enumerate(automaton.outputs):
        _draw_state(ax, places[state], output)
    ax.set_title(
        "Symbols that leave a state by no arrow change nothing there.",
        loc="left",
        fontsize=_base.SMALL,
        color=_base.GREY,
    )
    ax.set_aspect("equal", adjustable="datalim")
    ax.margins(0.08)
    return figure, ax


def _places(automaton: Automaton) -> dict[int, _base.Numbers]:
    """Coordinates of states: symbols pull those together that they connect."""
    near = nx.Graph(automaton.graph.to_undirected())
    near.remove_edges_from(list(nx.selfloop_edges(near)))
    # From a plane drawing the springs find one without knots.
    planar = nx.check_planarity(near)[0]
    first = nx.planar_layout(near) if planar else nx.circular_layout(near)
    places: dict[int, _base.Numbers] = nx.spring_layout(
        near, pos=first, iterations=SPRING_STEPS, seed=0
    )
    return places


def _draw_state(ax: Axes, place: _base.Numbers, output: str) -> None:
    unresolved = output == "unresolved"
    x, y = place
    ax.scatter(
        x,
        y,
        s=NODE,
        marker="s" if unresolved else "o",
        color="white" if unresolved else _base.INK,
        edgecolors=_base.GREY if unresolved else "white",
        linestyle="--" if unresolved else "-",
        zorder=3,
    )
    ax.text(
        x,
        y,
        "?" if unresolved else _base.shorten(output),
        ha="center",
        va="center_baseline",
        fontsize=_base.SMALL + 1,
        color=_base.INK if unresolved else "white",
        zorder=4,
    )


def _draw_arrow(
    ax: Axes, start: _base.Numbers, end: _base.Numbers, names: list[str]
) -> None:
    radius = (NODE / np.pi) ** 0.5
    ax.add_patch(
        FancyArrowPatch(
            tuple(start),
            tuple(end),
            connectionstyle=f"arc3,rad={BEND}",
            arrowstyle="-|>,head_length=5,head_width=2.5",
            linewidth=1.0,
            color=_base.GREY,
            shrinkA=radius,
            shrinkB=radius,
            zorder=2,
        )
    )
    x, y = _along(start, end)
    ax.text(
        x,
        y,
        _join(names),
        ha="center",
        va="center",
        fontsize=_base.SMALL,
        color=_base.BLUE,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8, "alpha": 0.85},
        zorder=5,
    )


def _along(start: _base.Numbers, end: _base.Numbers) -> _base.Numbers:
    """The place of a label on the arc that matplotlib draws: a quadratic Bezier."""
    across = np.array([end[1] - start[1], start[0] - end[0]])
    control = (start + end) / 2 + BEND * across
    t = LABEL_AT
    place: _base.Numbers = (1 - t) ** 2 * start + 2 * t * (1 - t) * control + t**2 * end
    return place


def _join(names: list[str]) -> str:
    shown = [_base.shorten(name) for name in names[:MOST_NAMED]]
    if len(names) > MOST_NAMED:
        shown.append(f"{len(names) - MOST_NAMED} more")
    return ", ".join(shown)
