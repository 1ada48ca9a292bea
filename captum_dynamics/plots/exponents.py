"""Lyapunov exponents of runs, with their errors."""

from __future__ import annotations

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from captum_dynamics.lyapunov import LyapunovSpectrum
from captum_dynamics.plots import _base

ERRORS = 3.0  # standard errors that a bar extends to either side


def plot_exponents(
    spectrum: LyapunovSpectrum, *, ax: Axes | None = None
) -> tuple[Figure, Axes]:
    """Draw the Lyapunov exponents of each run in decreasing order.

    Above zero deviations grow; bars are three standard errors. Exponents of minus
    infinity, and runs that left every bound, are left out.

    Args:
        spectrum: what `lyapunov_exponents` returned.
        ax: where to draw; a new figure by default.

    Returns:
        The figure and the axes drawn on.

    Example:
        >>> import torch, captum_dynamics as cd
        >>> decay = torch.tensor([0.5, 0.25], dtype=torch.float64)
        >>> leak = cd.FunctionAdapter(lambda h, x: decay * h, 2, 0)
        >>> spectrum = cd.lyapunov_exponents(leak, torch.ones(1, 2), torch.zeros(1, 0))
        >>> _, ax = plot_exponents(spectrum)
        >>> ax.get_xlabel()
        'rank of exponent'
    """
    figure, ax = _base.axes_for(ax, width=4.6, height=3.1)
    _base.name_axes(ax, "rank of exponent", "growth per step (log)")
    ax.axhline(0, color=_base.GREY, linewidth=0.9, zorder=1)
    exponents, errors = _base.array(spectrum.exponents), _base.array(spectrum.errors)
    many = len(exponents) > len(_base.CYCLE)
    for run, (values, own) in enumerate(zip(exponents, errors, strict=True)):
        shown = np.isfinite(values)
        share = run / max(1, len(exponents) - 1)
        colour = colormaps["viridis"](share) if many else _base.CYCLE[run]
        ax.errorbar(
            np.arange(1, len(values) + 1)[shown],
            values[shown],
            yerr=ERRORS * own[shown],
            fmt="o-",
            markersize=3,
            linewidth=0.8,
            elinewidth=1,
            capsize=2,
            color=colour,
            label=None if many or len(exponents) == 1 else str(run),
        )
    if not np.isfinite(exponents).any():
        _base.say_nothing_to_show(ax, "No exponent is finite.")
    else:
        ax.locator_params(axis="x", integer=True)
    _base.legend_above(ax, title="run", title_fontsize=_base.SMALL, alignment="left")
    return figure, ax
