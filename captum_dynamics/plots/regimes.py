"""What long runs end on, in the plane of its states."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from captum_dynamics.plots import _base
from captum_dynamics.regimes import Ending, Regime, Regimes

# Marker of each regime; those that leave are not drawn: they are elsewhere by now.
STYLES: dict[Regime, dict[str, Any]] = {
    Regime.REST: {"color": _base.INK, "edgecolors": "white"},
    Regime.CYCLE: {"color": _base.BLUE, "edgecolors": "white"},
    Regime.QUASI_PERIODIC: {"color": _base.GREEN, "edgecolors": "none"},
    Regime.CHAOTIC: {"color": _base.ORANGE, "edgecolors": "none"},
    Regime.UNBOUNDED: {"color": _base.INK, "marker": "$\u2197$"},
    Regime.SLOW: {"color": _base.GREY, "marker": "s"},
    Regime.UNRESOLVED: {"color": _base.PURPLE, "marker": "x", "linewidths": 1.4},
}
DENSE = {Regime.QUASI_PERIODIC, Regime.CHAOTIC}  # small dots: many states make a shape
SMALL, LARGE = 3.0, 34.0  # square points
NAMES = {
    Regime.REST: "at rest",
    Regime.CYCLE: "on a cycle",
    Regime.QUASI_PERIODIC: "quasi-periodic",
    Regime.CHAOTIC: "chaotic",
    Regime.UNBOUNDED: "unbounded, not shown",
    Regime.SLOW: "slow",
    Regime.UNRESOLVED: "unresolved",
}


def plot_regimes(regimes: Regimes, *, ax: Axes | None = None) -> tuple[Figure, Axes]:
    """Draw the sets that long runs end on, coloured by what the runs do there.

    States of a cycle are joined in the order in which they follow each other. The
    legend counts the runs of each regime, also of those that left the picture.

    Args:
        regimes: what `classify_runs` returned.
        ax: where to draw; a new figure by default.

    Returns:
        The figure and the axes drawn on.

    Example:
        >>> import torch, captum_dynamics as cd
        >>> flip = cd.FunctionAdapter(lambda h, x: torch.tanh(-2 * h), 1, 0)
        >>> starts = torch.linspace(-1, 1, 10)[:, None]
        >>> regimes = cd.classify_runs(flip, starts, torch.zeros(1, 0))
        >>> _, ax = plot_regimes(regimes)
        >>> ax.get_legend_handles_labels()[1]
        ['on a cycle: 10 of 10 runs']
    """
    figure, ax = _base.axes_for(ax, width=4.6, height=3.9)
    _base.name_axes(ax, "component 1 of the states", "component 2 of the states")
    planes = [_base.array(plane) for plane in regimes.planes]
    for ending, plane in zip(regimes.endings, planes, strict=True):
        _draw(ax, ending, plane)
    kinds = list(dict.fromkeys(ending.regime for ending in regimes.endings))
    for regime in kinds:
        label = _label(regimes.of(regime))
        ax.scatter([], [], s=LARGE, label=label, **STYLES[regime])
    if kinds == [Regime.UNBOUNDED]:
        _base.say_nothing_to_show(ax, "All runs leave every bound.")
    ax.margins(0.08)
    _base.legend_above(ax, ncols=2)
    return figure, ax


def _label(endings: tuple[Ending, ...]) -> str:
    runs = sum(ending.runs for ending in endings)
    return f"{NAMES[endings[0].regime]}: {runs} of {endings[0].count} runs"


def _draw(ax: Axes, ending: Ending, plane: _base.Numbers) -> None:
    style = STYLES[ending.regime]
    if ending.regime == Regime.UNBOUNDED:
        return
    if ending.regime == Regime.CYCLE:
        closed = [*range(len(plane)), 0]
        ax.plot(*plane[closed].T, color=style["color"], linewidth=0.7)
    size = SMALL if ending.regime in DENSE else LARGE
    ax.scatter(plane[:, 0], plane[:, 1], s=size, zorder=3, **style)
