"""Invariant subspaces around points, and growth that spectra do not show."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.linalg import block_diag
from torch import Tensor

import captum_dynamics as cd
from captum_dynamics._schur import block_diagonalize


def linear_map(*matrices: np.ndarray | list[list[float]]) -> cd.Linearization:
    """Linearization around 0 of h' = A_i h + x, one point for each A_i."""
    every = torch.stack([torch.as_tensor(a, dtype=torch.float64) for a in matrices])
    width = every.shape[-1]

    def step(h: Tensor, x: Tensor) -> Tensor:
        return (every[x[:, 0].long()].to(h) @ h[:, :, None])[..., 0]

    dynamics = cd.FunctionAdapter(
        step, width, 1, traits=cd.Traits(vmap_safe=False, affine_in_state=True)
    )
    inputs = torch.arange(len(every))[:, None].double()
    points = cd.find_fixed_points(dynamics, torch.zeros(len(every), width), inputs)
    return cd.linearize(dynamics, points)


def jordan(value: float, size: int) -> np.ndarray:
    return value * np.eye(size) + np.eye(size, k=1)


def turn(angle: float, size: float) -> np.ndarray:
    c, s = size * math.cos(angle), size * math.sin(angle)
    return np.array([[c, -s], [s, c]])


def turning_jordan() -> np.ndarray:
    once = turn(0.5, 0.8)
    return np.block([[once, np.eye(2)], [np.zeros((2, 2)), once]])


def mixed() -> np.ndarray:
    """Modes, a pair, and three kinds of groups, seen in a skew basis."""
    parts = [turn(0.2, 0.95), jordan(0.9, 3), turning_jordan(), jordan(0.5, 2)]
    matrix = block_diag(*parts, -0.3, 0.0)
    basis = np.random.default_rng(0).normal(size=matrix.shape)
    return basis @ matrix @ np.linalg.inv(basis)


MATRICES = {
    "independent": [[0.9, 5.0], [0.0, 0.8]],
    "defective": [[0.9, 1.0], [0.0, 0.9]],
    "nearly defective": [[0.9, 1.0], [0.0, 0.9 - 1e-9]],
    "mixed": mixed(),
    "nilpotent": np.eye(6, k=1),
    "identity": np.eye(3),
    "turning": turn(0.3, 0.9),
}


@pytest.mark.parametrize("name", MATRICES)
def test_projectors_sum_to_the_identity_and_commute_with_the_jacobian(
    name: str,
) -> None:
    linear = linear_map(MATRICES[name])
    found, j = linear.subspaces, linear.jacobians[0]
    parts = [found.projector(0, k) for k in range(int(found.counts))]
    assert torch.allclose(sum(parts), torch.eye(len(j)).double(), atol=1e-10)
    for part, dimension in zip(parts, found.dimensions[0].tolist(), strict=True):
        assert torch.allclose(part @ j, j @ part, atol=1e-10)
        assert torch.allclose(part @ part, part, atol=1e-10)
        assert float(part.trace()) == pytest.approx(dimension)
    assert torch.linalg.cond(found.right).max() < 1e6


@pytest.mark.parametrize(
    ("name", "dimensions", "steps"),
    [
        ("independent", [1, 1], [9.4912, 4.4814]),
        ("defective", [2], [9.4912]),
        ("nearly defective", [2], [9.4912]),
        ("turning", [2], [9.4912]),
        ("nilpotent", [6], [0.0]),
        ("identity", [1, 1, 1], [math.inf] * 3),
    ],
)
def test_only_modes_that_cannot_be_told_apart_are_held_together(
    name: str, dimensions: list[int], steps: list[float]
) -> None:
    found = linear_map(MATRICES[name]).subspaces
    assert found.dimensions.tolist() == [dimensions]
    assert found.time_constants[0].tolist() == pytest.approx(steps, abs=1e-4)


