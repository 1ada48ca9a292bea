"""Spectra, modes and time constants around points, against algebra."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import captum_dynamics as cd
from captum_dynamics import _linalg
from captum_dynamics.testing.systems import bistable, coupled_switches


def linear_map(matrix: list[list[float]] | Tensor) -> cd.Linearization:
    """Linearization of h' = A h + x around 0."""
    a = torch.as_tensor(matrix, dtype=torch.float64)
    dynamics = cd.FunctionAdapter(lambda h, x: h @ a.mT + x, len(a), len(a))
    zero = torch.zeros(1, len(a))
    return cd.linearize(dynamics, cd.find_fixed_points(dynamics, zero, zero))


def turn(angle: float, size: float) -> list[list[float]]:
    c, s = size * math.cos(angle), size * math.sin(angle)
    return [[c, -s], [s, c]]


def test_jacobians_are_those_of_the_map() -> None:
    a = torch.randn(4, 4).double()
    linear = linear_map(a)
    assert torch.allclose(linear.jacobians[0], a)
    assert torch.allclose(linear.input_jacobians[0], torch.eye(4).double())
    assert len(linear) == 1


def test_left_and_right_modes_are_biorthonormal_and_solve_the_eigenproblem() -> None:
    system = coupled_switches()
    points = cd.find_fixed_points(system.dynamics, system.states, system.inputs)
    gru = cd.adapt(nn.GRU(3, 6).double())
    rest = cd.find_fixed_points(gru, torch.zeros(1, 6), torch.zeros(1, 3))
    for linear in (cd.linearize(system.dynamics, points), cd.linearize(gru, rest)):
        right, left = linear.right_eigenvectors, linear.left_eigenvectors
        j, values = linear.jacobians.to(right), linear.eigenvalues
        eye = torch.eye(right.shape[-1]).to(right)
        assert torch.allclose(left @ right, eye.expand_as(left), atol=1e-9)
        assert torch.allclose(j @ right, right * values[:, None], atol=1e-9)
        assert torch.allclose(left @ j, values[..., None] * left, atol=1e-9)
        assert torch.allclose(right.norm(dim=1).double(), torch.ones(()).double())


def test_eigenvalues_come_by_size_with_conjugate_pairs_together() -> None:
    blocks = [torch.tensor(turn(0.3, 0.7)), torch.tensor(turn(1.1, 0.9))]
    linear = linear_map(torch.block_diag(*blocks, torch.tensor([[0.8]])))
    wanted = [
        0.9 * np.exp(1.1j),
        0.9 * np.exp(-1.1j),
        0.8,
        0.7 * np.exp(0.3j),
        0.7 * np.exp(-0.3j),
    ]
    assert np.allclose(linear.eigenvalues[0], wanted)
    assert linear.spectral_radius.tolist() == pytest.approx([0.9])


@pytest.mark.parametrize(
    ("multiplier", "steps"),
    [(0.5, 1.4427), (0.9, 9.4912), (0.99, 99.4992), (-0.9, 9.4912), (0.0, 0.0)],
)
def test_time_constants_are_known(multiplier: float, steps: float) -> None:
    linear = linear_map([[multiplier]])
    assert float(linear.time_constants) == pytest.approx(steps, abs=1e-4)


def test_a_multiplier_of_one_never_decays_and_one_beyond_grows() -> None:
    linear = linear_map([[1.0, 0.0], [0.0, 2.0]])
    growing, resting = linear.time_constants[0].tolist()
    assert math.isnan(growing)
    assert resting == math.inf
    assert float(linear.growth_times[0, 0]) == pytest.approx(1.0)  # it doubles


def test_rotation_periods_are_turns_over_the_angle() -> None:
    linear = linear_map(turn(2 * math.pi / 12, 0.9))
    periods = linear.rotation_periods[0].abs().tolist()
    assert periods == pytest.approx([12.0, 12.0])
    still = linear_map([[0.5]])
    assert float(still.rotation_periods) == math.inf
    alternating = linear_map([[-0.5]])
    assert float(alternating.rotation_periods) == pytest.approx(2.0)


def test_a_defective_matrix_is_told_by_its_condition() -> None:
    linear = linear_map([[0.9, 1.0], [0.0, 0.9]])
    assert linear.eigenvalues[0].tolist() == pytest.approx([0.9, 0.9])
    assert linear.condition > 1e6
    left = linear.left_eigenvectors
    assert torch.isnan(left.real).all() or left.abs().max() > 1e6
    assert linear.stability.tolist() == [cd.Stability.ATTRACTOR]


def test_a_defective_point_spoils_no_other() -> None:
    def step(h: Tensor, x: Tensor) -> Tensor:
        jordan = torch.stack([0.9 * h[:, 0] + h[:, 1], 0.9 * h[:, 1]], dim=1)
        return torch.where(x > 0, jordan, h * torch.tensor([0.5, 0.2]).to(h))

    dynamics = cd.FunctionAdapter(step, 2, 1)
    inputs = torch.tensor([[0.0], [1.0]])
    points = cd.find_fixed_points(dynamics, torch.zeros(2, 2), inputs)
    linear = cd.linearize(dynamics, points)
    assert torch.allclose(
        linear.left_eigenvectors[0] @ linear.right_eigenvectors[0],
        torch.eye(2).to(linear.eigenvalues),
    )
    assert linear.condition[0] < 2 < 1e6 < linear.condition[1]


