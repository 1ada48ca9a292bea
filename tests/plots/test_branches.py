"""Branches are drawn where their numbers say: solid where they attract."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

import captum_dynamics as cd
from captum_dynamics.plots import plot_branches

NONE = torch.zeros(1, 0)
DOWN = torch.tensor([-2.0], dtype=torch.float64)


def pitchfork(gain: float) -> cd.FunctionAdapter:
    return cd.FunctionAdapter(lambda h, x: torch.tanh(gain * h), 1, 0)


def three_arms() -> cd.Branches:
    points = cd.find_fixed_points(pitchfork(0.5), torch.ones(1, 1), NONE)
    return cd.continue_parameter(pitchfork, points, 0.5, 2.0)


def lines(ax: Axes, *, solid: bool) -> list[Line2D]:
    return [line for line in ax.lines if (line.get_linestyle() == "-") == solid]


def points_of(line: Line2D) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in np.asarray(line.get_xydata())]


def test_what_attracts_is_solid_and_what_does_not_is_dashed() -> None:
    branches = three_arms()
    _, ax = plot_branches(branches, readout=DOWN)
    trunk, upper, lower = lines(ax, solid=True)
    (rest,) = lines(ax, solid=False)
    assert points_of(trunk)[-1] == pytest.approx((1, 0), abs=1e-8)
    assert points_of(rest)[0] == pytest.approx((1, 0), abs=1e-8)
    assert points_of(rest)[-1] == pytest.approx((2, 0), abs=1e-8)
    for line, branch in zip((upper, lower), branches.branches[1:], strict=True):
        expected = torch.stack([branch.parameters, -2 * branch.states[:, 0]], 1)
        assert np.asarray(line.get_xydata()) == pytest.approx(expected.numpy())


def hysteresis() -> cd.Branches:
    switch = cd.FunctionAdapter(lambda h, x: torch.tanh(2 * h + x), 1, 1)
    low, high = torch.tensor([-1.0]), torch.tensor([1.0])
    points = cd.find_fixed_points(switch, -torch.ones(1, 1), low)
    return cd.continue_points(switch, points, low, high)


def test_events_are_marked_once_in_the_legend() -> None:
    branches = hysteresis()
    _, ax = plot_branches(branches, readout=-DOWN / 2)
    for mark, event in zip(ax.collections, branches[0].events, strict=True):
        expected = np.array([[event.parameter, float(event.state)]])
        assert np.asarray(mark.get_offsets()) == pytest.approx(expected)
    names = ax.get_legend_handles_labels()[1]
    assert names == ["attractor", "unstable", "fold"]


def test_the_stretch_between_two_folds_is_dashed() -> None:
    branches = hysteresis()
    _, ax = plot_branches(branches, readout=-DOWN / 2)
    (middle,) = lines(ax, solid=False)
    first, second = branches[0].events
    ends = points_of(middle)[0], points_of(middle)[-1]
    assert ends[0] == pytest.approx((first.parameter, float(first.state)))
    assert ends[1] == pytest.approx((second.parameter, float(second.state)))
    assert len(lines(ax, solid=True)) == 2
    assert ax.get_xlabel() == "share of the way to the other input"
    assert ax.get_ylabel() == "readout"


def test_a_curve_followed_from_both_ends_is_drawn_once() -> None:
    starts = torch.tensor([[-1.0], [0.0], [1.0]])
    points = cd.find_fixed_points(pitchfork(2.0), starts, NONE)
    branches = cd.continue_parameter(pitchfork, points, 2.0, 0.5)
    assert branches.repeated == (False, False, True)
    _, ax = plot_branches(branches, readout=DOWN)
    ends = [points_of(line)[0] for line in lines(ax, solid=True)]
    assert len(ends) == 2
