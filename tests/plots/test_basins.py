"""Basins are drawn where their map says, with the points on top."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import to_hex

import captum_dynamics as cd
from captum_dynamics.plots import plot_basins
from captum_dynamics.testing import systems
from captum_dynamics.testing.systems import KnownSystem
from captum_dynamics.topology import BasinMap, Plane, map_basins


@cache
def mapped(system: KnownSystem, height: float = 0.0, steps: int = 200) -> BasinMap:
    """Basins in the plane of the first two units, at this height above the origin."""
    eye = torch.eye(system.dynamics.state_dim, dtype=torch.float64)
    plane = Plane(height * eye[2:].sum(0), eye[:2], ("unit 1", "unit 2"))
    points = cd.find_fixed_points(system.dynamics, system.states, system.inputs)
    linear = cd.linearize(system.dynamics, points)
    graph = cd.connect(system.dynamics, linear, basin_samples=0, max_steps=200)
    return map_basins(system.dynamics, graph, plane, resolution=30, max_steps=steps)


COUPLED = systems.coupled_switches()


def mesh(ax: Axes) -> QuadMesh:
    (found,) = (c for c in ax.collections if isinstance(c, QuadMesh))
    return found


def test_each_basin_has_one_colour_and_borders_are_those_of_the_map() -> None:
    basins = mapped(COUPLED)
    figure, ax = plot_basins(basins)
    figure.draw_without_rendering()
    colours = mesh(ax).get_facecolors().reshape(30, 30, 4)
    seen = {}
    for node in basins.graph.attractors:
        shown = {to_hex(colour) for colour in colours[(basins.labels == node).numpy()]}
        assert len(shown) == 1
        seen[node] = shown.pop()
    assert len(set(seen.values())) == 4
    low, high = ax.get_xlim()
    assert low < float(basins.x[0]) < float(basins.x[-1]) < high
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("unit 1", "unit 2")


def test_points_in_the_plane_stand_at_their_places_with_their_numbers() -> None:
    basins = mapped(COUPLED)
    _, ax = plot_basins(basins)
    numbers = {int(text.get_text()): text.xy for text in ax.texts}  # type: ignore[attr-defined]
    assert sorted(numbers) == list(range(9))
    for node, place in enumerate(basins.places.numpy()):
        assert numbers[node] == pytest.approx(place)
    names = ax.get_legend_handles_labels()[1]
    assert names == ["attractor (4)", "saddle (4)", "repeller (1)"]


def test_points_off_the_plane_are_small_and_their_basins_named() -> None:
    basins = mapped(systems.uncoupled_switches(3), height=0.5)
    _, ax = plot_basins(basins)
    names = ax.get_legend_handles_labels()[1]
    assert sum("off the plane" in name for name in names) == len(names)
    upper = {
        node
        for node in basins.graph.attractors
        if basins.graph.linearization.points.states[node, 2] > 0
    }
    assert {text.get_text() for text in ax.texts} == {f"to {n}" for n in upper}
    for text in ax.texts:
        centre = basins.centres[int(text.get_text()[3:])]
        assert text.get_position() == pytest.approx(centre)
    sizes = [c.get_sizes() for c in ax.collections if not isinstance(c, QuadMesh)]
    assert np.concatenate(sizes).max() < 20


def test_states_that_reach_nothing_are_white_and_no_others() -> None:
    basins = mapped(COUPLED, steps=32)
    lost = (basins.labels == -1).flatten().numpy()
    assert 0 < lost.sum() < len(lost)
    figure, ax = plot_basins(basins)
    figure.draw_without_rendering()
    white = [to_hex(colour) == "#ffffff" for colour in mesh(ax).get_facecolors()]
    assert white == lost.tolist()


def test_given_axes_are_drawn_on() -> None:
    basins = mapped(COUPLED)
    figure, ax = plot_basins(basins)
    assert plot_basins(basins, ax=ax) == (figure, ax)