def test_groups_of_a_mixed_matrix_are_its_jordan_blocks() -> None:
    found = linear_map(mixed()).subspaces
    assert found.dimensions.tolist() == [[2, 3, 4, 2, 1, 1]]
    sizes = found.leading_eigenvalues[0].abs()
    wanted = torch.tensor([0.95, 0.9, 0.8, 0.5, 0.3, 0.0]).double()
    # Rounding splits an m-fold eigenvalue by eps^(1/m).
    assert torch.allclose(sizes, wanted, atol=1e-3)
    spectrum = np.linalg.eigvals(mixed())
    ours = found.eigenvalues[0].numpy()
    assert np.abs(np.sort_complex(ours) - np.sort_complex(spectrum)).max() < 1e-3


def test_pairs_of_one_magnitude_are_not_mixed_up() -> None:
    linear = linear_map(block_diag(turn(0.4, 0.9), turn(1.3, 0.9)))
    # Of four equal magnitudes, the two upper ones come first.
    assert (linear.eigenvalues[0].imag > 0).tolist() == [True, True, False, False]
    found = linear.subspaces
    assert found.dimensions.tolist() == [[2, 2]]
    expected = torch.diag(torch.tensor([0.0, 0, 1, 1])).double()
    assert torch.allclose(found.projector(0, 0), expected, atol=1e-12)
    assert found.leading_eigenvalues[0].angle().tolist() == pytest.approx([1.3, 0.4])


def test_a_defective_point_spoils_no_other() -> None:
    found = linear_map(np.diag([0.9, 0.5]), [[0.9, 1.0], [0.0, 0.9]]).subspaces
    assert len(found) == 2
    assert found.dimensions.tolist() == [[1, 1], [2, 0]]
    assert found.time_constants.isnan().tolist() == [[False, False], [False, True]]
    first = torch.diag(torch.tensor([1.0, 0.0])).double()
    assert torch.allclose(found.projector(0, 0), first)
    with pytest.raises(ValueError, match="`subspace` of point 1 to be from 0 to 0"):
        found.projector(1, 1)


def test_division_is_by_projectors_and_sums_to_the_whole() -> None:
    found = linear_map(mixed()).subspaces
    generator = torch.Generator().manual_seed(0)
    v, u = torch.randn(2, 5, len(mixed()), generator=generator, dtype=torch.float64)
    parts = found.divide(0, v, u)
    for k in range(found.most):
        restricted = found.restrict(0, v, k)
        assert torch.allclose(restricted, v @ found.projector(0, k))
        assert torch.allclose(parts[:, k], (restricted * u).sum(-1), atol=1e-10)
    assert torch.allclose(parts.sum(-1), (v * u).sum(-1), atol=1e-10)


def test_subspaces_stay_apart_where_modes_almost_meet() -> None:
    """A wide matrix with clusters in it loses no more modes than it must."""
    rng = np.random.default_rng(1)
    values = np.concatenate([np.full(4, 0.8), rng.uniform(-0.7, 0.7, 36)])
    triangular = np.diag(values) + np.triu(rng.normal(size=(40, 40)), 1) / 7
    basis = np.linalg.qr(rng.normal(size=(40, 40)))[0]
    matrix = basis @ triangular @ basis.T
    found = block_diagonalize(matrix, 1e6)
    assert found.sizes[0] == 4
    assert (found.sizes == 1).sum() > 20
    apart = np.linalg.cond(found.basis)
    assert apart < 1e6
    inside = np.linalg.solve(found.basis, matrix @ found.basis)
    rounding = 10 * np.finfo(float).eps * apart * np.linalg.norm(matrix)
    for end in np.cumsum(found.sizes):
        assert np.abs(inside[:end, end:]).max(initial=0) < rounding
        assert np.abs(inside[end:, :end]).max(initial=0) < rounding


def test_a_defective_group_leaves_the_rest_of_a_wide_matrix_apart() -> None:
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(96, 96)) / 12
    matrix[:, :6] = 0
    matrix[:6, :6] = np.eye(6, k=1)  # six states that pass a value on, and forget it
    found = block_diagonalize(matrix, 1e6)
    assert (found.sizes <= 2).sum() > 30
    assert found.sizes.max() < 20
    assert np.linalg.cond(found.basis) < 1e6
    # No eigenvalue is lost, those that rounding cannot move least of all.
    spectrum = np.linalg.eigvals(matrix)
    for value in spectrum[np.abs(spectrum) > 0.5]:
        assert np.abs(found.eigenvalues - value).min() < 1e-10


