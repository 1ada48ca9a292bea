"""What every figure shares: its own canvas, colours, markers, and light axes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

Drawing = tuple[Figure, Axes]
Numbers = NDArray[Any]

# Colour-blind safe (Okabe and Ito), darkened where white text or thin lines need it.
BLUE = "#0072B2"
ORANGE = "#C24E00"
GREEN = "#009E73"
PURPLE = "#A8508A"
GREY = "#8A9099"
PALE = "#C9CED6"
INK = "#1F2933"
CYCLE = (BLUE, ORANGE, GREEN, PURPLE, "#E69F00", "#56B4E9", INK, "#8C6D31")

# Colour and marker of each stability, by its lower-case name in results and graphs.
MARKERS: dict[str, dict[str, Any]] = {
    "attractor": {"marker": "o", "facecolors": INK, "edgecolors": "white"},
    "saddle": {"marker": "o", "facecolors": "white", "edgecolors": ORANGE},
    "repeller": {"marker": "^", "facecolors": ORANGE, "edgecolors": "white"},
    "marginal": {"marker": "D", "facecolors": PURPLE, "edgecolors": "white"},
    "continuum": {"marker": "D", "facecolors": PURPLE, "edgecolors": "white"},
    "cycle": {"marker": "h", "facecolors": GREEN, "edgecolors": "white"},
    "quasi_periodic": {"marker": "p", "facecolors": GREEN, "edgecolors": "white"},
    "chaotic": {"marker": "*", "facecolors": GREEN, "edgecolors": "white"},
    "not fixed": {"marker": "s", "facecolors": "white", "edgecolors": GREY},
}
CLASS_COLOURS = {"neutral": GREY, "negative": ORANGE, "positive": BLUE}
SMALL = 8.0  # points; the text of ticks, legends and labels
LONGEST_NAME = 14  # characters of a word in a picture


def axes_for(
    ax: Axes | None, *, width: float = 3.7, height: float = 3.1
) -> tuple[Figure, Axes]:
    """Return the given axes with their figure, or new ones outside pyplot."""
    if ax is None:
        figure = Figure(figsize=(width, height), layout="constrained")
        ax = figure.add_subplot()
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(GREY)
    ax.tick_params(which="both", labelsize=SMALL, color=GREY, labelcolor=INK)
    ax.grid(True, color="#E8EBEF", linewidth=0.6)
    ax.set_axisbelow(True)
    # The whole figure, where the axes are of a part of one.
    return ax.figure.figure, ax


def name_axes(ax: Axes, x: str, y: str) -> None:
    """Say what the axes show, with units."""
    ax.set_xlabel(x, fontsize=SMALL + 1, color=INK)
    ax.set_ylabel(y, fontsize=SMALL + 1, color=INK)


def name_plane(ax: Axes) -> None:
    """Name the axes of the plane of visited states, to the same scale."""
    name_axes(ax, "component 1 of visited states", "component 2 of visited states")
    ax.set_aspect("equal", adjustable="datalim")


def legend(ax: Axes, **options: Any) -> None:
    """Add a small legend where anything has a label."""
    if ax.get_legend_handles_labels()[0]:
        settings = {"fontsize": SMALL, "framealpha": 0.85, "edgecolor": "none"}
        ax.legend(**(settings | options))


def legend_above(ax: Axes, **options: Any) -> None:
    """Add a legend in one line above the axes, where it hides nothing."""
    place = {"loc": "lower left", "bbox_to_anchor": (0, 1), "ncols": len(CYCLE)}
    legend(ax, **(place | {"columnspacing": 1.0, "handletextpad": 0.2} | options))


def say_nothing_to_show(ax: Axes, reason: str) -> None:
    """Write in the middle of empty axes why they are empty."""
    ax.text(
        0.5,
        0.5,
        reason,
        transform=ax.transAxes,
        ha="center",
        va="center",
        color=INK,
        fontsize=SMALL + 1,
        wrap=True,
    )
    ax.set_xticks([])
    ax.set_yticks([])


def shorten(name: str, longest: int = LONGEST_NAME) -> str:
    """Cut a long name, and keep matplotlib from reading mathematics in it."""
    name = name if len(name) <= longest else name[: longest - 1] + "…"
    return name.replace("$", r"\$")


def look(data: Mapping[str, Any]) -> str:
    """The marker's name of a node: its kind, its stability, or "not fixed"."""
    kind, stability = str(data["kind"]), str(data["stability"])
    if kind in MARKERS:
        return kind
    known = kind == "fixed_point" and stability in MARKERS
    return stability if known else "not fixed"


def array(values: Tensor) -> Numbers:
    """Bring a tensor to where matplotlib can read it."""
    numbers: Numbers = values.detach().cpu().numpy()
    return numbers
