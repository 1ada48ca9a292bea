"""Basins in a plane are where algebra and plain iteration put them."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch

import captum_dynamics as cd
from captum_dynamics.testing import systems
from captum_dynamics.testing.systems import KnownSystem
from captum_dynamics.topology import BasinMap, Plane, map_basins

SQUARE = systems.uncoupled_switches(2)
COUPLED = systems.coupled_switches()


@cache
def connected(system: KnownSystem) -> cd.FixedPointGraph:
    points = cd.find_fixed_points(system.dynamics, system.states, system.inputs)
    linear = cd.linearize(system.dynamics, points)
    return cd.connect(
        system.dynamics, linear, basin_samples=0, max_steps=500, searches=0
    )


def own_plane(width: int = 2) -> Plane:
    eye = torch.eye(width, dtype=torch.float64)
    return Plane(torch.zeros_like(eye[0]), eye[:2], ("unit 1", "unit 2"))


@cache
def mapped(system: KnownSystem, resolution: int = 40) -> BasinMap:
    return map_basins(
        system.dynamics,
        connected(system),
        own_plane(),
        resolution=resolution,
        max_steps=500,
    )


def reached(basins: BasinMap) -> torch.Tensor:
    """State of the attractor (r, r, d) that each state of the grid goes to."""
    return basins.graph.linearization.points.states[basins.labels]


def test_basins_of_two_switches_are_quadrants_with_the_axes_as_borders() -> None:
    basins = mapped(SQUARE)
    ends = reached(basins)
    assert torch.equal(ends[..., 0].sign(), basins.x.sign().expand(40, 40))
    assert torch.equal(ends[..., 1].sign(), basins.y.sign()[:, None].expand(40, 40))
    assert sorted(basins.shares.values()) == [0.25] * 4
    # 1.5 times the width of the points, which is 2 m.
    assert float(basins.x[-1] - basins.x[0]) == pytest.approx(3 * 0.9575040241)


def test_every_state_goes_where_plain_iteration_takes_it() -> None:
    basins = mapped(COUPLED)
    weights = np.array([[1.6, -0.3], [-0.3, 1.6]])
    x, y = np.meshgrid(basins.x.numpy(), basins.y.numpy())
    states = np.stack([x, y], axis=-1)
    for _ in range(2000):
        states = np.tanh(states @ weights)
    assert reached(basins).numpy() == pytest.approx(states, abs=1e-3)
    assert int(basins.steps.max()) < 500


def test_borders_pass_through_the_saddles_that_they_are_the_manifolds_of() -> None:
    basins = mapped(COUPLED, resolution=200)
    linear = basins.graph.linearization
    saddles = torch.nonzero(linear.unstable_dims == 1)[:, 0].tolist()
    assert len(saddles) == 4
    for saddle in saddles:
        x, y = basins.places[saddle]
        near_x, near_y = (basins.x - x).abs() < 0.03, (basins.y - y).abs() < 0.03
        beside = set(basins.labels[near_y][:, near_x].unique().tolist())
        assert beside == set(basins.graph.graph.successors(saddle))


def test_states_that_reach_no_attractor_are_labelled_so() -> None:
    basins = mapped(systems.spiral())
    assert basins.shares == {-1: 1.0}
    assert "no known attractor: 100.0%" in basins.summary()


def test_a_cycle_draws_in_states_as_points_do() -> None:
    system = systems.spiral()
    linear = connected(system).linearization
    graph = cd.connect(system.dynamics, linear, basin_samples=0)
    basins = map_basins(system.dynamics, graph, own_plane(), resolution=10)
    assert basins.shares == {1: 1.0}


def test_one_point_alone_still_has_a_map() -> None:
    basins = mapped(systems.focus())
    assert basins.shares == {0: 1.0}
    assert (float(basins.x[0]), float(basins.x[-1])) == (0, 2)
    assert basins.summary() == "1600 states, 1 attractor\n  0: 100.0%"


def test_points_on_a_face_of_the_cube_lie_in_its_plane_and_others_above() -> None:
    system = systems.uncoupled_switches(3)
    graph = connected(system)
    m = 0.9575040241
    corners = torch.tensor([[-m, -m, m], [m, -m, m], [-m, m, m]], dtype=torch.float64)
    basins = map_basins(
        system.dynamics, graph, Plane.through(*corners), resolution=20, margin=0.1
    )
    states = graph.linearization.points.states
    assert torch.allclose(basins.heights, m - states[:, 2], atol=1e-9)
    assert torch.allclose(basins.places, (states[:, :2] / m + 1) / 2, atol=1e-9)
    assert (reached(basins)[..., 2] > 0).all()
    assert len(basins.shares) == 4


def test_the_centre_of_a_region_is_as_far_from_others_as_it_can_be() -> None:
    basins = mapped(SQUARE)
    half = float(basins.x[-1])
    for node, place in basins.centres.items():
        state = basins.graph.linearization.points.states[node]
        assert np.abs(place) == pytest.approx([half / 2] * 2, abs=0.1)
        assert np.sign(place) == pytest.approx(state.sign().numpy())


def draw(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def test_a_plane_through_three_states_holds_them() -> None:
    states = draw(3, 5)
    plane = Plane.through(*states)
    assert torch.allclose(plane.states(plane.places(states)), states)
    assert plane.places(states)[0].tolist() == pytest.approx([0, 0], abs=1e-12)
    assert plane.places(states)[1].tolist() == pytest.approx([1, 0], abs=1e-12)
    assert plane.places(states)[2, 1] > 0
    assert float(plane.axes[0] @ plane.axes[1]) == pytest.approx(0, abs=1e-12)
    assert float(plane.axes[0].norm() / plane.axes[1].norm()) == pytest.approx(1)


def test_coordinates_on_a_plane_of_readouts_are_the_readouts() -> None:
    first, second, origin, *others = draw(6, 5)
    plane = Plane.of_readouts(first, second, origin)
    for state in (origin, *others):
        read = torch.stack([first @ state, second @ state])
        assert torch.allclose(plane.places(state[None])[0], read)
    assert torch.allclose(plane.states(plane.places(origin[None]))[0], origin)
    on_plane = plane.states(torch.tensor([[2.0, -3.0]]).double())[0]
    assert float(first @ on_plane) == pytest.approx(2)
    assert float(second @ on_plane) == pytest.approx(-3)


def test_the_weights_of_a_layer_make_a_plane_as_they_are() -> None:
    weights = torch.nn.Linear(4, 2).weight
    plane = Plane.of_readouts(weights[0], weights[1], draw(4))
    assert plane.axes.dtype is plane.origin.dtype is torch.float64
    assert not plane.axes.requires_grad
    assert weights.requires_grad
    thirds = Plane.through(*weights.new_tensor([[0, 0], [1, 0], [0, 1]]))
    assert torch.equal(thirds.axes, torch.eye(2, dtype=torch.float64))


def test_the_principal_plane_is_that_of_most_variance() -> None:
    states = draw(50, 4) * torch.tensor([0.1, 3.0, 0.1, 2.0]) + 5
    places = Plane.principal(states).places(states)
    values = torch.linalg.eigvalsh(torch.cov(states.T)).flip(0)[:2]
    assert torch.allclose(torch.cov(places.T), torch.diag(values))


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (
            lambda: Plane.through(
                *torch.outer(torch.arange(3), torch.ones(4)).double()
            ),
            "`first`, `second` and `third`",
        ),
        (lambda: Plane.of_readouts(*torch.ones(3, 4).double()), "parallel"),
        (lambda: Plane.principal(draw(5, 1)), "`states` to span a plane"),
        (lambda: Plane.principal(draw(5, 1) * torch.ones(3)), "`states` to span"),
    ],
    ids=["line", "readouts", "width", "states"],
)
def test_what_spans_no_plane_is_refused(make: object, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        make()  # type: ignore[operator]


@pytest.mark.parametrize(
    ("bad", "name"),
    [
        ({"resolution": 1}, "resolution"),
        ({"margin": -1.0}, "margin"),
        ({"max_steps": 0}, "max_steps"),
    ],
)
def test_numbers_that_mean_nothing_are_refused(
    bad: dict[str, float], name: str
) -> None:
    with pytest.raises(ValueError, match=f"`{name}`"):
        map_basins(SQUARE.dynamics, connected(SQUARE), own_plane(), **bad)  # type: ignore[arg-type]


def test_a_plane_of_another_state_space_is_refused() -> None:
    with pytest.raises(ValueError, match=r"`plane.origin`.*\(n, 2\), got \(1, 3\)"):
        map_basins(SQUARE.dynamics, connected(SQUARE), own_plane(3))
