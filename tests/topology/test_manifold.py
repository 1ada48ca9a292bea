"""The slow manifold, on maps whose manifold is known."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

import captum_dynamics as cd
from captum_dynamics.spreading import farthest_points
from captum_dynamics.topology import Shape, SlowManifold, trace_slow_manifold
from captum_dynamics.topology._judge import Circumstances, judge
from captum_dynamics.topology._slow_modes import SlowModes
from captum_dynamics.topology._theta import locally_linear

NONE = torch.zeros(1, 0, dtype=torch.float64)


def line(slow: float = 0.999, width: int = 5) -> cd.FunctionAdapter:
    """A rotated linear map with one slow direction."""
    generator = torch.Generator().manual_seed(1)
    raw = torch.randn(width, width, generator=generator, dtype=torch.float64)
    basis = torch.linalg.qr(raw)[0]
    rates = torch.full((width,), 0.3, dtype=torch.float64)
    rates[0] = slow
    matrix = basis @ torch.diag(rates) @ basis.T
    return cd.FunctionAdapter(lambda h, x: h @ matrix.T, width, 0)


def cloud(count: int = 200, width: int = 5) -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(count, width, generator=generator, dtype=torch.float64)


def test_a_line_is_called_a_line_with_its_time_constant() -> None:
    slow = trace_slow_manifold(line(), cloud(), NONE, task_step=1.0, steps=50)
    assert slow.shape is Shape.LINE
    assert slow.memory == pytest.approx(999.5, rel=1e-6)
    assert slow.slow_share == 1.0
    assert float(slow.tangent_alignment.min()) > 1 - 1e-9
    assert float(slow.variance_ratios[0]) > 1 - 1e-9


def test_theta_orders_points_along_the_main_axis() -> None:
    slow = trace_slow_manifold(line(), cloud(), NONE, task_step=1.0, steps=50)
    along = slow.points.states @ slow.axis
    assert bool((along.diff() > 0).all())
    assert (float(slow.theta[0]), float(slow.theta[-1])) == (-1.0, 1.0)


def test_a_plane_of_slow_points_is_called_a_plane() -> None:
    rates = torch.tensor([0.9991, 0.9990, 0.2], dtype=torch.float64)
    plane = cd.FunctionAdapter(lambda h, x: rates * h, 3, 0)
    slow = trace_slow_manifold(plane, cloud(width=3), NONE, task_step=1.0, steps=50)
    assert slow.shape is Shape.PLANE
    assert (slow.evidence.slow_modes, slow.evidence.dimension) == (2, 2)


def test_a_layer_without_slow_states_has_no_shape() -> None:
    # A rotation never rests, and shrinks too fast for a slow point away from zero.
    fast = cd.FunctionAdapter(lambda h, x: 0.5 * h.flip(-1) + 1, 2, 0)
    slow = trace_slow_manifold(fast, cloud(width=2), NONE, task_step=1.0, steps=2)
    assert len(slow) == 0
    assert slow.shape is Shape.NONE
    assert slow.slow_share == 0.0


def test_growing_modes_are_told_apart_and_not_averaged() -> None:
    grow = cd.FunctionAdapter(lambda h, x: 1.001 * h, 1, 0)
    slow = trace_slow_manifold(
        grow, 0.1 * cloud(width=1), NONE, task_step=1.0, steps=50
    )
    assert slow.growing_share == 1.0
    assert slow.memory != slow.memory  # NaN: nothing decays


def test_farthest_points_spread_over_all_of_a_cloud() -> None:
    states = torch.linspace(0, 1, 101, dtype=torch.float64)[:, None]
    chosen = states[farthest_points(states, 3)].flatten().sort().values
    assert chosen.tolist() == pytest.approx([0, 0.5, 1])


def test_embedding_declines_islands_that_it_would_collapse() -> None:
    along = torch.linspace(0, 1, 60, dtype=torch.float64)[:, None]
    one = torch.cat([along, along**2], dim=1)
    two = torch.cat([one, one + 50])
    assert locally_linear(two) is None
    assert locally_linear(one) is not None


AGREED = Circumstances(SlowModes(1, 100.0, 0.3), 0.0, 0.9, 1.0, 1.0)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"slow_share": 0.05}, "only 5% of the visited states stay slow"),
        ({"filled": 0.5}, "fill only 50% of the line"),
        ({"modes": SlowModes(0, 1.7, 0.9)}, "no gap"),
        ({"modes": SlowModes(2, 9.0, 0.5)}, "have 1 dimensions, but 2 modes are slow"),
        ({"angle": 16.0}, "leave the points by 16 degrees"),
        ({"angle": math.nan}, "leave the points"),
    ],
)
def test_a_line_that_the_dynamics_do_not_confirm_is_undecided(
    change: dict[str, float], reason: str
) -> None:
    slow = trace_slow_manifold(line(), cloud(), NONE, task_step=1.0)
    assert judge(slow.evidence, AGREED).shape is Shape.LINE
    found = judge(slow.evidence, replace(AGREED, **change))
    assert found.shape is Shape.UNDECIDED
    assert reason in found.reason


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"extent": 0.09}, "9.0% of the range"), ({"filled": 0.2}, "20% of their own")],
)
def test_points_that_cover_little_are_places(
    change: dict[str, float], reason: str
) -> None:
    slow = trace_slow_manifold(line(), cloud(), NONE, task_step=1.0)
    found = judge(slow.evidence, replace(AGREED, **change))
    assert found.shape is Shape.PLACES
    assert reason in found.reason


def spiral(rate: float = 0.999, angle: float = 0.3) -> cd.FunctionAdapter:
    """Shrink and turn slowly in a plane of R^4, sheared; forget the rest at once."""
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [0, 0]]).double()
    turn[1] = turn[0].flip(0) * torch.tensor([-1.0, 1.0])
    block = torch.zeros(4, 4, dtype=torch.float64)
    block[:2, :2] = rate * turn
    block[2:, 2:] = 0.2 * torch.eye(2)
    matrix = SHEAR @ block @ SHEAR.inverse()
    return cd.FunctionAdapter(lambda h, x: h @ matrix.T, 4, 0)


SHEAR = torch.tensor(
    [[1.0, 0.7, 0.1, 0.0], [0.2, 1.5, 0.0, 0.3], [0.4, 0.1, 1.0, 0.0], [0, 0.6, 0, 1]],
    dtype=torch.float64,
)


def spiral_manifold() -> SlowManifold:
    return trace_slow_manifold(
        spiral(), 0.1 * cloud(width=4), NONE, task_step=1.0, steps=50, q_slow=1.0
    )


def test_a_rotating_pair_is_compared_with_directions_as_the_plane_it_spans() -> None:
    slow = spiral_manifold()
    assert len(slow) > 20
    assert bool((slow.linearization.eigenvalues[:, 0].imag > 0).all())
    # After 50 steps the states lie in the plane to 0.2^50, whatever their direction.
    ones = torch.ones(len(slow), dtype=torch.float64)
    torch.testing.assert_close(slow.tangent_alignment, ones)
    torch.testing.assert_close(slow.axis_alignment, ones)


def test_cosine_with_a_rotating_pair_does_not_depend_on_its_phase() -> None:
    slow = spiral_manifold()
    axis = torch.tensor([0.5, -0.5, 0.5, 0.5], dtype=torch.float64)
    plane = torch.linalg.qr(SHEAR[:, :2])[0]
    expected = (axis @ plane).norm().expand(len(slow))
    for phase in (0.0, 0.4, 1.3):
        linear = slow.linearization
        factor = torch.polar(torch.ones(()).double(), torch.tensor(phase).double())
        turned = replace(linear, right_eigenvectors=linear.right_eigenvectors * factor)
        seen = replace(slow, linearization=turned, axis=axis)
        torch.testing.assert_close(seen.axis_alignment, expected)
        same = (seen.leading_axes * slow.leading_axes).sum(-1).abs()
        torch.testing.assert_close(same, torch.ones_like(same))


def test_leading_axes_are_those_of_the_ellipse_that_the_mode_draws() -> None:
    slow = spiral_manifold()
    vector = slow.linearization.right_eigenvectors[0, :, 0]
    angles = torch.linspace(0, 2 * math.pi, 100_001, dtype=torch.float64)
    turns = torch.polar(torch.ones_like(angles), angles)
    ellipse = (turns[:, None] * vector).real
    sizes = ellipse.norm(dim=1)
    major, minor = ellipse[sizes.argmax()], ellipse[sizes.argmin()]
    first, second = slow.leading_axes[0]
    assert float((major @ first).abs() / major.norm()) == pytest.approx(1, abs=1e-8)
    assert float((minor @ second).abs() / minor.norm()) == pytest.approx(1, abs=1e-8)


def test_a_real_mode_spans_a_line_alone() -> None:
    slow = trace_slow_manifold(line(), cloud(), NONE, task_step=1.0, steps=50)
    assert slow.leading_axes.shape == (len(slow), 2, 5)
    assert not bool(slow.leading_axes[:, 1].any())
    torch.testing.assert_close(
        slow.leading_axes[:, 0].norm(dim=1), torch.ones(len(slow)).double()
    )


@pytest.mark.parametrize("manifold", [spiral_manifold, lambda: no_turn()])
def test_random_directions_fall_in_bins_as_drawn_ones_do(
    manifold: Callable[[], SlowManifold],
) -> None:
    slow = manifold()
    generator = torch.Generator().manual_seed(5)
    drawn = torch.randn(20_000, 4, generator=generator, dtype=torch.float64)
    drawn = drawn / drawn.norm(dim=1, keepdim=True)
    cosines = (drawn @ slow.leading_axes[0].T).norm(dim=1)
    edges = torch.linspace(0, 1, 6, dtype=torch.float64)
    counts = torch.histogram(cosines, edges).hist / len(drawn) * len(slow)
    expected = slow.random_alignment(edges)
    assert float(expected.sum()) == pytest.approx(len(slow))
    assert float((counts - expected).abs().max()) < 0.02 * len(slow)


def no_turn() -> SlowManifold:
    return trace_slow_manifold(
        line(width=4), cloud(width=4), NONE, task_step=1.0, steps=50
    )


def test_a_layer_that_does_not_move_in_use_has_no_speed_ratio() -> None:
    slow = trace_slow_manifold(line(), cloud(), NONE, task_step=0.0, steps=50)
    assert math.isnan(slow.speed_ratio)


def falling(rates: list[float]) -> SlowManifold:
    """Relax a cloud on h' = r h: all of it falls to zero, along the slowest mode."""
    factors = torch.tensor(rates, dtype=torch.float64)
    dynamics = cd.FunctionAdapter(lambda h, x: factors * h, len(rates), 0)
    return trace_slow_manifold(
        dynamics, cloud(width=len(rates)), NONE, task_step=1.0, steps=50
    )


def test_states_that_all_end_in_one_place_are_no_line() -> None:
    """On their way there they lie on a line, straight and slow, but of no length."""
    slow = falling([0.7, 0.1])
    assert slow.gap > 3
    assert float(slow.variance_ratios[0]) > 0.9
    assert slow.extent == pytest.approx(0.7**50, rel=1e-3)
    assert slow.shape is Shape.PLACES


def test_states_that_end_in_two_places_are_no_line() -> None:
    switch = cd.FunctionAdapter(
        lambda h, x: torch.stack([torch.tanh(2 * h[:, 0]), 1e-3 * h[:, 1]], 1), 2, 0
    )
    slow = trace_slow_manifold(switch, cloud(width=2), NONE, task_step=1.0, steps=50)
    assert slow.gap > 3
    assert slow.extent > 0.1
    assert slow.filled == 0.2
    assert slow.shape is Shape.PLACES


def test_a_line_is_filled_and_as_long_as_what_is_visited() -> None:
    slow = falling([0.999, 0.2])
    assert slow.filled == 1.0
    assert slow.extent == pytest.approx(0.999**50, rel=1e-3)
    assert slow.shape is Shape.LINE
