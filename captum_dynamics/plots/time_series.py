"""Attributed time series: the channels of a sequence on the colours of their parts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from captum_dynamics import _checks
from captum_dynamics.plots import _base
from captum_dynamics.plots._heat import draw_heat, name_colours

MOST_CURVES = 16  # channels that are drawn as curves
LANE = 0.42  # half of the height of a curve, where lanes are 1 apart


def plot_time_series(
    inputs: Float[Tensor, "t k"],
    attributions: Float[Tensor, "t k"],
    *,
    channels: Sequence[str] | None = None,
    ax: Axes | None = None,
) -> tuple[Figure, Axes]:
    """Draw each channel of one sequence over the heat of its attributions.

    Curves share one scale, so that their sizes compare, and each is centred in its
    lane: a dotted line is its 0, where that is in view. Of more than 16 channels the
    heat alone is drawn.

    Args:
        inputs: the sequence, one example of what a method explained.
        attributions: of each step and channel, from any method.
        channels: names of the channels; numbers by default.
        ax: where to draw; a new figure by default.

    Returns:
        The figure and the axes drawn on.

    Raises:
        ValueError: If the shapes differ, or there is no name for each channel.

    Example:
        >>> import torch
        >>> from captum_dynamics.plots import plot_time_series
        >>> wave = torch.linspace(0, 6, 40).sin()[:, None]
        >>> figure, ax = plot_time_series(wave, wave.square(), channels=["wave"])
        >>> [label.get_text() for label in ax.get_yticklabels()]
        ['wave']
    """
    if inputs.ndim != 2 or 0 in inputs.shape:
        raise ValueError(
            f"Expected `inputs` of one sequence, (t, k), got {tuple(inputs.shape)}."
        )
    _checks.check_shape("attributions", attributions, tuple(inputs.shape))
    count = inputs.shape[1]
    names = [str(row) for row in range(count)] if channels is None else list(channels)
    if len(names) != count:
        raise ValueError(
            f"Expected `channels` to name {count} channels, got {len(names)} names."
        )
    lanes = 0.45 if count <= MOST_CURVES else 0.16
    figure, ax = _base.axes_for(
        ax, width=8.0, height=min(9.0, max(2.0, 0.9 + lanes * count))
    )
    ax.grid(False)
    image = draw_heat(ax, _base.array(attributions).T)
    if count <= MOST_CURVES:
        _draw_curves(ax, _base.array(inputs))
    _base.name_axes(ax, "step", "channel")
    if count <= MOST_CURVES or channels is not None:
        labels = [_base.shorten(name) for name in names]
        ax.set_yticks(range(count), labels, fontsize=_base.SMALL)
    name_colours(figure, ax, image, "contribution to the output")
    return figure, ax


def _draw_curves(ax: Axes, inputs: _base.Numbers) -> None:
    """One curve a lane, all to the scale of the one that moves most."""
    low, high = np.nanmin(inputs, axis=0), np.nanmax(inputs, axis=0)
    middles = (low + high) / 2
    reach = float(np.nanmax(high - low)) / 2 or 1.0
    steps = np.arange(len(inputs))
    for lane, middle in enumerate(middles):
        # The axis of an image points down.
        heights = lane - LANE * (inputs[:, lane] - middle) / reach
        zero = lane + LANE * middle / reach
        if abs(zero - lane) <= LANE:
            ax.plot(steps[[0, -1]], [zero] * 2, ":", color=_base.GREY, linewidth=0.7)
        ax.plot(steps, heights, drawstyle="steps-mid", color=_base.INK, linewidth=1.1)
        if lane:
            ax.axhline(lane - 0.5, color="white", linewidth=1.2)