@pytest.mark.parametrize(
    ("diagonal", "stability", "index"),
    [
        ([0.5, -0.5], cd.Stability.ATTRACTOR, 1),
        ([2.0, 0.5], cd.Stability.SADDLE, -1),
        ([-2.0, 0.5], cd.Stability.SADDLE, 1),
        ([2.0, 3.0], cd.Stability.REPELLER, 1),
        ([1.0, 0.5], cd.Stability.MARGINAL, 0),
        ([-1.0, 0.5], cd.Stability.MARGINAL, 1),
        ([1.0 + 1e-9, 2.0], cd.Stability.MARGINAL, 0),
        ([1.0 + 1e-3, 0.5], cd.Stability.SADDLE, -1),
    ],
)
def test_stability_and_index_follow_from_the_multipliers(
    diagonal: list[float], stability: cd.Stability, index: int
) -> None:
    linear = linear_map(torch.diag(torch.tensor(diagonal, dtype=torch.float64)))
    assert linear.stability.tolist() == [stability]
    assert linear.indices.tolist() == [index]


def test_a_complex_pair_on_the_circle_is_marginal_with_index_one() -> None:
    linear = linear_map(turn(0.4, 1.0))
    assert linear.stability.tolist() == [cd.Stability.MARGINAL]
    assert linear.indices.tolist() == [1]
    assert linear.unstable_dims.tolist() == [0]


def test_the_margin_is_the_callers() -> None:
    system = bistable(gain=1.01)
    points = cd.find_fixed_points(system.dynamics, system.states[:1], system.inputs)
    wide = cd.linearize(system.dynamics, points, margin=0.1)
    assert wide.stability.tolist() == [cd.Stability.MARGINAL]
    narrow = cd.linearize(system.dynamics, points)
    assert narrow.stability.tolist() == [cd.Stability.REPELLER]
    with pytest.raises(ValueError, match="Expected `margin` to be positive"):
        cd.linearize(system.dynamics, points, margin=0.0)


def test_the_summary_says_one_line_a_point() -> None:
    system = bistable()
    points = cd.find_fixed_points(system.dynamics, system.states, system.inputs)
    first, second, _ = cd.linearize(system.dynamics, points).summary().splitlines()
    assert first.startswith("0: repeller, 1 unstable, |lambda_1| = 2.0000")
    assert second == (
        "1: attractor, 0 unstable, |lambda_1| = 0.1664, slowest decay 0.6 steps"
    )


def rotation(width: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    square = torch.randn(width, width, generator=generator, dtype=torch.float64)
    return torch.linalg.qr(square).Q


@given(seed=st.integers(0, 10_000))
def test_a_change_of_basis_moves_points_and_keeps_spectra(seed: int) -> None:
    system = coupled_switches()
    q = rotation(2, seed)
    turned = cd.FunctionAdapter(
        lambda h, x: system.dynamics.step(h @ q, x) @ q.mT, 2, 0
    )
    starts = system.sample_starts(20, generator=torch.Generator().manual_seed(seed))
    here = cd.find_fixed_points(system.dynamics, system.states, system.inputs)
    there = cd.find_fixed_points(turned, system.states @ q.mT, system.inputs)
    assert torch.allclose(there.states, here.states @ q.mT, atol=1e-12)
    values = [
        cd.linearize(m, p).eigenvalues
        for m, p in ((system.dynamics, here), (turned, there))
    ]
    assert torch.allclose(*values, atol=1e-10)
    found = cd.find_fixed_points(turned, starts @ q.mT, system.inputs)
    assert system.distances(found.states @ q).max() < 1e-6


def test_linearizing_does_not_invert_what_numpy_would_not() -> None:
    matrix = torch.tensor([[0.9, 1.0], [0.0, 0.9]], dtype=torch.float64)
    _, vectors = _linalg.sorted_eigen(matrix[None])
    assert np.linalg.cond(vectors[0].numpy()) == pytest.approx(
        float(_linalg.condition(vectors)), rel=1e-3
    )


def test_no_points_and_foreign_points_are_refused() -> None:
    system = bistable()
    points = cd.find_fixed_points(system.dynamics, system.states, system.inputs)
    with pytest.raises(ValueError, match="`points` to have at least one row"):
        cd.linearize(system.dynamics, points[:0])
    with pytest.raises(ValueError, match=r"`points.states` to have shape \(n, 2\)"):
        cd.linearize(coupled_switches().dynamics, points)


@pytest.mark.parametrize(
    ("rates", "said", "steps"),
    [
        ([0.5, 0.9], "slowest decay 9.5 steps", -1 / math.log(0.9)),
        ([1.5, 0.9], "slowest decay 9.5 steps", -1 / math.log(0.9)),
        ([1.0, 0.5], "the slowest mode does not decay", math.inf),
        ([1.5, 2.0], "no mode decays", math.nan),
    ],
)
def test_summary_says_in_words_what_does_not_decay(
    rates: list[float], said: str, steps: float
) -> None:
    linear = linear_map([[rates[0], 0.0], [0.0, rates[1]]])
    assert linear.summary().endswith(said)
    assert float(linear.slowest_decay) == pytest.approx(steps, nan_ok=True)
