"""Enumeration finds what brute force finds, at borders and near singularities too."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import captum_dynamics as cd
from captum_dynamics.enumeration import _regions, _solutions, _units
from captum_dynamics.tasks.flipflop import load_flipflop
from captum_dynamics.testing.systems import bistable, threshold_linear

DATA = Path(__file__).parents[1] / "data"
NOTHING = torch.zeros(0)
seeds = st.integers(0, 2**31 - 1)


def layer(weights: Tensor, offsets: Tensor) -> cd.DynamicsMap:
    """h' = relu(W h + c), as an nn.RNNCell that reads nothing but zeros."""
    cell = nn.RNNCell(1, len(offsets), nonlinearity="relu").double()
    with torch.no_grad():
        cell.weight_hh.copy_(weights)
        cell.bias_hh.copy_(offsets)
        cell.bias_ih.zero_()
    return cd.adapt(cell)


def mapped(form: cd.ActivationForm) -> cd.FunctionAdapter:
    """The map of a form, written out once more."""
    A, W, C = form.linear, form.outgoing, form.incoming
    return cd.FunctionAdapter(
        lambda h, x: (
            h @ A.T + torch.relu(h @ C.T + form.offsets) @ W.T + form.bias + 0 * x.sum()
        ),
        len(form.bias),
        0,
        activation_form=lambda _: form,
    )


def random_form(seed: int, width: int, units: int, gain: float) -> cd.ActivationForm:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return cd.ActivationForm(
        0.3 * draw(width, width),
        gain * draw(width, units) / units**0.5,
        draw(units, width) / width**0.5,
        draw(units),
        draw(width),
    )


def brute_force(form: cd.ActivationForm) -> np.ndarray:
    """Solve every pattern of the full d x d system, and keep what lies in its own."""
    A, W, C, c, b = (
        part.numpy()
        for part in (
            *(form.linear, form.outgoing, form.incoming),
            *(form.offsets, form.bias),
        )
    )
    found: list[np.ndarray] = []
    for pattern in itertools.product((0.0, 1.0), repeat=len(c)):
        D = np.diag(pattern)
        matrix = np.eye(len(b)) - A - W @ D @ C
        if np.linalg.cond(matrix) > 1e12:
            continue
        h = np.linalg.solve(matrix, W @ D @ c + b)
        signs = 2 * np.array(pattern) - 1
        if (signs * (C @ h + c) >= -1e-11 * (1 + np.abs(h).max(initial=0))).all():
            new = all(np.abs(h - other).max() > 1e-8 for other in found)
            found += [h] if new else []
    return np.array(found).reshape(-1, len(b))


def same_points(states: Tensor, wanted: np.ndarray) -> bool:
    """Whether two sets of points are one, in whatever order."""
    if len(states) != len(wanted):
        return False
    gaps = np.abs(states.numpy()[:, None] - wanted).max(2, initial=0)
    return not len(wanted) or bool(max(gaps.min(0).max(), gaps.min(1).max()) < 1e-8)


def points_of(form: cd.ActivationForm) -> cd.FixedPoints:
    return cd.enumerate_fixed_points(mapped(form), NOTHING)


# Against brute force


@given(
    seeds, st.integers(1, 5), st.integers(0, 8), st.sampled_from([0.5, 1.5, 3.0, 10.0])
)
def test_enumeration_is_brute_force(
    seed: int, width: int, units: int, gain: float
) -> None:
    form = random_form(seed, width, units, gain)
    points = points_of(form)
    assert same_points(points.states, brute_force(form))
    assert (points.residual_norms < 1e-12 * (1 + points.states.norm(dim=1))).all()
    assert (points.kind == cd.Kind.FIXED).all()


