"""Whole models: lower triangular by layers, and solved one layer after the other."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import captum_dynamics as cd
from captum_dynamics.adapters import RecurrentAdapter
from captum_dynamics.solvers import LayerByLayer
from captum_dynamics.testing import TINY_MODELS

pytest.importorskip("transformers", reason="transformers is not there")

FAMILY = TINY_MODELS["mamba"]


@pytest.fixture(scope="module")
def model() -> Any:
    built: Any = FAMILY.build()
    with torch.no_grad():
        for name, parameter in built.named_parameters():
            if name.endswith("A_log"):
                parameter.add_(3.0)  # so that it forgets in some hundred steps
    return built


@pytest.fixture(scope="module")
def dynamics(model: Any) -> RecurrentAdapter:
    return cd.adapt(model)


@pytest.fixture(scope="module")
def points(model: Any, dynamics: RecurrentAdapter) -> cd.FixedPoints:
    embedded = model.get_input_embeddings()(torch.tensor([3, 7])).detach().double()
    generator = torch.Generator().manual_seed(0)
    shape = (2, dynamics.state_dim)
    starts = torch.randn(shape, generator=generator, dtype=torch.float64)
    return cd.find_fixed_points(dynamics, starts, embedded)


@pytest.fixture(scope="module")
def jacobians(dynamics: RecurrentAdapter, points: cd.FixedPoints) -> Tensor:
    return dynamics.jacobians(points.states, points.inputs)


def test_layers_are_the_sections_of_a_model(dynamics: RecurrentAdapter) -> None:
    sections = dynamics.sections
    assert len(sections) == len(dynamics.layout.blocks) / 2 > 1
    covered = [column for s in sections for column in range(10**6)[s.columns]]
    assert covered == list(range(dynamics.state_dim))


def test_no_layer_hears_of_those_above_it(
    dynamics: RecurrentAdapter, jacobians: Tensor
) -> None:
    for section in dynamics.sections[:-1]:
        top = section.columns.stop
        assert not jacobians[:, section.columns, top:].any()
        assert jacobians[:, top:, section.columns].any()


def test_one_sweep_solves_the_model(
    dynamics: RecurrentAdapter, points: cd.FixedPoints
) -> None:
    assert points.converged.all()
    assert (points.steps <= 2 * len(dynamics.sections)).all()
    own = dynamics.residual(points.states, points.inputs).norm(dim=-1)
    assert torch.equal(own, points.residual_norms)
    assert float(own.max()) < 1e-12


def test_the_model_itself_ends_there_on_a_constant_token(
    model: Any, dynamics: RecurrentAdapter, points: cd.FixedPoints, jacobians: Tensor
) -> None:
    steps = 1500
    with torch.no_grad():
        ids = torch.tensor([[3], [7]]).expand(-1, steps)
        last = model.base_model(input_ids=ids).last_hidden_state[:, -1]
        _, given = dynamics.advance(points.states, points.inputs)
    slowest = float(torch.linalg.eigvals(jacobians).abs().max())
    assert slowest < 1
    assert 1e2 * slowest**steps < 1e-6  # what is left of the start
    assert float((last - given).abs().max()) < 1e-5  # the model is in float32


def test_multipliers_are_those_of_all_layers_together(
    dynamics: RecurrentAdapter, points: cd.FixedPoints, jacobians: Tensor
) -> None:
    modes = cd.leading_modes_by_section(dynamics, points, count=8)
    found = torch.cat([m.eigenvalues for m in modes], dim=1).abs()
    found = found.sort(dim=1, descending=True).values[:, :8]
    wanted = torch.linalg.eigvals(jacobians).abs()
    wanted = wanted.sort(dim=1, descending=True).values[:, :8]
    assert torch.allclose(found, wanted, rtol=1e-8)


@pytest.mark.parametrize("name", ["falcon_h1", "qwen3_next", "zamba2"])
@pytest.mark.filterwarnings("ignore::captum_dynamics.AdapterWarning")
def test_hybrids_are_solved_with_their_keys_and_values_held(name: str) -> None:
    family = TINY_MODELS[name]
    if family.missing is not None:
        pytest.skip(family.missing)
    dynamics: Any = cd.adapt(family.build())
    assert dynamics.attends
    generator = torch.Generator().manual_seed(0)
    start, read = (
        torch.randn(1, width, generator=generator, dtype=torch.float64)
        for width in (dynamics.state_dim, dynamics.input_dim)
    )
    point = cd.find_fixed_points(dynamics, start, read)
    assert point.converged.all()
    (jacobian,) = dynamics.jacobians(point.states, read)
    for section in dynamics.sections:
        assert not jacobian[section.columns, section.columns.stop :].any()
    modes = cd.leading_modes_by_section(dynamics, point, count=4)
    found = torch.cat([m.eigenvalues[0] for m in modes]).abs().sort().values
    wanted = torch.linalg.eigvals(jacobian).abs().sort().values
    assert torch.allclose(found[-4:], wanted[-4:], rtol=1e-8)


def test_modes_of_the_model_reach_the_other_layers(
    dynamics: RecurrentAdapter, points: cd.FixedPoints, jacobians: Tensor
) -> None:
    modes = cd.leading_modes(dynamics, points, count=5)
    values, right, left = (
        modes.eigenvalues,
        modes.right_eigenvectors,
        modes.left_eigenvectors,
    )
    wanted = torch.linalg.eigvals(jacobians).abs()
    wanted = wanted.sort(dim=1, descending=True).values[:, :5]
    assert torch.allclose(values.abs(), wanted, rtol=1e-8)
    slopes = jacobians.to(right)
    assert torch.allclose(slopes @ right, right * values[:, None], atol=1e-10)
    sizes = left.norm(dim=2, keepdim=True)
    assert torch.allclose(left @ slopes / sizes, values[..., None] * left / sizes)
    ones = torch.ones_like(values)
    assert torch.allclose((left.mT * right).sum(1), ones, rtol=1e-6)
    assert torch.allclose(right.norm(dim=1).to(ones), ones)


def test_a_step_of_newton_solves_the_dense_equation(
    dynamics: RecurrentAdapter, points: cd.FixedPoints, jacobians: Tensor
) -> None:
    residuals = torch.ones_like(points.states)
    tangent = dynamics.tangent(points.states, points.inputs)
    assert tangent.resolvents is not None
    found = tangent.newton_direction(residuals)
    slopes = torch.eye(dynamics.state_dim) - jacobians
    assert torch.allclose(found, torch.linalg.solve(slopes, residuals), rtol=1e-7)
    _, solve_left = tangent.resolvents
    found = solve_left(residuals, torch.ones(2, 1).double())
    assert torch.allclose(found, torch.linalg.solve(slopes.mT, residuals), rtol=1e-7)


def test_arguments_of_a_model_stay_as_they_are(
    dynamics: RecurrentAdapter, points: cd.FixedPoints
) -> None:
    starts = torch.ones_like(points.states)
    solution = LayerByLayer().solve(dynamics, starts, points.inputs)
    assert torch.equal(starts, torch.ones_like(starts))
    assert torch.allclose(solution.states, points.states, atol=1e-10)


def test_a_map_without_sections_is_refused() -> None:
    gru = cd.adapt(torch.nn.GRU(2, 3))
    nothing = torch.zeros(1, 3).double(), torch.zeros(1, 2).double()
    with pytest.raises(ValueError, match="`dynamics` to have sections"):
        LayerByLayer().solve(gru, *nothing)
    points = cd.find_fixed_points(gru, *nothing)
    with pytest.raises(ValueError, match="`dynamics` to be a map of several layers"):
        cd.leading_modes_by_section(gru, points)
