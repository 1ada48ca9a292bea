"""Several pictures beside each other in one figure."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from captum_dynamics.plots import _base


def panels(
    titles: Sequence[str],
    *,
    columns: int = 2,
    width: float = 3.7,
    height: float = 3.1,
) -> tuple[Figure, tuple[Axes, ...]]:
    """Make a figure with empty axes, to be drawn on by the functions of this module.

    Args:
        titles: one for each panel.
        columns: panels in a row.
        width: inches of a panel.
        height: inches of a panel.

    Returns:
        The figure and the axes, row by row.

    Raises:
        ValueError: for no title, or no column.

    Example:
        >>> figure, axes = panels(["gru", "lstm", "tanh"])
        >>> [ax.figure.get_suptitle() for ax in axes]
        ['gru', 'lstm', 'tanh']
    """
    if not titles or columns < 1:
        raise ValueError(
            f"Expected `titles` and `columns` of at least one panel, got {len(titles)} "
            f"and {columns}."
        )
    columns = min(columns, len(titles))
    rows = -(-len(titles) // columns)
    figure = Figure(figsize=(columns * width, rows * height), layout="constrained")
    # A figure in the figure for each: its title stands above legends above the axes.
    parts = figure.subfigures(rows, columns, squeeze=False).flat
    axes = []
    for part, title in zip(parts, titles, strict=False):
        part.suptitle(title, fontsize=_base.SMALL + 3, color=_base.INK)
        axes.append(part.add_subplot())
    return figure, tuple(axes)
