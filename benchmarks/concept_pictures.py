"""Pictures that explain a word of `concepts.md`, drawn from maps with known answers.

    python benchmarks/concept_pictures.py

Writes docs/images/{fixed_point,saddle,line_attractor,time_constant}.png.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import captum_dynamics as cd

FOLDER = Path(__file__).parents[1] / "docs" / "images"
INK, BLUE, ORANGE, GREY = "#1f2933", "#0072B2", "#D55E00", "#9aa5b1"


def main() -> None:
    """Draw all of them."""
    pictures = {
        "fixed_point": fixed_point,
        "saddle": saddle,
        "line_attractor": line_attractor,
        "time_constant": time_constant,
    }
    settings = {"axes.spines.top": False, "axes.spines.right": False, "font.size": 9}
    with mpl.rc_context(settings):
        for name, draw in pictures.items():
            draw().savefig(FOLDER / f"{name}.png", dpi=110)


def fixed_point() -> Figure:
    """One unit that excites itself: where F(h) meets the diagonal, nothing moves."""
    switch = cd.FunctionAdapter(lambda h, x: torch.tanh(2 * h + x), 1, 1)
    figure, axes = new_figure(2)
    grid = torch.linspace(-1.5, 1.5, 301).double()[:, None]
    for ax, given, title in zip(
        axes,
        (0.0, 1.0),
        ("no input: three points", "a constant input: one"),
        strict=True,
    ):
        x = torch.full((1, 1), given).double()
        next_states = switch(grid, x)[:, 0]
        ax.plot(grid[:, 0], grid[:, 0], color=GREY, lw=1)
        ax.plot(grid[:, 0], next_states, color=INK, lw=1.5)
        for start in (-0.2, 0.2) if given == 0 else (-1.4,):
            draw_stairs(ax, switch, start, x)
        points = cd.find_fixed_points(switch, grid, x)
        points = points[points.kind == cd.Kind.FIXED].unique()
        linear = cd.linearize(switch, points)
        draw_points(ax, linear, linear.points.states[:, [0, 0]])
        ax.set(title=title, xlabel="state h", ylabel="next state F(h, x)")
        ax.set_aspect("equal")
    return figure


def saddle() -> Figure:
    """Two units that inhibit each other: a pass between two bowls."""
    weights = torch.tensor([[1.4, -0.9], [-0.9, 1.4]]).double()
    rivals = cd.FunctionAdapter(
        lambda h, x: h + 0.2 * (torch.tanh(h @ weights) - h), 2, 0
    )
    none = torch.zeros(1, 0).double()
    figure, (ax,) = new_figure(1)
    side = torch.linspace(-1.3, 1.3, 15).double()
    grid = torch.cartesian_prod(side, side)
    motion = rivals(grid, none) - grid
    motion = motion / motion.norm(dim=1, keepdim=True).clamp_min(1e-9) ** 0.6
    ax.quiver(*grid.T, *motion.T, color=GREY, width=0.003)
    starts = torch.tensor([[1.1, 1.2], [1.2, 1.1], [-1.2, -1.1], [-1.1, -1.2]]).double()
    for run in rivals.rollout(starts, torch.zeros(4, 80, 0).double()):
        ax.plot(*run.T, color=BLUE, lw=1.5)
    ax.plot([-1.3, 1.3], [-1.3, 1.3], color=ORANGE, lw=1, ls="--")
    seeds = torch.tensor([[0.1, -0.1], [0.9, -0.9], [-0.9, 0.9]]).double()
    points = cd.find_fixed_points(rivals, seeds, none).unique()
    linear = cd.linearize(rivals, points)
    draw_points(ax, linear, points.states)
    ax.set(xlabel="unit 1", ylabel="unit 2", title="a saddle between two attractors")
    ax.set_aspect("equal")
    return figure


def line_attractor() -> Figure:
    """A gutter: beside the line states return, along it they stay."""
    along = torch.tensor([0.9, 0.44]).double()
    along = along / along.norm()
    keep = 0.8 * torch.eye(2).double() + 0.2 * torch.outer(along, along)
    gutter = cd.FunctionAdapter(lambda h, x: h @ keep + x, 2, 2)
    figure, (ax, time) = new_figure(2)
    side = torch.linspace(-2, 2, 5).double()
    starts = torch.cartesian_prod(side, side)
    for run in gutter.rollout(starts, torch.zeros(25, 30, 2).double()):
        ax.plot(*run.T, color=GREY, lw=1)
    ax.plot(
        *torch.outer(torch.tensor([-2.4, 2.4]).double(), along).T, color=INK, lw=2.5
    )
    pushes = torch.zeros(1, 60, 2).double()
    for step, size in ((5, 0.8), (18, 0.8), (32, -0.5), (45, 0.6)):
        pushes[0, step] = size * torch.tensor([0.2, 1.2]).double()
    run = gutter.rollout(torch.zeros(1, 2).double(), pushes)[0]
    ax.plot(*run.T, color=BLUE, lw=1.5, marker="o", ms=2.5)
    ax.set(xlabel="unit 1", ylabel="unit 2", title="every state goes to the line")
    ax.set_aspect("equal")
    time.plot(run @ along, color=INK, lw=2, label="along the line: kept")
    across = torch.tensor([-along[1], along[0]])
    time.plot(run @ across, color=ORANGE, lw=1.5, label="across it: forgotten")
    time.set(xlabel="step", title="four words push; their sum stays")
    time.set_ylim(-0.6, 1.7)
    time.legend(frameon=False, loc="upper left")
    return figure


def time_constant() -> Figure:
    """What is left of a deviation, for three eigenvalues."""
    figure, (ax,) = new_figure(1)
    ax.set_yticks([0, 0.25, 0.5, 0.75, 1])
    steps = np.arange(0, 61)
    level = 1 / np.e
    ax.axhline(level, color=GREY, lw=1, ls=":")
    ax.text(60, level + 0.02, "1/e", color=GREY, ha="right")
    for size, colour in ((0.5, ORANGE), (0.9, BLUE), (0.99, INK)):
        lasting = -1 / np.log(size)
        label = rf"$\lambda = {size}$: {lasting:.1f} steps"
        ax.plot(steps, size**steps, color=colour, lw=1.5, label=label)
        if lasting < steps[-1]:
            ax.plot([lasting] * 2, [0, level], color=colour, lw=1, ls=":")
    ax.set(xlabel="step", ylabel="share of a deviation that is left", ylim=(0, 1.5))
    ax.legend(frameon=False, loc="upper right", title="time constant")
    return figure


def new_figure(panels: int) -> tuple[Figure, list[Axes]]:
    """A figure outside pyplot."""
    figure = Figure(figsize=(3.9 * panels + 0.4, 3.6), layout="constrained")
    return figure, [figure.add_subplot(1, panels, k + 1) for k in range(panels)]


def draw_stairs(
    ax: Axes, dynamics: cd.DynamicsMap, start: float, x: torch.Tensor
) -> None:
    """Go up to the curve, over to the diagonal, and so on."""
    h = torch.tensor([[start]]).double()
    corners = [(start, start)]
    for _ in range(12):
        new = dynamics(h, x)
        corners += [(float(h), float(new)), (float(new), float(new))]
        h = new
    ax.plot(*np.array(corners).T, color=BLUE, lw=1.2)


def draw_points(ax: Axes, linear: cd.Linearization, places: torch.Tensor) -> None:
    """Filled circles attract, rings do not."""
    for place, dims in zip(places, linear.unstable_dims.tolist(), strict=True):
        face, edge = ("white", ORANGE) if dims else (INK, INK)
        ax.plot(*place, "o", ms=8, mfc=face, mec=edge, mew=2, zorder=5)


if __name__ == "__main__":
    main()
