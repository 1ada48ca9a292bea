"""Shapes of clouds that are known by construction."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import combinations

import networkx as nx
import numpy as np
import pytest
import torch
from scipy.sparse.csgraph import minimum_spanning_tree, shortest_path
from scipy.spatial import ConvexHull
from torch import Tensor

from captum_dynamics.testing import CLOUDS, sample_cloud
from captum_dynamics.topology import Shape, ShapeEvidence, find_shape
from captum_dynamics.topology import _shape_measures as measures
from captum_dynamics.topology._dimension import reduce_noise
from captum_dynamics.topology._neighbours import (
    count_leaves,
    distances_of,
    edge_lengths,
    longest_way,
    neighbourhood,
    spanning_tree,
)
from captum_dynamics.topology._persistence import find_bars
from captum_dynamics.topology._simplex import inscribe_simplex

FLAT = [name for name in CLOUDS if name not in ("torus", "doughnut")]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def shape_of(name: str, seed: int, count: int = 300) -> ShapeEvidence:
    return find_shape(sample_cloud(name, count, generator=seeded(seed)))


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", FLAT)
def test_a_noisy_cloud_is_told_by_its_shape(name: str, seed: int) -> None:
    found = shape_of(name, seed)
    assert found.shape is CLOUDS[name], found.reason
    assert found.homology


@pytest.mark.parametrize("name", ["torus", "doughnut"])
def test_a_torus_is_told_from_a_thousand_points_and_never_wrongly(name: str) -> None:
    found = shape_of(name, 0, 1000)
    assert found.shape is Shape.TORUS, found.reason
    assert int((found.ratios > 2.5).sum()) == 2
    for count in (60, 150, 300):
        assert shape_of(name, 0, count).shape is Shape.UNDECIDED


def sphere(count: int) -> Tensor:
    states = torch.randn(count, 3, generator=seeded(), dtype=torch.float64)
    return states / states.norm(dim=1, keepdim=True)


def eight(count: int) -> Tensor:
    angles = 2 * math.pi * torch.rand(count, generator=seeded(), dtype=torch.float64)
    sides = torch.arange(count) % 2 * 2 - 1
    return torch.stack([sides * (1 + angles.cos()), angles.sin()], dim=1)


def star(count: int) -> Tensor:
    angles = torch.arange(count) % 3 * (2 * math.pi / 3)
    radii = torch.rand(count, generator=seeded(), dtype=torch.float64)
    return torch.stack([radii * angles.cos(), radii * angles.sin()], dim=1)


def annulus(count: int) -> Tensor:
    angles = 2 * math.pi * torch.rand(count, generator=seeded(), dtype=torch.float64)
    radii = 0.5 + 0.5 * torch.rand(count, generator=seeded(1), dtype=torch.float64)
    return torch.stack([radii * angles.cos(), radii * angles.sin()], dim=1)


def two_lines(count: int) -> Tensor:
    along = torch.rand(count, generator=seeded(), dtype=torch.float64)
    return torch.stack([2 * along, (torch.arange(count) % 2).double()], dim=1)


@pytest.mark.parametrize("cloud", [sphere, eight, star, annulus, two_lines])
def test_a_shape_that_has_no_name_is_undecided(
    cloud: Callable[[int], Tensor],
) -> None:
    assert find_shape(cloud(400)).shape is Shape.UNDECIDED


def test_a_sphere_is_no_plane_because_of_its_cavity() -> None:
    assert "cavity" in find_shape(sphere(400)).reason


def test_a_curved_sheet_and_a_helix_are_a_plane_and_a_line() -> None:
    draws = torch.rand(400, 2, generator=seeded(), dtype=torch.float64)
    u, v = 2 * draws.T - 1
    sheet = torch.stack([(2 * u).sin(), (2 * u).cos(), 1.3 * v], dim=1)
    assert find_shape(sheet).shape is Shape.PLANE
    helix = torch.stack([(9 * u).cos(), (9 * u).sin(), 3 * u], dim=1)
    assert find_shape(helix).shape is Shape.LINE


def test_a_gaussian_of_five_dimensions_is_a_cloud() -> None:
    states = torch.randn(300, 5, generator=seeded(), dtype=torch.float64)
    assert find_shape(states).shape is Shape.CLOUD


def test_a_ring_rests_on_one_loop_with_its_known_birth_and_death() -> None:
    angles = 2 * math.pi * torch.arange(60, dtype=torch.float64) / 60
    found = find_shape(torch.stack([angles.cos(), angles.sin()], dim=1))
    assert found.shape is Shape.RING
    ((birth, death),) = found.loops.tolist()
    # The loop closes at the side of the polygon and is filled by its inscribed
    # equilateral triangle.
    assert birth == pytest.approx(2 * math.sin(math.pi / 60))
    assert death == pytest.approx(math.sqrt(3))
    assert found.loop_ratio == pytest.approx(death / birth)
    assert found.longest_edge == pytest.approx(birth)
    assert (found.dimension, found.leaves, found.places) == (1, 2, 1)


def test_a_loop_that_is_born_long_after_its_points_join_is_a_gap() -> None:
    """An arc of 330 degrees: its loop lasts 3.3 times its birth, and is no ring."""
    angles = math.radians(330) * torch.arange(200, dtype=torch.float64) / 199
    found = find_shape(torch.stack([angles.cos(), angles.sin()], dim=1))
    whole = math.sqrt(3) / 2 / math.sin(math.pi / 12)
    assert found.loop_ratio == pytest.approx(whole, rel=0.01)
    assert found.loop_ratio > 3
    assert found.shape is Shape.LINE


def test_bars_are_cut_off_at_the_reach() -> None:
    angles = 2 * np.pi * np.arange(30) / 30
    distances = distances_of(np.stack([np.cos(angles), np.sin(angles)], axis=1))
    ((birth, death),) = find_bars(distances, reach=1.0)
    assert (birth, death) == pytest.approx((2 * np.sin(np.pi / 30), 1.0))


def test_an_octahedron_has_a_cavity_and_no_loop() -> None:
    corners = np.concatenate([np.eye(3), -np.eye(3)])
    ((birth, death),) = find_bars(distances_of(corners), dim=2)
    assert (birth, death) == pytest.approx((math.sqrt(2), 2.0))
    assert len(find_bars(distances_of(corners), dim=1)) == 0


def test_turning_shifting_and_scaling_changes_nothing() -> None:
    given = sample_cloud("ring", 200, width=6, generator=seeded())
    turn = torch.linalg.qr(torch.randn(6, 6, generator=seeded(1)).double())[0]
    first, other = find_shape(given), find_shape(1e4 * given @ turn + 7)
    assert first.shape is other.shape is Shape.RING
    assert other.participation == pytest.approx(first.participation)
    torch.testing.assert_close(other.loops, 1e4 * first.loops)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("line", Shape.LINE),
        ("arc", Shape.LINE),
        ("ring", Shape.UNDECIDED),
        ("disc", Shape.UNDECIDED),
        ("triangle", Shape.UNDECIDED),
        ("clusters", Shape.PLACES),
    ],
)
def test_without_gudhi_loops_are_not_guessed(
    name: str, shape: Shape, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measures, "can_find_holes", lambda: False)
    found = shape_of(name, 0)
    assert found.shape is shape
    assert not found.homology
    assert ("topology" in found.reason) == (shape is Shape.UNDECIDED)


def test_corners_of_a_triangle_are_points_beside_its_own() -> None:
    states = sample_cloud("triangle", 400, width=4, noise=0.0, generator=seeded())
    found = find_shape(states)
    assert found.shape is Shape.SIMPLEX
    assert found.corners.shape == (3, 4)
    sides = torch.pdist(found.corners)
    assert float((sides - math.sqrt(3)).abs().max()) < 0.3


def test_the_largest_triangle_of_a_square_is_half_of_it() -> None:
    axis = np.linspace(0, 1, 9)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    found = inscribe_simplex(grid)
    assert found.filled == pytest.approx(0.5)
    assert not found.fits
    assert inscribe_simplex(np.stack([axis, axis], axis=1)).corners == []


def test_the_largest_triangle_is_that_of_all_triples() -> None:
    draws = np.random.default_rng(0)
    for _ in range(10):
        points = draws.standard_normal((30, 2))
        sides = [points[[j, k]] - points[i] for i, j, k in combinations(range(30), 3)]
        largest = np.abs(np.linalg.det(np.stack(sides))).max() / 2
        filled = inscribe_simplex(points).filled
        assert filled == pytest.approx(largest / ConvexHull(points).volume)


def test_components_of_noise_are_left_out_and_their_size_is_known() -> None:
    states = sample_cloud("ring", 400, noise=0.1, generator=seeded())
    reduced = reduce_noise(states.numpy())
    assert reduced.width == 2
    assert reduced.noise == pytest.approx(0.01, rel=0.05)


def test_few_points_have_no_shape_and_one_place_is_one_place() -> None:
    assert find_shape(torch.randn(19, 3)).shape is Shape.NONE
    found = find_shape(torch.ones(50, 3))
    assert (found.shape, found.places) == (Shape.PLACES, 1)


@pytest.mark.misuse
def test_what_is_no_matrix_of_numbers_is_refused() -> None:
    with pytest.raises(ValueError, match="`states`"):
        find_shape(torch.ones(50))
    with pytest.raises(ValueError, match="`states`"):
        find_shape(torch.full((50, 2), torch.nan))


def test_the_states_stay_as_they_were() -> None:
    states = sample_cloud("ring", 100, generator=seeded()).requires_grad_()
    before = states.detach().clone()
    find_shape(states)
    assert torch.equal(states.detach(), before)
    assert states.requires_grad


def test_the_tree_is_as_short_as_that_of_scipy() -> None:
    points = np.random.default_rng(0).standard_normal((40, 3))
    distances = distances_of(points)
    tree = spanning_tree(distances)
    assert edge_lengths(tree).sum() == pytest.approx(
        minimum_spanning_tree(distances).sum()
    )
    ways = shortest_path(minimum_spanning_tree(distances), directed=False)
    way = longest_way(tree)
    assert nx.path_weight(tree, way, "length") == pytest.approx(ways.max())


def test_a_tree_has_as_many_ends_as_a_star_has_arms() -> None:
    radii = np.linspace(0, 1, 12)[1:]
    for arms in (2, 3, 5):
        angles = 2 * np.pi * np.arange(arms) / arms
        rays = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        points = np.concatenate([np.zeros((1, 2)), *(r * rays for r in radii)])
        assert count_leaves(spanning_tree(distances_of(points))) == arms


def test_neighbours_are_mutual_and_hang_together() -> None:
    points = np.concatenate([np.arange(10.0), 100 + np.arange(10.0)])[:, None]
    graph = neighbourhood(distances_of(points), neighbours=2)
    assert nx.is_connected(graph)
    assert graph.has_edge(9, 10)
    assert graph[9][10]["length"] == 91.0
    assert set(graph[5]) == {4, 6}
    assert graph.number_of_edges() == 19


@pytest.mark.misuse
@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("cube", 10, {}), "name"),
        (("ring", 0, {}), "count"),
        (("ring", 10, {"width": 3}), "width"),
        (("ring", 10, {"noise": -1.0}), "noise"),
    ],
)
def test_a_cloud_names_the_argument_that_does_not_fit(
    arguments: tuple[str, int, dict[str, float]], named: str
) -> None:
    name, count, others = arguments
    with pytest.raises(ValueError, match=f"`{named}`"):
        sample_cloud(name, count, **others)
