"""Leading modes are those of the full decomposition, with or without a Jacobian."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import captum_dynamics as cd
from captum_dynamics.solvers import LevenbergMarquardt


def points_of(width: int, gain: float = 3.0) -> tuple[cd.DynamicsMap, cd.FixedPoints]:
    torch.manual_seed(1)
    gru = nn.GRU(2, width)
    with torch.no_grad():
        gru.weight_hh_l0.mul_(gain)
    dynamics = cd.adapt(gru)
    starts = 2 * torch.rand(6, width, dtype=torch.float64) - 1
    return dynamics, cd.find_fixed_points(dynamics, starts, torch.zeros(1, 2))


def test_a_few_modes_are_the_first_of_all() -> None:
    dynamics, points = points_of(12)
    few = cd.leading_modes(dynamics, points, count=3)
    everything = cd.linearize(dynamics, points)
    assert torch.equal(few.eigenvalues, everything.eigenvalues[:, :3])
    assert torch.equal(few.left_eigenvectors, everything.left_eigenvectors[:, :3])
    assert few.gradient_norms.max() < 1e-10


def test_products_alone_give_the_same_modes(monkeypatch: pytest.MonkeyPatch) -> None:
    dynamics, points = points_of(40)
    known = cd.leading_modes(dynamics, points, count=4)
    monkeypatch.setattr("captum_dynamics.leading.LARGEST_DENSE", 10)
    monkeypatch.setattr(type(dynamics), "jacobians", None)
    found = cd.leading_modes(dynamics, points, count=4)
    torch.testing.assert_close(
        found.eigenvalues.abs(), known.eigenvalues.abs(), atol=1e-9, rtol=0
    )
    left, right = found.left_eigenvectors, found.right_eigenvectors
    ones = torch.einsum("nkd,ndk->nk", left, right)
    torch.testing.assert_close(ones, torch.ones_like(ones), atol=1e-9, rtol=0)
    for row in range(len(points)):
        for mode in range(4):
            vector, value = right[row, :, mode], found.eigenvalues[row, mode]
            tangent = dynamics.tangent(points.states[[row]], points.inputs[[row]])
            pushed = tangent.push(vector.real[None]) + 1j * tangent.push(
                vector.imag[None]
            )
            assert (pushed[0] - value * vector).abs().max() < 1e-8


def test_the_slope_of_the_speed_is_its_gradient() -> None:
    dynamics, points = points_of(5)
    moved = points.states + 0.1
    away = cd.find_slow_points(
        dynamics, moved, points.inputs, solver=LevenbergMarquardt(atol=10.0)
    )
    assert torch.equal(away.states, moved)
    states = moved.clone().requires_grad_()
    dynamics.speed(states, points.inputs).sum().backward()
    found = cd.leading_modes(dynamics, away).gradient_norms
    torch.testing.assert_close(found, states.grad.norm(dim=1))


def test_a_search_stopped_at_a_speed_gives_slow_points_and_no_fixed_ones() -> None:
    decay = torch.tensor([0.999, 0.5], dtype=torch.float64)
    leak = cd.FunctionAdapter(lambda h, x: decay * h, 2, 0)
    starts = torch.tensor([[3.0, 1.0], [2.0, -2.0]])
    q = 1e-5
    points = cd.find_slow_points(
        leak, starts, torch.zeros(1, 0), solver=LevenbergMarquardt(atol=(2 * q) ** 0.5)
    )
    assert points.kind.tolist() == [cd.Kind.SLOW] * 2
    assert (points.speed <= q).all()
    assert (points.states[:, 0] > 0.1).all()  # stopped on the way, not at the origin


def test_a_count_of_none_is_refused() -> None:
    dynamics, points = points_of(5)
    with pytest.raises(ValueError, match="`count` to be positive"):
        cd.leading_modes(dynamics, points, count=0)
