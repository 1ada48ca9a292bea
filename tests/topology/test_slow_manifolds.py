"""Slow manifolds of maps and trained nets whose shape and motion are known."""

from __future__ import annotations

import math
from pathlib import Path

import networkx as nx
import pytest
import torch
from torch import Tensor

import captum_dynamics as cd
from captum_dynamics.tasks.flipflop import (
    FlipFlopNet,
    load_flipflop,
    sample_flipflop,
)
from captum_dynamics.testing.systems import line_attractor, perturbed_ring, ring
from captum_dynamics.topology import Shape, SlowManifold, trace_slow_manifold
from captum_dynamics.topology._alignment import mode_angles
from captum_dynamics.topology._backbone import place_along
from captum_dynamics.topology._slow_modes import count_slow_modes

DATA = Path(__file__).parents[1] / "data"
NONE = torch.zeros(1, 0, dtype=torch.float64)


def around(width: int, count: int = 200) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, width, generator=generator, dtype=torch.float64)


def trace(dynamics: cd.DynamicsMap) -> SlowManifold:
    states = around(dynamics.state_dim)
    return trace_slow_manifold(dynamics, states, NONE, task_step=0.5)


def test_the_ring_is_a_ring_at_rest_and_its_origin_is_not_on_it() -> None:
    slow = trace(ring().dynamics)
    assert slow.shape is Shape.RING, slow.evidence.reason
    radii = slow.points.states.norm(dim=1)
    # A start near the origin has not quite arrived after ten steps.
    torch.testing.assert_close(radii, torch.ones_like(radii), atol=1e-3, rtol=0)
    assert slow.profile.closed
    assert slow.profile.largest < 1e-14
    assert len(slow.profile.zeros) == 0
    assert bool(torch.isinf(slow.profile.drift_times()).all())
    # 64 corners on a circle: a little shorter than the circle.
    assert 0.99 * 2 * math.pi < slow.profile.length < 2 * math.pi


def test_theta_goes_once_round_the_ring_with_the_angle() -> None:
    slow = trace(ring().dynamics)
    x, y = slow.points.states.T
    steps = torch.atan2(y, x).diff()
    turned = torch.remainder(steps + math.pi, 2 * math.pi) - math.pi
    assert bool((turned * turned[0] > 0).all())
    torch.testing.assert_close(
        turned.abs(), math.pi * slow.theta.diff(), atol=2e-3, rtol=0
    )
    assert float(slow.theta[0]) == -1.0


def test_a_perturbed_ring_has_two_pairs_of_zeros_where_its_points_are() -> None:
    """T9b: on the circle its speed is -e sin(2 phi), up to the order of e^2."""
    slow = trace(perturbed_ring(0.02).dynamics)
    assert slow.shape is Shape.RING, slow.evidence.reason
    profile = slow.profile
    assert (len(profile.zeros), profile.pairs) == (4, 2)
    assert profile.largest == pytest.approx(0.02, rel=0.02)
    states = slow.points.states[profile.rows]
    rests = profile.arcs[:, None] - profile.zeros[profile.stable]
    nearest = states[rests.abs().argmin(0)]
    assert float(nearest[:, 1].abs().max()) < 0.1
    # From x = cos(phi) by a tenth of the circle at most: at the steepest place.
    middle = 0.1 * math.pi
    quarter = math.log(math.tan(math.pi / 4 + middle) / math.tan(math.pi / 4 - middle))
    soonest = float(profile.drift_times().min())
    assert soonest == pytest.approx(quarter / 0.04, rel=0.05)


def test_the_line_attractor_is_a_line_read_by_its_left_mode() -> None:
    system = line_attractor()
    slow = trace(system.dynamics)
    assert slow.shape is Shape.LINE, slow.evidence.reason
    left = slow.linearization.left_eigenvectors[:, 0].real
    left = left / left.norm(dim=1, keepdim=True)
    v = torch.tensor([2.0, 1.0, 2.0], dtype=torch.float64) / 3
    torch.testing.assert_close((left @ v).abs(), torch.ones(len(slow)).double())
    # What still fades across the line is no motion along it.
    assert slow.profile.largest < 1e-14
    assert (slow.evidence.slow_modes, slow.steps) == (1, 10)


