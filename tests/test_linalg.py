"""Solves that are right or say so, under any number of threads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from captum_dynamics import _linalg

ROOT = Path(__file__).parents[1]

# Runs where a hang can be ended, and two threads harm no other test. Prints one line
# when it is ready, then one line a size, so that a hang can be told from a slow start.
SOLVES = """
import sys, json, torch
from captum_dynamics import _linalg
torch.set_num_threads(2)
print("ready", flush=True)
generator = torch.Generator().manual_seed(0)
for n in json.loads(sys.argv[2]):
    a = torch.randn(8, n, n, generator=generator, dtype=torch.float64)
    x = torch.randn(8, n, generator=generator, dtype=torch.float64)
    b = (a @ x[..., None])[..., 0]
    try:
        if sys.argv[1] == "ours":
            found = _linalg.solve(a, b)
        elif sys.argv[1] == "solve":
            found = torch.linalg.solve(a, b[..., None])[..., 0]
        elif sys.argv[1] == "inv":
            found = (torch.linalg.inv(a) @ b[..., None])[..., 0]
        else:
            found = torch.linalg.slogdet(a)[1]
            x = torch.stack([torch.linalg.slogdet(one)[1] for one in a])
        error = float((found - x).abs().max())
    except RuntimeError:
        error = float("inf")
    print(json.dumps([n, error if error == error else 1e300]), flush=True)
