"""Branches of fixed points over a parameter: the bifurcation diagram."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from captum_dynamics.continuation import Branch, BranchEnd, Branches, EventKind
from captum_dynamics.plots import _base

# Marker of each kind of event.
EVENTS: dict[EventKind, dict[str, Any]] = {
    EventKind.FOLD: {"marker": "o", "facecolors": "white", "edgecolors": _base.INK},
    EventKind.BRANCH_POINT: {
        "marker": "s",
        "facecolors": _base.INK,
        "edgecolors": "white",
    },
    EventKind.FLIP: {
        "marker": "^",
        "facecolors": _base.ORANGE,
        "edgecolors": "white",
    },
    EventKind.NEIMARK_SACKER: {
        "marker": "D",
        "facecolors": _base.PURPLE,
        "edgecolors": "white",
    },
    EventKind.CORNER: {"marker": "v", "facecolors": "white", "edgecolors": _base.GREY},
}
Piece = tuple[list[float], list[float], bool]


def plot_branches(
    branches: Branches, *, readout: Tensor | None = None, ax: Axes | None = None
) -> tuple[Figure, Axes]:
    """Draw fixed points against the parameter they were followed over.

    Attractors are solid, points with any unstable direction dashed, each branch in a
    colour of its own as long as there are enough; events are marked by kind. A curve
    that was followed from both of its ends is drawn once. Branches that cross in the
    picture need not meet: it shows one number of each state.

    Args:
        branches: what `continue_points` or `continue_parameter` returned.
        readout: weights (d,) of the number to show; by default the first principal
            component of all states.
        ax: where to draw; a new figure by default.

    Returns:
        The figure and the axes drawn on.

    Example:
        >>> import torch, captum_dynamics as cd
        >>> def family(gain):
        ...     return cd.FunctionAdapter(lambda h, x: torch.tanh(gain * h), 1, 0)
        >>> none = torch.zeros(1, 0)
        >>> points = cd.find_fixed_points(family(0.5), torch.ones(1, 1), none)
        >>> _, ax = plot_branches(cd.continue_parameter(family, points, 0.5, 2.0))
        >>> ax.get_xlabel()
        'parameter'
    """
    figure, ax = _base.axes_for(ax, width=5.2, height=3.6)
    name = "component 1 of the states" if readout is None else "readout"
    _base.name_axes(ax, branches.name, name)
    heights = branches.heights(readout)
    marks = branches.event_heights(readout)
    repeated = branches.repeated
    many = len(branches) > len(_base.CYCLE)
    named: set[str] = set()
    for row, branch in enumerate(branches):
        if repeated[row]:
            continue  # dashes drawn twice are no dashes
        colour = _base.INK if many else _base.CYCLE[row]
        for across, up, stable in _pieces(branch, heights[row].tolist(), marks[row]):
            label = "attractor" if stable else "unstable"
            ax.plot(
                across,
                up,
                color=colour,
                linewidth=1.6 if stable else 1.1,
                linestyle="-" if stable else (0, (4, 2)),
                label=None if label in named else label,
            )
            named.add(label)
        _draw_events(ax, branch, marks[row], named)
    _base.legend_above(ax)
    return figure, ax


def _draw_events(
    ax: Axes, branch: Branch, heights: list[float], named: set[str]
) -> None:
    for event, height in zip(branch.events, heights, strict=True):
        label = None if event.name in named else event.name
        named.add(event.name)
        ax.scatter(
            event.parameter, height, s=34, zorder=4, label=label, **EVENTS[event.kind]
        )


def _pieces(branch: Branch, heights: list[float], marks: list[float]) -> list[Piece]:
    """Cut a branch into lines of one stability, with its events where they meet."""
    parameters, counts = branch.parameters.tolist(), branch.unstable_dims.tolist()
    pieces: list[Piece] = []

    def draw(x: float, y: float, stable: bool) -> None:
        if pieces and pieces[-1][2] != stable:
            pieces.append(([pieces[-1][0][-1]], [pieces[-1][1][-1]], stable))
        if not pieces:
            pieces.append(([], [], stable))
        pieces[-1][0].append(x)
        pieces[-1][1].append(y)

    # A branch point counts its neutral direction as stable: the row beside it tells.
    if branch.parent >= 0:
        counts[0] = counts[1]
    if branch.end == BranchEnd.CLOSED:
        counts[-1] = counts[-2]
    draw(parameters[0], heights[0], counts[0] == 0)
    for row in range(1, len(branch)):
        for event, mark in zip(branch.events, marks, strict=True):
            if event.row == row - 1:
                draw(event.parameter, mark, counts[row - 1] == 0)
        draw(parameters[row], heights[row], counts[row] == 0)
    return pieces