def test_the_speed_along_a_leaking_line_is_its_leak() -> None:
    """h' = A h with an oblique slow mode: the speed at r s is (lam - 1) s."""
    basis = torch.tensor([[1.0, 1.0], [0.0, 0.5]], dtype=torch.float64)
    rates = torch.tensor([0.99, 0.3], dtype=torch.float64)
    matrix = basis @ torch.diag(rates) @ basis.inverse()
    slow = trace(cd.FunctionAdapter(lambda h, x: h @ matrix.T, 2, 0))
    assert slow.shape is Shape.LINE, slow.evidence.reason
    profile = slow.profile
    coordinate = slow.points.states[profile.rows] @ basis.inverse()[0]
    sign = float((coordinate[-1] - coordinate[0]).sign())
    expected = -0.01 * sign * coordinate
    torch.testing.assert_close(profile.speeds, expected, atol=1e-4, rtol=1e-3)
    assert profile.stable.tolist() == [True]


def test_steps_are_those_in_which_the_fast_modes_fade() -> None:
    rates = torch.tensor([0.9999, 0.9, 0.85, 0.7], dtype=torch.float64)
    dynamics = cd.FunctionAdapter(lambda h, x: rates * h, 4, 0)
    assert trace(dynamics).steps == math.ceil(math.log(1e-3) / math.log(0.9))
    # No longer than a run lasts, and not forever where nothing is slow.
    short = trace_slow_manifold(dynamics, around(4), NONE, task_step=1.0, run_length=40)
    assert short.steps == 40
    fast = cd.FunctionAdapter(lambda h, x: 0.5 * h, 4, 0)
    assert trace(fast).steps == 50


def test_what_is_slow_depends_on_the_pace_in_use() -> None:
    rates = torch.tensor([0.999, 0.2], dtype=torch.float64)
    dynamics = cd.FunctionAdapter(lambda h, x: rates * h, 2, 0)
    shares = [
        trace_slow_manifold(dynamics, around(2), NONE, task_step=pace).slow_share
        for pace in (0.02, 0.2)
    ]
    # Residuals are |h| / 1000, and must be below 5 % of the step: |h| < 1, and < 10.
    expected = float((around(2)[:, 0].abs() * 0.999**10 < 1).double().mean())
    assert shares == [pytest.approx(expected, abs=0.02), 1.0]


def test_slow_modes_are_those_before_the_largest_gap() -> None:
    def modes(*sizes: float) -> tuple[int, float]:
        found = count_slow_modes(torch.tensor([sizes]), run_length=100)
        return found.count, round(found.gap, 3)

    assert modes(0.999, 0.998, 0.5) == (2, round(math.log(2) / 0.01, 3))
    assert modes(1.0, math.exp(-0.05), 0.9)[0] == 1
    assert modes(0.5, 1e-9, 1e-12)[0] == 0  # both are gone in one step: none is slow
    assert modes(0.99, 0.98, 0.97, 0.96, 0.95)[0] == 5  # all, and nothing beyond
    assert modes(0.99, 0.98, 0.97, 0.95, 0.92, 0.9, 0.8, 0.7, 0.5, 0.2)[0] == 0


def test_angles_with_modes_are_those_of_subspaces() -> None:
    eye = torch.eye(4, dtype=torch.complex128)[None]
    tilt = math.radians(20)
    plane = torch.zeros(1, 2, 4, dtype=torch.float64)
    plane[0, 0, 0] = 1
    plane[0, 1, 1], plane[0, 1, 2] = math.cos(tilt), math.sin(tilt)
    assert float(mode_angles(plane, eye)) == pytest.approx(20)
    turning = eye.clone()
    turning[0, :2, 0] = torch.tensor([1, 1j]) / math.sqrt(2)
    turning[0, :2, 1] = torch.tensor([1, -1j]) / math.sqrt(2)
    assert float(mode_angles(plane, turning)) == pytest.approx(20)
    line = plane[:, :1]
    assert float(mode_angles(line, turning)) == pytest.approx(0, abs=1e-6)