"""


def under_two_threads(which: str, sizes: list[int], timeout: float) -> str:
    """Largest error of batched solves of each size, from a process of its own."""
    # Threads that wait must not spin: other runs may need the cores.
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "passive"}
    return subprocess.run(
        [sys.executable, "-c", SOLVES, which, json.dumps(sizes)],
        capture_output=True,
        check=True,
        cwd=ROOT,
        env=environment,
        text=True,
        timeout=timeout,
    ).stdout


def read_errors(output: str) -> dict[int, float]:
    """Errors by size, from among the complaints that MKL prints."""
    lines = (line for line in output.splitlines() if line.startswith("["))
    return dict(json.loads(line) for line in lines)


def matrices(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def test_plain_batched_lu_cannot_be_trusted_on_this_platform() -> None:
    try:
        output = under_two_threads("slogdet", [160, 256, 512], timeout=20)
    except subprocess.CalledProcessError:
        return  # It crashed.
    except subprocess.TimeoutExpired as stopped:
        if stopped.stdout and b"ready" in stopped.stdout:
            return  # It hung.
        pytest.skip("the process was not even ready within 20 s")
    errors = read_errors(output)
    if max(errors.values()) < 1e-6:
        pytest.skip(
            f"torch {torch.__version__} is right here about the batched determinant of "
            f"more than 144 columns on two threads: errors {errors}"
        )


def test_our_solve_is_right_under_two_threads() -> None:
    output = under_two_threads("ours", [16, 144, 150, 256], timeout=120)
    errors = read_errors(output)
    assert set(errors) == {16, 144, 150, 256}
    assert max(errors.values()) < 1e-7


def test_solve_agrees_with_numpy() -> None:
    a, b = matrices(5, 7, 7), matrices(5, 7)
    wanted = np.linalg.solve(a.numpy(), b.numpy()[..., None])[..., 0]
    assert np.allclose(_linalg.solve(a, b).numpy(), wanted, rtol=1e-9)


def test_a_singular_matrix_spoils_only_its_own_row() -> None:
    a, b = matrices(3, 4, 4), matrices(3, 4)
    a[1] = torch.ones(4, 4)
    found = _linalg.solve(a, b)
    assert torch.isnan(found[1]).all()
    assert torch.allclose(found[[0, 2]], _linalg.solve(a[[0, 2]], b[[0, 2]]))


def test_a_wrong_solution_is_not_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(a: Tensor, pivots: Tensor, b: Tensor, *, adjoint: bool) -> Tensor:
        del a, pivots, adjoint
        return b + 1

    monkeypatch.setattr(torch.linalg, "lu_solve", wrong)
    assert torch.isnan(_linalg.solve(matrices(2, 3, 3), matrices(2, 3))).all()
    assert torch.isnan(_linalg.real_inverse(matrices(2, 3, 3))).all()


def test_no_matrices_have_no_solutions() -> None:
    for n in (3, _linalg.LARGEST_SAFE_BATCHED_LU + 1):
        found = _linalg.solve(torch.zeros(0, n, n), torch.zeros(0, n))
        assert found.shape == (0, n)


def test_damped_least_squares_minimises_its_objective() -> None:
    a, b = matrices(4, 5, 5), matrices(4, 5)
    damping = torch.tensor([0.0, 0.1, 1.0, 10.0], dtype=torch.float64)
    found = _linalg.damped_least_squares(a, b, damping)
    for row in range(4):
        stacked = np.vstack([a[row], float(damping[row]) ** 0.5 * np.eye(5)])
        wanted, *_ = np.linalg.lstsq(stacked, np.r_[b[row], np.zeros(5)], rcond=None)
        assert np.allclose(found[row], wanted, atol=1e-8)


def test_the_smallest_singular_value_agrees_with_numpy() -> None:
    a = matrices(6, 8, 8)
    a[0, :, 0] = a[0, :, 1] + 1e-5
    found, vectors = _linalg.smallest_singular(a, steps=100)
    wanted = np.linalg.svd(a.numpy(), compute_uv=False)[:, -1]
    assert np.allclose(found, wanted, rtol=1e-3)
    assert torch.allclose((a @ vectors[..., None]).norm(dim=(1, 2)), found)


def test_the_smallest_singular_value_of_a_singular_matrix_is_nearly_zero() -> None:
    a = torch.stack([torch.ones(3, 3), torch.zeros(3, 3)]).double()
    assert _linalg.smallest_singular(a)[0].max() < 1e-6


def test_eigenvalues_come_by_size_and_pairs_with_the_positive_phase_first() -> None:
    turn = torch.tensor([[0.0, -0.9], [0.9, 0.0]])
    a = torch.block_diag(torch.tensor([[0.5]]), turn, torch.tensor([[-2.0]])).double()
    values, vectors = _linalg.sorted_eigen(a[None])
    wanted = torch.tensor([-2, 0.9j, -0.9j, 0.5], dtype=torch.complex128)
    assert torch.allclose(values[0], wanted)
    assert torch.allclose(a.to(values) @ vectors[0], vectors[0] * values[0])


@pytest.mark.parametrize("speck", [1e-100, 1e-200, 1e-260, 1e-300])
def test_eigenvalues_do_not_depend_on_specks_that_overflow_a_balancing(
    speck: float,
) -> None:
    generator = np.random.default_rng(0)
    units, saturated = 16, 8
    matrix = 1e-22 * generator.normal(size=(units + saturated,) * 2)
    matrix[:units, :units] += np.diag(generator.uniform(size=units))
    matrix[:units, units:] = 0.1 * generator.normal(size=(units, saturated))
    matrix[units:] *= speck
    values, vectors = _linalg.sorted_eigen(torch.from_numpy(matrix)[None])
    assert np.allclose(values[0].abs(), _sizes(matrix), atol=1e-12)
    left = torch.from_numpy(matrix + 0j) @ vectors[0] - vectors[0] * values[0]
    assert left.abs().max() < 1e-12


def _sizes(matrix: np.ndarray) -> np.ndarray:
    return np.sort(np.abs(np.linalg.eigvals(matrix)))[::-1]


def test_the_inverse_of_a_singular_matrix_is_nan_and_spoils_no_other() -> None:
    a = torch.stack([torch.eye(2), torch.ones(2, 2)]).to(torch.complex128)
    found = _linalg.inverse(a)
    assert torch.equal(found[0], a[0])
    assert torch.isnan(found[1].real).all()


def test_condition_is_the_ratio_of_singular_values() -> None:
    a = torch.diag(torch.tensor([3.0, 2.0, 0.5])).to(torch.complex128)
    assert _linalg.condition(a[None]).tolist() == pytest.approx([6.0])


def test_products_alone_solve_and_tell_the_smallest_singular_value() -> None:
    a, b = (
        matrices(4, 30, 30) / 12 - torch.eye(30, dtype=torch.float64),
        matrices(4, 30),
    )

    def push(v: Tensor) -> Tensor:
        return (a @ v[..., None])[..., 0]

    def pull(v: Tensor) -> Tensor:
        return (a.mT @ v[..., None])[..., 0]

    solutions, left = _linalg.gmres(push, b, steps=30)
    assert torch.allclose(solutions, _linalg.solve(a, b), atol=1e-9)
    assert left.max() < 1e-12
    few, left = _linalg.gmres(push, b, steps=4)
    assert torch.allclose(left, (push(few) - b).norm(dim=1) / b.norm(dim=1))
    assert (left > 1e-6).all()
    known = torch.linalg.svdvals(a)[:, -1]
    found = _linalg.smallest_singular_by_products(push, pull, b, rounds=20, steps=30)
    assert torch.allclose(found, known, rtol=0.05)
    assert (found >= known * (1 - 1e-12)).all()


def test_products_end_row_by_row_at_a_tolerance() -> None:
    eye = torch.eye(40, dtype=torch.float64)
    turn = torch.roll(eye, 1, dims=0)  # its Krylov spaces help no solve but the last
    a = torch.stack([eye + matrices(40, 40) / 60, turn, eye + matrices(40, 40) / 20])
    b, pushed = matrices(3, 40), []

    def push(v: Tensor) -> Tensor:
        pushed.append(len(v))
        return (a[: len(v)] @ v[..., None])[..., 0]

    together, left = _linalg.gmres(push, b, steps=40, tolerance=1e-3)
    products = len(pushed) - 1
    assert left[0] < 1e-3 < left[1]
    assert left[2] < 1e-3
    assert products < 40
    alone, _ = _linalg.gmres(push, b[:1], steps=40, tolerance=1e-3)
    assert torch.allclose(alone, together[:1], rtol=0, atol=1e-12)
    assert len(pushed) - products - 2 < products


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_products_suffice_where_their_space_is_soon_exhausted(
    dtype: torch.dtype,
) -> None:
    u = torch.nn.functional.normalize(matrices(3, 2, 30), dim=-1).to(dtype)
    b = matrices(3, 30).to(dtype)

    def push(v: Tensor) -> Tensor:  # the identity and a matrix of rank two
        return v + (u.mT @ (u @ v[..., None]))[..., 0]

    solutions, left = _linalg.gmres(push, b, steps=20)
    assert (left < 100 * torch.finfo(dtype).eps).all()
    assert (push(solutions) - b).abs().max() < 1000 * torch.finfo(dtype).eps


def test_products_with_a_zero_right_side_give_zero() -> None:
    solutions, left = _linalg.gmres(lambda v: 2 * v, torch.zeros(2, 5), steps=3)
    assert not solutions.any()
    assert not left.any()


@pytest.mark.parametrize("n", [5, _linalg.LARGEST_SAFE_BATCHED_LU + 6])
def test_real_inverses_agree_with_numpy(n: int) -> None:
    a = matrices(3, n, n)
    assert np.allclose(_linalg.real_inverse(a), np.linalg.inv(a.numpy()), atol=1e-8)
    assert _linalg.real_inverse(a[:0]).shape == (0, n, n)


def test_a_singular_matrix_has_no_real_inverse_and_spoils_no_other() -> None:
    a = torch.stack([2 * torch.eye(3), torch.ones(3, 3), torch.eye(3)]).double()
    found = _linalg.real_inverse(a)
    assert torch.equal(found[0], torch.eye(3).double() / 2)
    assert torch.isnan(found[1]).all()
    assert torch.equal(found[2], a[2])


@pytest.mark.parametrize("n", [1, 2, 7, 145])
def test_signs_of_determinants_agree_with_numpy(n: int) -> None:
    a = matrices(5, n, n)
    wanted = np.linalg.slogdet(a.numpy())[0]
    assert _linalg.determinant_signs(a).tolist() == wanted.tolist()


def test_the_sign_of_a_permutation_is_its_parity() -> None:
    swapped = torch.eye(4).double()[[1, 0, 2, 3]]
    turned = torch.eye(4).double()[[1, 2, 0, 3]]
    signs = _linalg.determinant_signs(torch.stack([swapped, turned]))
    assert signs.tolist() == [-1, 1]


def test_a_sign_that_rounding_may_have_changed_is_zero_and_spoils_no_other() -> None:
    a = torch.stack([torch.ones(3, 3), torch.eye(3), torch.eye(3)]).double()
    a[2, 0, 0] = -1e-12
    assert _linalg.determinant_signs(a).tolist() == [0, 1, 0]


def test_a_wrong_factorisation_gives_no_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    right = torch.linalg.lu_factor_ex

    def wrong(a: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        factors, pivots, info = right(a)
        return -factors, pivots, info

    monkeypatch.setattr(torch.linalg, "lu_factor_ex", wrong)
    assert _linalg.determinant_signs(matrices(2, 3, 3)).tolist() == [0, 0]


def test_large_matrices_are_factorised_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes = []
    right = torch.linalg.lu_factor_ex

    def counting(a: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        sizes.append(len(a))
        factors, pivots, info = right(a)
        return factors, pivots, info

    monkeypatch.setattr(torch.linalg, "lu_factor_ex", counting)
    _linalg.determinant_signs(matrices(3, 145, 145))
    assert sizes == [1] * 6  # for the sign, and for the smallest singular value
    assert _linalg.determinant_signs(matrices(0, 145, 145)).shape == (0,)


def test_powers_vanish_where_all_eigenvalues_are_inside_the_unit_circle() -> None:
    a = matrices(60, 6, 6) / 2.5
    radii = np.abs(np.linalg.eigvals(a.numpy())).max(1)
    assert 0 < (radii < 1).sum() < 60
    assert _linalg.powers_vanish(a).tolist() == (radii < 1).tolist()


def test_powers_vanish_after_they_have_grown_and_not_on_the_unit_circle() -> None:
    sheared = torch.tensor([[1 - 1e-4, 1e6], [0.0, 1 - 1e-4]])
    projector = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    turn = torch.tensor([[0.0, -1.0], [1.0, 0.0]])
    a = torch.stack([sheared, projector, turn, 1e200 * turn]).double()
    assert _linalg.powers_vanish(a).tolist() == [True, False, False, False]
