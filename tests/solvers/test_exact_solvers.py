"""Solvers for affine and piecewise-linear maps: one solve, or one for each region."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import captum_dynamics as cd
from captum_dynamics.solvers import Affine, Newton, PiecewiseLinear, Status
from captum_dynamics.testing import KnownSystem, check_solver
from captum_dynamics.testing.systems import (
    bistable,
    coupled_switches,
    focus,
    hopfield,
    line_attractor,
    threshold_linear,
)

seeds = st.integers(0, 2**31 - 1)


def affine(slope: list[list[float]], offset: list[float]) -> cd.FunctionAdapter:
    A = torch.tensor(slope, dtype=torch.float64)
    b = torch.tensor(offset, dtype=torch.float64)
    return cd.FunctionAdapter(lambda h, x: h @ A.mT + b, len(b), 0)


def nothing(states: torch.Tensor) -> torch.Tensor:
    return states.new_zeros(len(states), 0)


# Affine


def test_the_affine_solver_tells_the_truth_about_affine_maps() -> None:
    report = check_solver(Affine(), systems=(focus(), line_attractor()))
    assert report.passed, report.table()


def test_a_solver_made_for_few_systems_fails_the_others() -> None:
    assert not check_solver(Affine()).passed


@given(seeds, st.integers(1, 12))
def test_one_solve_is_numpys(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    A, b = 2 * rng.standard_normal((n, n)), rng.standard_normal(n)
    starts = torch.from_numpy(rng.standard_normal((3, n)))
    dynamics = affine(A.tolist(), b.tolist())
    solution = Affine().solve(dynamics, starts, nothing(starts))
    wanted = np.linalg.solve(np.eye(n) - A, b)
    scale = np.linalg.cond(np.eye(n) - A) * (1 + np.abs(wanted).max())
    assert np.abs(solution.states.numpy() - wanted).max() < 1e-13 * scale * n
    assert (solution.steps <= 3).all()


@pytest.mark.parametrize("system", [bistable(), threshold_linear(), coupled_switches()])
def test_a_map_that_is_not_affine_is_refused(system: KnownSystem) -> None:
    starts = system.sample_starts(4, generator=torch.Generator().manual_seed(0))
    inputs = system.inputs.expand(4, -1)
    with pytest.raises(ValueError, match="`dynamics` to be affine in the state"):
        Affine().solve(system.dynamics, starts, inputs)


def test_a_map_that_bends_only_far_away_is_refused() -> None:
    # Affine around the start, but the solve would lead to the virtual point at 10.
    bent = cd.FunctionAdapter(lambda h, x: 0.9 * h + 1 - torch.relu(h - 8), 1, 0)
    start = torch.zeros(1, 1).double()
    with pytest.raises(ValueError, match="`dynamics` to be affine in the state"):
        Affine().solve(bent, start, nothing(start))


def test_an_odd_map_is_not_taken_for_affine() -> None:
    # About its centre of symmetry all differences F(h) - 2 F(0) + F(-h) vanish.
    cubic = cd.FunctionAdapter(lambda h, x: h**3 + 0.5 * h + 1e-3, 1, 0)
    start = torch.zeros(1, 1).double()
    with pytest.raises(ValueError, match="`dynamics` to be affine in the state"):
        Affine().solve(cubic, start, nothing(start))


@pytest.mark.parametrize(
    ("slope", "offset"),
    [
        ([[1.0]], [1.0]),
        ([[1.0, 0.0], [0.0, 0.5]], [1.0, 1.0]),
        # Singular but for rounding: LU gives a point 1e16 away, where anything rests.
        ([[0.9, -0.2], [-0.3, 0.4]], [1.0, 1.0]),
    ],
)
def test_a_map_without_fixed_points_stalls_where_it_started(
    slope: list[list[float]], offset: list[float]
) -> None:
    start = torch.ones(1, len(offset)).double()
    solution = Affine().solve(affine(slope, offset), start, nothing(start))
    assert solution.status.tolist() == [Status.STALLED]
    assert torch.equal(solution.states, start)


def test_a_point_of_a_line_is_on_the_line_or_the_start() -> None:
    system = line_attractor()
    starts = system.sample_starts(50, generator=torch.Generator().manual_seed(0))
    solution = Affine().solve(system.dynamics, starts, nothing(starts))
    rests = solution.status == Status.CONVERGED
    assert rests.any()
    assert system.distances(solution.states[rests]).max() < 1e-9
    assert (solution.status[~rests] == Status.STALLED).all()


def test_every_input_has_its_own_solution() -> None:
    leak = cd.FunctionAdapter(lambda h, x: 0.5 * x[:, :1] * h + x[:, 1:], 1, 2)
    inputs = torch.tensor([[1.0, 1.0], [0.0, 3.0], [2.0, 1.0]]).double()
    start = torch.zeros(3, 1).double()
    solution = Affine().solve(leak, start, inputs)
    assert solution.states[:, 0].tolist() == [2.0, 3.0, 0.0]
    assert solution.status.tolist() == [0, 0, Status.STALLED]


# Piecewise linear


def test_the_virtual_point_moves_the_search_on() -> None:
    # Where both units are off, the solution (2, 2) lies where both are on.
    system = threshold_linear()
    start = torch.tensor([[-1.0, -1.0]]).double()
    solution = PiecewiseLinear().solve(system.dynamics, start, nothing(start))
    assert solution.steps.tolist() == [2]
    assert torch.allclose(solution.states, system.states[2:], atol=1e-14)


def test_a_circle_of_virtual_points_is_left() -> None:
    # The zeros of g in the outer regions, -100 and 100, lie in each other.
    steep = cd.FunctionAdapter(lambda h, x: 0.9 * h - 10 * h.clamp(-1, 1), 1, 0)
    starts = torch.tensor([[-7.0], [0.5], [3.0]]).double()
    plain = Newton().solve(steep, starts, nothing(starts))
    assert plain.status.tolist() == [Status.STALLED, 0, Status.STALLED]
    ours = PiecewiseLinear().solve(steep, starts, nothing(starts))
    assert ours.status.tolist() == [0, 0, 0]
    assert ours.states.abs().max() < 1e-12
    assert ours.steps.max() < 10


def test_a_start_beside_a_point_takes_a_whole_step() -> None:
    system = threshold_linear()
    starts = system.states + 1e-11
    solution = PiecewiseLinear().solve(system.dynamics, starts, nothing(starts))
    assert solution.steps.tolist() == [1, 1, 1]
    assert (solution.states - system.states).abs().max() < 1e-14


def test_a_region_without_a_solution_is_left_by_a_step_of_the_map() -> None:
    # Below 2 the map only counts; Newton's step is infinite there.
    count = cd.FunctionAdapter(lambda h, x: h + 1 - 2 * torch.relu(h - 2), 1, 0)
    start = torch.zeros(1, 1).double()
    ours = PiecewiseLinear().solve(count, start, nothing(start))
    assert ours.status.tolist() == [Status.CONVERGED]
    assert float(ours.states) == pytest.approx(2.5, abs=1e-14)
    assert Newton().solve(count, start, nothing(start)).status.tolist() == [
        Status.NONFINITE
    ]


def test_on_a_smooth_map_it_is_newtons_method() -> None:
    system = hopfield()
    starts = system.states[:4] + 0.05
    inputs = system.inputs.expand(4, -1)
    ours = PiecewiseLinear().solve(system.dynamics, starts, inputs)
    theirs = Newton().solve(system.dynamics, starts, inputs)
    assert torch.allclose(ours.states, theirs.states, atol=1e-12)
