"""What several figures draw in the plane of visited states."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes

from captum_dynamics.findings import Findings, Visits
from captum_dynamics.fixed_points import Kind
from captum_dynamics.linearization import Stability
from captum_dynamics.plots import _base


def draw_visits(ax: Axes, visits: Visits) -> None:
    """Add visited states as pale dots in the background."""
    plane = _base.array(visits.plane)
    ax.scatter(
        plane[:, 0],
        plane[:, 1],
        s=1.5,
        color=_base.PALE,
        alpha=0.5,
        linewidths=0,
        rasterized=True,
        zorder=1,
    )


def draw_points(ax: Axes, findings: Findings) -> None:
    """Add the distinct points of the search, marked by stability."""
    plane = _base.array(findings.visits.project(findings.points.states))
    draw_by_stability(ax, plane, point_names(findings), size=55, zorder=4)


def draw_by_stability(
    ax: Axes, places: _base.Numbers, names: Sequence[str], *, size: float, zorder: float
) -> None:
    """Add points (n, 2), each with the marker of its stability, and count them."""
    for name, style in _base.MARKERS.items():
        rows = [row for row, known in enumerate(names) if known == name]
        if rows:
            ax.scatter(
                places[rows, 0],
                places[rows, 1],
                s=size,
                linewidths=1.6,
                zorder=zorder,
                label=f"{name} ({len(rows)})",
                **style,
            )


def point_names(findings: Findings) -> list[str]:
    """Name each point's stability; "not fixed" for rests of a failed search."""
    verdicts = findings.linearization.stability.tolist()
    fixed = (findings.points.kind == Kind.FIXED).tolist()
    return [
        Stability(verdict).name.lower() if is_fixed else "not fixed"
        for verdict, is_fixed in zip(verdicts, fixed, strict=True)
    ]