@given(seeds, st.integers(1, 9), st.sampled_from([1.0, 2.0, 5.0]))
def test_enumeration_of_a_layer_is_brute_force(seed: int, n: int, gain: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(n, n, generator=generator, dtype=torch.float64)
    weights = gain * weights / n**0.5
    offsets = torch.randn(n, generator=generator, dtype=torch.float64)
    dynamics = layer(weights, offsets)
    form = dynamics.activation_form(torch.zeros(1).double())
    assert form is not None
    points = cd.enumerate_fixed_points(dynamics, torch.zeros(1))
    assert same_points(points.states, brute_force(form))


@pytest.mark.parametrize("seed", range(3))
def test_enumeration_is_brute_force_for_12_units(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    # Few random nets have many points; with strong self-excitation they do.
    weights = 0.3 * torch.randn(12, 12, generator=generator, dtype=torch.float64)
    weights = weights + 2 * torch.eye(12)
    offsets = -torch.rand(12, generator=generator, dtype=torch.float64)
    dynamics = layer(weights, offsets)
    form = dynamics.activation_form(torch.zeros(1).double())
    assert form is not None
    wanted = brute_force(form)
    points = cd.enumerate_fixed_points(dynamics, torch.zeros(1))
    assert len(wanted) > 1
    assert same_points(points.states, wanted)


@given(
    st.integers(1, 4).flatmap(
        lambda n: st.lists(
            st.lists(st.integers(-2, 2), min_size=n + 1, max_size=n + 1),
            min_size=n,
            max_size=n,
        )
    )
)
def test_borders_and_singular_regions_of_small_whole_numbers(
    rows: list[list[int]],
) -> None:
    # Weights of whole numbers put many points on borders and many multipliers at 1.
    table = torch.tensor(rows, dtype=torch.float64)
    dynamics = layer(table[:, :-1], table[:, -1])
    form = dynamics.activation_form(torch.zeros(1).double())
    assert form is not None
    points = cd.enumerate_fixed_points(dynamics, torch.zeros(1))
    assert (points.residual_norms < 1e-11).all()
    # Of a continuum every point may be named; the single ones are those of algebra.
    for h in brute_force(form):
        gaps = (points.states - torch.from_numpy(h)).norm(dim=1)
        assert gaps.min() < 1e-8
    assert len(torch.unique(points.states.round(decimals=7), dim=0)) == len(points)


def test_all_patterns_are_decided_and_no_solution_is_excluded() -> None:
    for seed in range(20):
        form = random_form(seed, 4, 7, 3.0)
        equation = _units.unit_equation(form)
        tree = _regions.Tree(equation.weights, equation.offsets)
        left, counts = zip(*tree.survivors(), strict=True)
        assert counts[-1] == 2**7
        survivors = set(map(tuple, torch.cat(left).tolist()))
        assert len(survivors) < 2**7 / 4
        units = _solutions.all_solutions(equation, show_progress=False)
        assert {tuple(row) for row in (units > 0).tolist()} <= survivors


def test_all_regions_one_by_one_hold_what_the_tree_leaves() -> None:
    patterns = list(itertools.product((False, True), repeat=6))
    for seed in range(20):
        equation = _units.unit_equation(random_form(seed, 3, 6, 3.0))
        singly, singular = _solutions._solve(equation, torch.tensor(patterns))
        assert len(singular) == 0
        found = _solutions.all_solutions(equation, show_progress=False)
        assert same_points(found, singly.numpy())


def test_few_branches_at_once_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    dynamics = cd.adapt(load_flipflop(DATA / "flipflop_relu.safetensors").rnn)
    monkeypatch.setattr(_regions, "MOST_BRANCHES", 50)
    assert len(cd.enumerate_fixed_points(dynamics, torch.zeros(3))) == 27


# Known answers


def test_a_trained_flipflop_has_27_points_and_no_others() -> None:
    dynamics = cd.adapt(load_flipflop(DATA / "flipflop_relu.safetensors").rnn)
    points = cd.enumerate_fixed_points(dynamics, torch.zeros(3))
    linear = cd.linearize(dynamics, points)
    assert torch.bincount(linear.unstable_dims).tolist() == [8, 12, 6, 1]
    assert points.residual_norms.max() < 1e-12
    assert not points.degenerate.any()


def test_a_search_finds_nothing_that_enumeration_lacks() -> None:
    dynamics = cd.adapt(load_flipflop(DATA / "flipflop_relu.safetensors").rnn)
    points = cd.enumerate_fixed_points(dynamics, torch.zeros(3))
    generator = torch.Generator().manual_seed(0)
    starts = 20 * torch.rand(500, 16, generator=generator, dtype=torch.float64) - 5
    for solver in (cd.solvers.PiecewiseLinear(), cd.solvers.LevenbergMarquardt()):
        found = cd.find_fixed_points(
            dynamics, starts, torch.zeros(3).double(), solver=solver
        )
        found = found[found.kind == cd.Kind.FIXED].unique()
        assert len(found) > 20
        for state in found.states:
            assert (points.states - state).norm(dim=1).min() < 1e-9


@given(seeds)
def test_where_regions_lead_there_is_an_enumerated_point(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(7, 7, generator=generator, dtype=torch.float64)
    dynamics = layer(weights, torch.randn(7, generator=generator))
    starts = 3 * torch.randn(40, 7, generator=generator, dtype=torch.float64)
    inputs = torch.zeros(40, 1, dtype=torch.float64)
    solution = cd.solvers.PiecewiseLinear().solve(dynamics, starts, inputs)
    points = cd.enumerate_fixed_points(dynamics, torch.zeros(1))
    for state in solution.states[solution.status == cd.Status.CONVERGED]:
        assert (points.states - state).norm(dim=1).min() < 1e-9


def test_the_virtual_point_is_not_among_the_three_of_the_threshold_system() -> None:
    system = threshold_linear()
    points = cd.enumerate_fixed_points(system.dynamics, NOTHING)
    assert same_points(points.states, system.states.numpy())
    linear = cd.linearize(system.dynamics, points)
    assert int(linear.indices.sum()) == system.index_sum


@given(seeds)
def test_the_sum_of_indices_is_that_of_the_weights_alone(seed: int) -> None:
    # The degree of h - relu(W h + c) does not depend on c while no solution can come
    # from infinity, which random weights forbid.
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(6, 6, generator=generator, dtype=torch.float64)
    sums = set()
    for _ in range(3):
        offsets = torch.randn(6, generator=generator, dtype=torch.float64)
        dynamics = layer(weights, offsets)
        points = cd.enumerate_fixed_points(dynamics, torch.zeros(1))
        linear = cd.linearize(dynamics, points) if len(points) else None
        sums.add(int(linear.indices.sum()) if linear else 0)
    assert len(sums) == 1


# Borders and continua


def test_a_point_on_a_border_is_found_once() -> None:
    # The second unit holds the first exactly at its threshold.
    weights = torch.tensor([[0.0, 1.0], [0.0, 0.0]])
    points = cd.enumerate_fixed_points(
        layer(weights, torch.tensor([-1.0, 1.0])), torch.zeros(1)
    )
    assert points.states.tolist() == [[0.0, 1.0]]


def test_a_layer_without_bias_rests_at_zero_where_all_regions_meet() -> None:
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(10, 10, generator=generator, dtype=torch.float64)
    points = cd.enumerate_fixed_points(layer(weights, torch.zeros(10)), torch.zeros(1))
    assert points.states.tolist() == [[0.0] * 10]
    assert points.multiplicity.tolist() == [1]


def test_a_line_of_fixed_points_is_one_degenerate_point_inside_its_region() -> None:
    # Along (1, 1) nothing moves; the offsets put the line beside zero.
    weights = torch.tensor([[0.5, 0.5], [0.5, 0.5]])
    offsets = torch.tensor([-0.5, 0.5])
    points = cd.enumerate_fixed_points(layer(weights, offsets), torch.zeros(1))
    inside = points.states[(points.states > 0).all(1)]
    assert len(inside) == 1
    assert float(inside[0, 1] - inside[0, 0]) == pytest.approx(1.0)
    assert points.degenerate[(points.states > 0).all(1)].all()


def test_singular_equations_without_a_solution_give_no_point() -> None:
    weights = torch.tensor([[0.5, 0.5], [0.5, 0.5]])
    points = cd.enumerate_fixed_points(layer(weights, torch.ones(2)), torch.zeros(1))
    assert len(points) == 0


@pytest.mark.parametrize("gap", [0.0, 1e-15, 1e-9, -1e-6])
def test_a_vanishing_pivot_on_the_way_loses_no_point(gap: float) -> None:
    # A unit that alone would be an integrator; both units together are regular.
    weights = torch.ones(2, 2).double() + gap * torch.eye(2)
    dynamics = layer(weights, torch.tensor([-1.0, -2.0]))
    points = cd.enumerate_fixed_points(dynamics, torch.zeros(1))
    together = points.states[(points.states > 0.5).all(1)]
    assert torch.allclose(together, torch.tensor([[2.0, 1.0]]).double(), atol=1e-4)
    assert points.residual_norms.max() < 1e-12


@pytest.mark.parametrize("gap", [1e-16, 1e-15, 1e-14])
def test_vanishing_pivots_are_not_mistaken_for_proofs(gap: float) -> None:
    # Without a bound on rounding errors a fifth of these points would be excluded.
    for seed in range(30):
        generator = torch.Generator().manual_seed(seed)
        matrix = torch.randn(4, 4, generator=generator, dtype=torch.float64)
        order = torch.argsort(matrix.diagonal().abs(), descending=True)
        matrix = matrix[order][:, order]
        matrix[1, 0] = (matrix[0, 0] * matrix[1, 1] - gap) / matrix[0, 1]
        state = torch.rand(4, generator=generator, dtype=torch.float64) + 0.2
        dynamics = layer(torch.eye(4) - matrix, matrix @ state)
        points = cd.enumerate_fixed_points(dynamics, torch.zeros(1))
        assert (points.states - state).norm(dim=1).min() < 1e-9


@pytest.mark.parametrize(
    ("weights", "ratio"),
    # Pivots of I - W end at exactly zero, and at a rounding error.
    [([[0.9, 0.2], [0.3, 0.4]], 2.0), ([[0.7, 0.3], [0.3, 0.7]], 1.0)],
)
def test_a_ray_of_fixed_points_that_starts_at_zero_is_found_beside_zero(
    weights: list[list[float]], ratio: float
) -> None:
    dynamics = layer(torch.tensor(weights, dtype=torch.float64), torch.zeros(2))
    points = cd.enumerate_fixed_points(dynamics, torch.zeros(1))
    assert len(points) == 2
    sizes, order = points.states.norm(dim=1).sort()
    assert float(sizes[0]) == 0
    on_ray = points.states[order[1]]
    assert float(on_ray[0] / on_ray[1]) == pytest.approx(ratio)


def test_a_point_barely_outside_its_region_is_virtual() -> None:
    # On, the unit would rest at -1e-6; off, it reads 1e-6 and turns on.
    weights, offsets = torch.tensor([[2.0]]), torch.tensor([1e-6]).double()
    points = cd.enumerate_fixed_points(layer(weights, offsets), torch.zeros(1))
    assert len(points) == 0
    form = layer(weights, offsets).activation_form(torch.zeros(1).double())
    assert form is not None
    both = torch.tensor([[False], [True]])
    assert len(_solutions._solve(_units.unit_equation(form), both)[0]) == 0


def test_two_nearly_degenerate_points_close_together_stay_two() -> None:
    # h' - h is -1e-6 h - 1e-9 below zero, and 1e-6 h - 1e-9 above.
    one = torch.ones(1, 1, dtype=torch.float64)
    points = points_of(
        cd.ActivationForm(one - 1e-6 * one, 2e-6 * one, one, 0 * one[0], -1e-9 * one[0])
    )
    assert points.states.flatten().tolist() == pytest.approx([-1e-3, 1e-3], rel=1e-6)
    assert points.degenerate.all()


def test_an_integrator_is_looked_at_from_another_region() -> None:
    one = torch.ones(1, 1).double()
    points = points_of(cd.ActivationForm(one, -2 * one, one, 0 * one[0], one[0]))
    assert points.states.tolist() == [[0.5]]


def test_a_map_without_units_has_the_point_of_its_linear_equations() -> None:
    form = random_form(0, 3, 0, 1.0)
    wanted = np.linalg.solve(np.eye(3) - form.linear.numpy(), form.bias.numpy())
    assert np.allclose(points_of(form).states.numpy(), wanted[None], atol=1e-12)


# What is asked, and what is refused


def test_every_input_has_its_own_points() -> None:
    dynamics = cd.adapt(load_flipflop(DATA / "flipflop_relu.safetensors").rnn)
    inputs = torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    points = cd.enumerate_fixed_points(dynamics, inputs)
    assert int((points.inputs[:, 0] == 0).sum()) == 27
    pushed = points[points.inputs[:, 0] == 1]
    assert 0 < len(pushed) < 27
    alone = cd.enumerate_fixed_points(dynamics, inputs[1])
    assert torch.allclose(alone.states, pushed.states)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (torch.eye(12), "at most 1000 regions with a multiplier of 1"),
        (torch.eye(21), "at most `max_units` = 20 units, got 21, or 2.21 regions"),
    ],
)
def test_maps_that_allow_no_proof_are_refused(weights: Tensor, message: str) -> None:
    dynamics = layer(weights, torch.zeros(len(weights)))
    with pytest.raises(ValueError, match=message):
        cd.enumerate_fixed_points(dynamics, torch.zeros(1))


def test_a_map_with_a_multiplier_of_1_in_every_region_is_refused() -> None:
    one = torch.ones(1, 1).double()
    with pytest.raises(ValueError, match="a region where a multiplier of 1 does not"):
        points_of(cd.ActivationForm(one, 0 * one, one, one[0], 0 * one[0]))


def test_a_map_whose_regions_are_not_known_is_refused() -> None:
    with pytest.raises(ValueError, match="`dynamics` to state its `activation_form`"):
        cd.enumerate_fixed_points(bistable().dynamics, torch.zeros(1))
    tanh = cd.adapt(nn.RNN(1, 3))
    with pytest.raises(ValueError, match="`dynamics` to state its `activation_form`"):
        cd.enumerate_fixed_points(tanh, torch.zeros(1))


def test_a_form_that_is_not_the_step_is_refused() -> None:
    form = random_form(0, 3, 4, 1.0)
    other = random_form(1, 3, 4, 1.0)
    dynamics = mapped(form)
    dynamics.activation_form = lambda _: other  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="`activation_form` of `dynamics` to be its"):
        cd.enumerate_fixed_points(dynamics, NOTHING)


@pytest.mark.parametrize(
    "inputs", [torch.zeros(0, 3), torch.zeros(2), torch.full((3,), torch.nan)]
)
def test_inputs_that_do_not_fit_are_refused(inputs: Tensor) -> None:
    dynamics = cd.adapt(load_flipflop(DATA / "flipflop_relu.safetensors").rnn)
    with pytest.raises(ValueError, match="Expected `inputs`"):
        cd.enumerate_fixed_points(dynamics, inputs)