def test_points_are_placed_where_they_are_closest_to_a_broken_line() -> None:
    corners = torch.tensor([[0.0, 0], [1, 0], [1, 1], [0, 1]]).double().numpy()
    points = torch.tensor([[0.5, -0.2], [1.3, 0.5], [-0.1, 0.25]]).double().numpy()
    closed = place_along(points, corners, closed=True)
    assert closed.tolist() == pytest.approx([0.5, 1.5, 3.75])
    assert place_along(points, corners, closed=False)[2] == 0.0


def test_the_neighbourhood_of_a_ring_goes_round_it() -> None:
    slow = trace(ring().dynamics)
    graph = slow.neighbourhood()
    ways = dict(nx.all_pairs_dijkstra_path_length(graph, weight="length"))
    longest = max(max(way.values()) for way in ways.values())
    assert longest == pytest.approx(math.pi, rel=0.1)
    assert nx.is_connected(graph)


def in_use(net: FlipFlopNet, inputs: Tensor) -> SlowManifold:
    runs = cd.record(net, "rnn", inputs)
    return trace_slow_manifold(
        cd.adapt(net, "rnn"),
        runs.sample_states(400, generator=torch.Generator().manual_seed(0)),
        torch.zeros(1, 3),
        task_step=float(runs.states.diff(dim=1).norm(dim=-1).median()),
        run_length=inputs.shape[1],
    )


def evidence_for_three(sequences: int, steps: int) -> Tensor:
    """One-hot tokens, which speak for a class of their own half of the time."""
    generator = torch.Generator().manual_seed(0)
    true = torch.arange(sequences)[:, None].expand(-1, steps) % 3
    other = torch.randint(3, (sequences, steps), generator=generator)
    draws = torch.rand(sequences, steps, generator=generator)
    tokens = torch.nn.functional.one_hot(torch.where(draws < 0.25, true, other), 3)
    spoken = torch.rand(sequences, steps, 1, generator=generator) < 0.4
    return tokens * spoken.float()


def test_a_net_that_weighs_three_classes_has_a_triangle_of_beliefs() -> None:
    """Its corners are the three certainties, by the network's own readout."""
    net = load_flipflop(DATA / "integration_gru.safetensors")
    slow = in_use(net, evidence_for_three(100, 80))
    assert slow.shape is Shape.SIMPLEX, slow.evidence.reason
    assert (slow.evidence.dimension, slow.evidence.slow_modes) == (2, 2)
    with torch.no_grad():
        beliefs = net.readout(slow.evidence.corners.float())
    assert sorted(beliefs.argmax(1).tolist()) == [0, 1, 2]
    assert float(beliefs.max(1).values.min()) > 0.9


@pytest.mark.parametrize("cell", ["gru", "tanh", "lstm"])
def test_a_flip_flop_rests_in_its_eight_places(cell: str) -> None:
    net = load_flipflop(DATA / f"flipflop_{cell}.safetensors")
    generator = torch.Generator().manual_seed(0)
    slow = in_use(net, sample_flipflop(32, 60, generator=generator).inputs)
    assert slow.shape is Shape.PLACES
    assert slow.evidence.places == 8
    assert "8 places" in slow.summary()
    assert len(slow.profile) == 0


@pytest.mark.misuse
@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"task_step": -1.0}, "task_step"),
        ({"run_length": 0.0}, "run_length"),
        ({"kept": 0}, "kept"),
        ({"steps": 0}, "steps"),
        ({"q_slow": 0.0}, "q_slow"),
    ],
)
def test_the_argument_that_does_not_fit_is_named(
    change: dict[str, float], named: str
) -> None:
    arguments = {"task_step": 1.0, **change}
    with pytest.raises(ValueError, match=f"`{named}`"):
        trace_slow_manifold(ring().dynamics, around(2), NONE, **arguments)


def test_no_state_at_all_is_refused_and_bad_rows_are_named() -> None:
    with pytest.raises(ValueError, match="`states`"):
        trace_slow_manifold(ring().dynamics, around(2)[:0], NONE, task_step=1.0)
    with pytest.raises(ValueError, match="`states`"):
        trace_slow_manifold(ring().dynamics, around(3), NONE, task_step=1.0)
