"""Heat around zero: blue pushes the output up, orange pulls it down, white is 0."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from captum_dynamics.plots import _base

COLOURS = LinearSegmentedColormap.from_list(
    "contributions", [_base.ORANGE, "white", _base.BLUE]
)
MOST_NAMED = 60  # steps whose names fit below the axis


def draw_heat(ax: Axes, values: _base.Numbers, **options: Any) -> Any:
    """Draw rows of numbers on colours symmetric around 0; none where NaN."""
    reach = float(np.nanmax(np.abs(values), initial=0.0)) or 1.0
    settings: dict[str, Any] = {
        "aspect": "auto",
        "interpolation": "nearest",
        "cmap": COLOURS,
    }
    return ax.imshow(values, vmin=-reach, vmax=reach, **(settings | options))


def name_colours(figure: Figure, ax: Axes, image: Any, label: str) -> None:
    """Add a bar of the colours, with what they are."""
    bar = figure.colorbar(image, ax=ax, pad=0.015, fraction=0.05)
    bar.set_label(label, fontsize=_base.SMALL + 1, color=_base.INK)
    bar.ax.tick_params(labelsize=_base.SMALL, color=_base.GREY, labelcolor=_base.INK)
    bar.outline.set_visible(False)


def name_steps(ax: Axes, names: list[str] | None) -> None:
    """Name the steps below the axis where they fit, else count them."""
    _base.name_axes(ax, "" if names and len(names) <= MOST_NAMED else "step", "")
    if names and len(names) <= MOST_NAMED:
        labels = [_base.shorten(name) for name in names]
        ax.set_xticks(range(len(names)), labels, rotation=90, fontsize=_base.SMALL - 1)