def powers(matrix: list[list[float]], count: int) -> list[float]:
    a = np.array(matrix)
    return [np.linalg.norm(np.linalg.matrix_power(a, k), 2) for k in range(count)]


def kreiss(matrix: list[list[float]]) -> float:
    """sup over |z| > 1 of (|z| - 1) |(z - A)^-1|, on the positive axis."""
    a = np.array(matrix)
    return max(
        (z - 1) * np.linalg.norm(np.linalg.inv(z * np.eye(2) - a), 2)
        for z in 1 + np.logspace(-3, 1, 400)
    )


def test_transient_growth_of_a_matrix_far_from_normal_is_known() -> None:
    matrix = [[0.9, 5.0], [0.0, 0.8]]
    linear = linear_map(matrix)
    heights = powers(matrix, 60)
    assert int(np.argmax(heights)) == 6
    # The readout that the sixth power stretches most, and many others.
    best = np.linalg.svd(np.linalg.matrix_power(np.array(matrix), 6))[0][:, :1].T
    others = torch.randn(200, 2, generator=torch.Generator().manual_seed(0)).double()
    grown = linear.transient_growth(torch.cat([torch.from_numpy(best), others]))
    assert grown.shape == (1, 201)
    assert float(grown[0, 0]) == pytest.approx(13.48, abs=0.005)
    assert grown.max() <= max(heights) + 1e-9
    assert grown.min() >= 1 - 1e-12
    # Kreiss's theorem: K <= max |A^k| <= e d K.
    assert 8.6 <= kreiss(matrix) <= float(grown.max()) <= math.e * 2 * kreiss(matrix)


def test_growth_of_a_readout_is_that_of_its_powers() -> None:
    linear = linear_map([[0.9, 1.0], [0.0, 0.9]], np.diag([0.9, 0.5]))
    w = torch.tensor([[1.0, 0.5], [0.0, 0.0]]).double()
    j = linear.jacobians[0].numpy()
    by_power = [w[0].numpy() @ np.linalg.matrix_power(j, k) for k in range(31)]
    wanted = max(map(np.linalg.norm, by_power)) / float(w[0].norm())
    found = linear.transient_growth(w, steps=30)
    assert float(found[0, 0]) == pytest.approx(wanted)
    assert float(found[1, 0]) == pytest.approx(1.0)
    assert found[:, 1].isnan().all()
    short = linear.transient_growth(w[:1], steps=1)
    assert float(short[0, 0]) == pytest.approx(np.linalg.norm(by_power[1]) / 1.25**0.5)


def test_what_multipliers_alone_make_grow_is_no_transient() -> None:
    linear = linear_map(np.diag([1.5, 0.5]))
    w = torch.tensor([[1.0, 0.0]]).double()
    assert float(linear.transient_growth(w)) == pytest.approx(1.0)


def test_readouts_of_another_width_and_negative_steps_are_refused() -> None:
    linear = linear_map(np.eye(2) / 2)
    with pytest.raises(ValueError, match=r"`readouts` to have shape \(n, 2\)"):
        linear.transient_growth(torch.ones(1, 3))
    with pytest.raises(ValueError, match="`steps`"):
        linear.transient_growth(torch.ones(1, 2), steps=-1)


def test_subspaces_of_a_layer_in_float32_are_apart_in_float64() -> None:
    def step(h: Tensor, x: Tensor) -> Tensor:
        return h @ torch.tensor([[0.9, 0.0], [1.0, 0.9]]).to(h) + 0 * x[:, :1]

    single = cd.FunctionAdapter(step, 2, 1, traits=cd.Traits(float64=False))
    points = cd.find_fixed_points(single, torch.zeros(1, 2), torch.zeros(1, 1))
    found = cd.linearize(single, points).subspaces
    assert found.dimensions.tolist() == [[2]]
    assert torch.allclose(found.projector(0, 0), torch.eye(2).double())
