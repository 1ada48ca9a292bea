"""The speed along a line or ring of slow points, and where it stops."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from captum_dynamics.plots import _base
from captum_dynamics.topology import SpeedProfile


def plot_speed_profile(
    profile: SpeedProfile, *, ax: Axes | None = None
) -> tuple[Figure, Axes]:
    """Draw the signed speed along a curve of slow points against arc length.

    Above zero states move to the right, below to the left. A filled mark is a stable
    zero, to which states come from both sides; a ring is an unstable one, which they
    leave.

    Args:
        profile: of a line or ring, such as `manifold.profile`.
        ax: where to draw; a new figure by default.

    Returns:
        The figure and the axes drawn on.

    Example:
        >>> import torch, captum_dynamics as cd
        >>> from captum_dynamics.topology import trace_slow_manifold
        >>> decay = torch.tensor([0.999, 0.2], dtype=torch.float64)
        >>> leak = cd.FunctionAdapter(lambda h, x: decay * h, 2, 0)
        >>> states = torch.randn(60, 2, generator=torch.Generator().manual_seed(0))
        >>> slow = trace_slow_manifold(leak, states, torch.zeros(1, 0), task_step=1.0)
        >>> _, ax = plot_speed_profile(slow.profile)
        >>> ax.get_xlabel()
        'arc length along the line'
    """
    figure, ax = _base.axes_for(ax, width=4.6)
    shape = "ring" if profile.closed else "line"
    _base.name_axes(ax, f"arc length along the {shape}", "speed along it (per step)")
    if not len(profile):
        _base.say_nothing_to_show(ax, "The slow points form no line or ring.")
        return figure, ax
    arcs, speeds = _base.array(profile.arcs), _base.array(profile.speeds)
    ax.axhline(0, color=_base.GREY, linewidth=0.8)
    ax.plot(arcs, speeds, color=_base.BLUE, linewidth=1.2, marker="o", markersize=2.5)
    zeros, stable = _base.array(profile.zeros), _base.array(profile.stable)
    marks = (("stable", stable, "attractor"), ("unstable", ~stable, "saddle"))
    for label, rows, kind in marks:
        if rows.any():
            places = zeros[rows]
            ax.scatter(
                places,
                0 * places,
                s=42,
                zorder=4,
                label=label,
                clip_on=False,
                **_base.MARKERS[kind],
            )
    ax.set_xlim(0, profile.length)
    ax.ticklabel_format(axis="y", scilimits=(-2, 3), useMathText=True)
    ax.yaxis.get_offset_text().set_fontsize(_base.SMALL)
    _base.legend(ax, loc="upper right", bbox_to_anchor=(1, 1.14), ncols=2)
    return figure, ax
