"""Speeds and loops are drawn where their numbers say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from captum_dynamics.plots import plot_persistence, plot_speed_profile
from captum_dynamics.testing import sample_cloud
from captum_dynamics.topology import Shape, SpeedProfile, find_shape


def profile(*, closed: bool = False) -> SpeedProfile:
    arcs = torch.arange(5, dtype=torch.float64)
    speeds = torch.tensor([1.0, -1.0, -3.0, 1.0, 2.0], dtype=torch.float64)
    return SpeedProfile(arcs, speeds, torch.arange(5), 4.0 + closed, closed)


def offsets(ax: Axes, label: str) -> list[list[float]]:
    (dots,) = (c for c in ax.collections if c.get_label() == label)
    return [list(map(float, pair)) for pair in np.asarray(dots.get_offsets())]


def test_the_speed_is_drawn_with_its_zeros_by_stability() -> None:
    _, ax = plot_speed_profile(profile())
    curve = next(line for line in ax.lines if len(line.get_xdata()) == 5)
    assert list(curve.get_ydata()) == [1.0, -1.0, -3.0, 1.0, 2.0]
    assert offsets(ax, "stable") == [[0.5, 0.0]]
    assert offsets(ax, "unstable") == [[2.75, 0.0]]
    assert ax.get_xlim() == (0.0, 4.0)


def test_axes_name_the_ring_or_the_line() -> None:
    assert plot_speed_profile(profile())[1].get_xlabel().endswith("the line")
    assert plot_speed_profile(profile(closed=True))[1].get_xlabel().endswith("the ring")


def test_loops_are_drawn_at_birth_and_death_and_lasting_ones_apart() -> None:
    angles = 2 * np.pi * torch.arange(60, dtype=torch.float64) / 60
    found = find_shape(torch.stack([angles.cos(), angles.sin()], dim=1))
    weak = torch.tensor([[0.5, 1.0]], dtype=torch.float64)
    found = replace(found, loops=torch.cat([found.loops, weak]))
    _, ax = plot_persistence(found)
    assert offsets(ax, "lasts") == [pytest.approx(found.loops[0].tolist())]
    assert offsets(ax, "noise") == [[0.5, 1.0]]
    dashed = next(line for line in ax.lines if "births" in str(line.get_label()))
    x, y = dashed.get_data()
    assert float(y[1] / x[1]) == found.threshold == 3.0


def test_the_threshold_of_a_surface_is_that_of_a_torus() -> None:
    states = sample_cloud("disc", 200, generator=torch.Generator().manual_seed(0))
    assert find_shape(states).threshold == 2.5


def test_what_is_not_there_is_said_and_the_axes_are_the_callers() -> None:
    none = torch.zeros(0, dtype=torch.float64)
    empty = SpeedProfile(none, none, none.long(), 0.0, False)
    blank = find_shape(torch.randn(5, 2))
    assert blank.shape is Shape.NONE
    for draw, word in (
        (lambda ax: plot_speed_profile(empty, ax=ax), "no line or ring"),
        (lambda ax: plot_persistence(blank, ax=ax), "not looked for"),
    ):
        own = Figure().add_subplot()
        figure, ax = draw(own)
        assert (figure, ax) == (own.figure, own)
        assert word in ax.texts[0].get_text()
