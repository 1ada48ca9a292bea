"""Spectra and graphs are drawn where their numbers say, and stay legible."""

from __future__ import annotations

import itertools

import networkx as nx
import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from matplotlib.patches import FancyArrowPatch

import captum_dynamics as cd
from captum_dynamics.plots import plot_graph, plot_hierarchy, plot_spectrum
from captum_dynamics.testing.systems import ring, spiral, uncoupled_switches


def switches(n: int) -> cd.FixedPointGraph:
    """Connect the 3^n points of n bistable switches."""
    system = uncoupled_switches(n)
    points = cd.find_fixed_points(system.dynamics, system.states, system.inputs)
    linear = cd.linearize(system.dynamics, points.unique())
    return cd.connect(system.dynamics, linear, basin_samples=0)


def test_every_eigenvalue_is_drawn_with_one_colour_a_point() -> None:
    linear = switches(1).linearization
    _, ax = plot_spectrum(linear)
    seen = set()
    for dots, values in zip(ax.collections, linear.eigenvalues, strict=True):
        pairs = torch.stack([values.real, values.imag], dim=1).numpy()
        assert np.asarray(dots.get_offsets()) == pytest.approx(pairs)
        seen.add(to_hex(dots.get_facecolor()[0]))
    assert len(seen) == len(linear)


def test_multipliers_near_one_are_drawn_again_larger() -> None:
    decay = torch.tensor([0.999, 0.2], dtype=torch.float64)
    leak = cd.FunctionAdapter(lambda h, x: decay * h, 2, 0)
    points = cd.find_fixed_points(leak, torch.ones(1, 2), torch.zeros(1, 0))
    _, ax = plot_spectrum(cd.linearize(leak, points))
    (inset,) = ax.child_axes
    low, high = inset.get_xlim()
    assert low < 0.999 < 1 < high
    assert high - low < 0.01


def test_multipliers_far_from_one_need_no_zoom() -> None:
    _, ax = plot_spectrum(switches(1).linearization)
    assert ax.child_axes == []


def test_nodes_stand_at_their_coordinates_with_an_arrow_for_every_edge() -> None:
    graph = switches(2)
    _, ax = plot_graph(graph)
    placed = {int(text.get_text()): text.get_position() for text in ax.texts}
    for node, data in graph.graph.nodes(data=True):
        assert placed[node] == pytest.approx((data["x"], data["y"]))
    arrows = [p for p in ax.patches if isinstance(p, FancyArrowPatch)]
    assert len(arrows) == graph.graph.number_of_edges()


def test_a_given_plane_is_used() -> None:
    graph = switches(1)
    _, ax = plot_graph(
        graph, project=lambda states: torch.cat([3 * states, states + 5], 1)
    )
    for row, text in enumerate(ax.texts):
        state = float(graph.linearization.points.states[row])
        assert text.get_position() == pytest.approx((3 * state, state + 5))


def test_twenty_seven_points_of_a_cube_do_not_hide_each_other() -> None:
    graph = switches(3)
    figure, ax = plot_graph(graph)
    figure.draw_without_rendering()
    places = ax.transData.transform([text.get_position() for text in ax.texts])
    assert len(places) == 27
    gaps = [np.linalg.norm(a - b) for a, b in itertools.combinations(places, 2)]
    # A marker of 150 square points is 14 points across, 19 pixels at 100 dpi.
    assert min(gaps) > 19
    assert "component 3" in ax.get_xlabel()


def test_width_of_an_arrow_grows_with_the_evidence() -> None:
    graph = switches(1)
    first, second = graph.graph.edges(keys=True)
    graph.graph.edges[first].update(directions=1, tried=10)
    graph.graph.edges[second].update(directions=9, tried=10)
    _, ax = plot_graph(graph)
    thin, thick = (p.get_linewidth() for p in ax.patches)
    assert thin < thick


def test_an_unresolved_end_stands_beside_its_source_as_a_question() -> None:
    known = switches(1)
    graph: nx.MultiDiGraph[int] = known.graph.copy()
    graph.add_node(3, kind="unresolved", stability="unknown", unstable_dim=-1)
    graph.add_edge(1, 3, kind="unstable_branch", directions=1, tried=2, verified=False)
    _, ax = plot_graph(cd.FixedPointGraph(graph, known.linearization))
    assert [text.get_text() for text in ax.texts] == ["0", "1", "2", "?"]
    (dashed,) = (p for p in ax.patches if p.get_linestyle() == "--")
    assert isinstance(dashed, FancyArrowPatch)


def test_rows_of_the_hierarchy_are_unstable_dimensions() -> None:
    graph = switches(3)
    figure, ax = plot_hierarchy(graph)
    dims = dict(graph.graph.nodes(data="unstable_dim"))
    for text in ax.texts:
        assert text.get_position()[1] == dims[int(text.get_text())]
    arrows = [p for p in ax.patches if isinstance(p, FancyArrowPatch)]
    assert len(arrows) == 54
    figure.draw_without_rendering()
    places = ax.transData.transform([text.get_position() for text in ax.texts])
    gaps = [np.linalg.norm(a - b) for a, b in itertools.combinations(places, 2)]
    assert min(gaps) > 19


def test_states_of_a_cycle_and_a_sample_of_a_ring_are_drawn() -> None:
    for system, name in ((spiral(), "cycle (1)"), (ring(), "continuum (1)")):
        points = cd.find_fixed_points(system.dynamics, system.states, system.inputs)
        linear = cd.linearize(system.dynamics, points)
        graph = cd.connect(system.dynamics, linear, basin_samples=0)
        _, ax = plot_graph(graph)
        assert name in ax.get_legend_handles_labels()[1]
        drawn = [line.get_xydata() for line in ax.lines if len(line.get_xydata())]
        drawn += [np.asarray(dots.get_offsets()) for dots in ax.collections]
        sizes = {len(part) for part in drawn}
        assert {9} <= sizes if graph.endings else len(graph.continua[0].points) in sizes
