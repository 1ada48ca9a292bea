"""Networks as places in a plane, by how far apart they are."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from captum_dynamics.plots import _base

AREA = 150.0  # of the first group's rings, in points squared
ROUNDING = 1e-9
SHRINK = 0.55  # of the area, from one group to the next: equal places stay visible


def plot_embedding(
    places: Float[Tensor, "n 2"], groups: Sequence[str], *, ax: Axes | None = None
) -> tuple[Figure, Axes]:
    """Draw networks where an embedding of their distances puts them, by groups.

    Every group has a colour and a size of ring, so that networks in one place are seen
    as rings around each other. The axes have the units of the distances; their
    directions mean nothing.

    Args:
        places: of n networks (n, 2), such as those of `matching.embed_distances`.
        groups: n names, such as architectures.
        ax: where to draw; a new figure by default.

    Returns:
        The figure and the axes drawn on.

    Raises:
        ValueError: when there is not one group for each place.

    Example:
        >>> import torch
        >>> from captum_dynamics.matching import embed_distances
        >>> distances = torch.tensor([[0.0, 2.0], [2.0, 0.0]])
        >>> _, ax = plot_embedding(embed_distances(distances), ["gru", "lstm"])
        >>> ax.get_legend_handles_labels()[1]
        ['gru', 'lstm']
    """
    if len(groups) != len(places):
        raise ValueError(
            f"Expected `groups` with one name for each of {len(places)} places, got "
            f"{len(groups)}."
        )
    figure, ax = _base.axes_for(ax)
    _base.name_axes(ax, "first coordinate", "second coordinate")
    at = _base.array(places)
    for number, group in enumerate(dict.fromkeys(groups)):
        own = at[[name == group for name in groups]]
        ax.scatter(
            own[:, 0],
            own[:, 1],
            s=AREA * SHRINK**number,
            facecolors="none",
            edgecolors=_base.CYCLE[number % len(_base.CYCLE)],
            linewidths=1.5,
            label=group,
            zorder=3,
        )
    if abs(at).max(initial=0) < ROUNDING:
        # The axes would be scaled to what rounding makes of no distance.
        ax.set_xlim(-1, 1)
        ax.set_ylim(-1, 1)
    ax.locator_params(nbins=5)
    ax.margins(0.15)
    ax.set_aspect("equal", adjustable="datalim")
    _base.legend_above(ax, ncols=4)
    return figure, ax
