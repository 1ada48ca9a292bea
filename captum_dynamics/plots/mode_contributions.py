"""Through which mode each step of a sequence contributes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from captum_dynamics.attr.modes import ModeAttributions
from captum_dynamics.plots import _base
from captum_dynamics.plots._heat import draw_heat, name_colours, name_steps


def plot_mode_contributions(
    modes: ModeAttributions,
    *,
    document: int = 0,
    tokens: Sequence[str] | None = None,
    most: int = 6,
    ax: Axes | None = None,
) -> tuple[Figure, Axes]:
    """Draw the contributions of one sequence by step and subspace, the slowest on top.

    A row is a subspace of the point nearest to each step, and so of several points: it
    is named with the median of its time constants, in steps, and their range in
    brackets. The last row is the sum of all subspaces that are not shown.

    Args:
        modes: contributions by subspace, of `EigenmodeAttribution.attribute_modes`.
        document: which sequence.
        tokens: names of its steps; as many steps are drawn. All, by number, by default.
        most: subspaces drawn, the slowest ones.
        ax: where to draw; a new figure by default.

    Returns:
        The figure and the axes drawn on.

    Raises:
        ValueError: If there are more `tokens` than steps, or `most` is not positive.
    """
    steps = modes.contributions.shape[1] if tokens is None else len(tokens)
    if not 0 < steps <= modes.contributions.shape[1]:
        raise ValueError(
            f"Expected `tokens` for 1 to {modes.contributions.shape[1]} steps, got "
            f"{steps}."
        )
    if most < 1:
        raise ValueError(f"Expected `most` to be positive, got {most}.")
    shown = min(most, modes.contributions.shape[2])
    values = _base.array(modes.slowest(shown)[document, :steps]).T
    times = _base.array(modes.token_time_constants[document, :steps])
    labels = [_label(times[:, row]) for row in range(shown)] + ["all others"]
    rows = len(labels) if shown < modes.contributions.shape[2] else shown
    figure, ax = _base.axes_for(
        ax, width=max(5.0, 2.6 + 0.16 * min(steps, 60)), height=1.5 + 0.24 * rows
    )
    ax.grid(False)
    image = draw_heat(ax, values[:rows])
    name_steps(ax, None if tokens is None else list(tokens))
    ax.set_ylabel("mode: time constant (steps)", fontsize=_base.SMALL + 1)
    ax.set_yticks(range(rows), labels[:rows], fontsize=_base.SMALL)
    name_colours(figure, ax, image, "contribution to the output")
    return figure, ax


def _label(times: _base.Numbers) -> str:
    """Median and range of time constants; those of growing modes are none."""
    known = times[np.isfinite(times)]
    if not len(known):
        return "grows or stays"
    low, middle, high = np.quantile(known, (0.0, 0.5, 1.0))
    spread = f" ({_number(low)} to {_number(high)})" if high > 1.05 * low else ""
    grows = ", or grows" if len(known) < len(times) else ""
    return f"{_number(middle)}{spread}{grows}"


def _number(steps: float) -> str:
    return f"{steps:,.0f}" if steps >= 100 else f"{steps:.2g}"
