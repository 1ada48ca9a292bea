"""The slow manifold, on maps whose manifold is known."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import captum_dynamics as cd
from captum_dynamics.topology import Shape, trace_slow_manifold
from captum_dynamics.topology.manifold import _locally_linear, farthest_points

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
    slow = trace_slow_manifold(line(), cloud(), NONE, task_step=1.0)
    assert slow.shape is Shape.LINE
    assert slow.memory == pytest.approx(999.5, rel=1e-6)
    assert slow.slow_share == 1.0
    assert float(slow.tangent_alignment.min()) > 1 - 1e-9
    assert float(slow.variance_ratios[0]) > 1 - 1e-9


def test_theta_orders_points_along_the_main_axis() -> None:
    slow = trace_slow_manifold(line(), cloud(), NONE, task_step=1.0)
    along = slow.points.states @ slow.axis
    assert bool((along.diff() > 0).all())
    assert (float(slow.theta[0]), float(slow.theta[-1])) == (-1.0, 1.0)


def test_a_plane_of_slow_points_is_not_called_a_line() -> None:
    rates = torch.tensor([0.9991, 0.9990, 0.2], dtype=torch.float64)
    plane = cd.FunctionAdapter(lambda h, x: rates * h, 3, 0)
    slow = trace_slow_manifold(plane, cloud(width=3), NONE, task_step=1.0)
    assert slow.shape is Shape.UNDECIDED


def test_a_layer_without_slow_states_has_no_shape() -> None:
    # A rotation never rests, and shrinks too fast for a slow point away from zero.
    fast = cd.FunctionAdapter(lambda h, x: 0.5 * h.flip(-1) + 1, 2, 0)
    slow = trace_slow_manifold(fast, cloud(width=2), NONE, task_step=1.0, steps=2)
    assert len(slow) == 0
    assert slow.shape is Shape.NONE
    assert slow.slow_share == 0.0


def test_growing_modes_are_told_apart_and_not_averaged() -> None:
    grow = cd.FunctionAdapter(lambda h, x: 1.001 * h, 1, 0)
    slow = trace_slow_manifold(grow, 0.1 * cloud(width=1), NONE, task_step=1.0)
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
    assert _locally_linear(two) is None
    assert _locally_linear(one) is not None


def test_a_line_that_few_states_reach_is_undecided() -> None:
    slow = trace_slow_manifold(line(), cloud(), NONE, task_step=1.0)
    assert replace(slow, slow_share=0.05).shape is Shape.UNDECIDED
