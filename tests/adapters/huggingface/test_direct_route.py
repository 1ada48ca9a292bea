"""Layers that are affine behind their windows are solved, not searched."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import captum_dynamics as cd
from captum_dynamics._linalg import smallest_singular_by_solves
from captum_dynamics.adapters import _settled
from captum_dynamics.adapters._settled import diagonal, settled
from captum_dynamics.adapters.huggingface import CachedLayer
from captum_dynamics.solvers import Reduced, Status
from captum_dynamics.testing import TINY_MODELS

pytest.importorskip("transformers", reason="transformers is not there")

DIAGONAL = ["mamba", "mamba2", "minimax"]
FULL = ["qwen3_next"]
SHORT = ["lfm2"]


@pytest.fixture(scope="module")
def layers() -> dict[str, CachedLayer]:
    return {}


def layer_of(name: str, known: dict[str, CachedLayer]) -> CachedLayer:
    family = TINY_MODELS[name]
    if family.missing is not None:
        pytest.skip(family.missing)
    if name not in known:
        model = family.build()
        known[name] = CachedLayer.from_model(model, model.get_submodule(family.layer))
    return known[name]


def drawn(layer: CachedLayer, rows: int = 2) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    shapes = (rows, layer.state_dim), (rows, layer.input_dim)
    states, inputs = (
        torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes
    )
    return states, inputs


def solved_by_hand(layer: CachedLayer, one_input: Tensor) -> Tensor:
    """The fixed point from values of the map alone, once its windows rest."""
    rest = torch.zeros(1, layer.state_dim, dtype=torch.float64)
    for _ in range(8):
        rest = layer.step(rest, one_input)
    fixed = [name for name in layer.layout.names if name != "recurrent"]
    units = torch.eye(layer.state_dim, dtype=torch.float64)
    for name in fixed:
        units[layer.layout.slice(name)] = 0.0
    at = layer.step(rest, one_input)
    moved = layer.step(rest + units, one_input.expand(len(units), -1)) - at
    slopes = torch.eye(len(units), dtype=torch.float64) - moved.T
    step: Tensor = torch.linalg.solve(slopes, (at - rest)[0])
    return rest + step


@pytest.mark.parametrize("name", DIAGONAL + FULL + SHORT)
def test_the_fixed_point_solves_the_equations_of_the_layer(
    layers: dict[str, CachedLayer], name: str
) -> None:
    layer = layer_of(name, layers)
    states, inputs = drawn(layer)
    points = cd.find_fixed_points(layer, states, inputs)
    assert points.converged.all()
    assert (points.steps <= 3).all()
    for row in range(2):
        wanted = solved_by_hand(layer, inputs[[row]])
        assert torch.allclose(points.states[[row]], wanted, rtol=1e-9, atol=1e-10)


def test_the_layer_itself_goes_to_the_fixed_point(
    layers: dict[str, CachedLayer],
) -> None:
    layer = layer_of("mamba2", layers)
    states, inputs = drawn(layer, rows=1)
    points = cd.find_fixed_points(layer, states, inputs)
    point, slowest = points.states, cd.leading_modes(layer, points, count=1)
    assert float(slowest.eigenvalues.abs()) < 1
    far = float((states - point).norm())
    for _ in range(100):
        states = layer.step(states, inputs)
    left = float(slowest.eigenvalues.abs()) ** 100 * far
    assert float((states - point).norm()) <= 1e2 * left + 1e-9


@pytest.mark.parametrize(
    ("name", "is_diagonal"),
    [(name, True) for name in DIAGONAL] + [(name, False) for name in FULL],
)
def test_what_is_left_is_affine_and_its_structure_is_seen(
    layers: dict[str, CachedLayer], name: str, is_diagonal: bool
) -> None:
    layer = layer_of(name, layers)
    assert layer.reduction is not None
    rest = layer.reduction.dynamics
    assert rest.traits.affine_in_state
    assert rest.layout.names == ("recurrent",)
    states, inputs = drawn(layer)
    part = layer.reduction.restrict(states)
    entries = diagonal(rest.tangent(part, inputs), part)
    jacobians = rest.jacobians(part, inputs)
    own = jacobians.diagonal(dim1=1, dim2=2)
    off = (jacobians - torch.diag_embed(own)).abs().max()
    assert (float(off) < 1e-14) is is_diagonal
    assert (entries is not None) is is_diagonal
    if entries is not None:
        assert torch.allclose(entries, own, rtol=1e-12)


@pytest.mark.parametrize("name", ["mamba", "qwen3_next"])
@pytest.mark.parametrize("narrow", [0, 512])
def test_newton_directions_solve_the_dense_equation(
    layers: dict[str, CachedLayer],
    name: str,
    narrow: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_settled, "NARROW", narrow)
    monkeypatch.setattr(_settled, "KRYLOV_DIMS", 10)
    layer = layer_of(name, layers)
    assert layer.reduction is not None
    rest = layer.reduction.dynamics
    states, inputs = drawn(layer)
    part = layer.reduction.restrict(states)
    residuals = rest.residual(part, inputs)
    found = rest.tangent(part, inputs).newton_direction(residuals)
    slopes = rest.jacobians(part, inputs) - torch.eye(rest.state_dim)
    assert torch.allclose(found, -torch.linalg.solve(slopes, residuals), atol=1e-8)


def test_windows_rest_whatever_the_recurrent_state(
    layers: dict[str, CachedLayer],
) -> None:
    layer = layer_of("mamba", layers)
    assert layer.reduction is not None
    states, inputs = drawn(layer, rows=5)
    part = layer.reduction.restrict(states)
    lifted = layer.reduction.lift(part, inputs)
    assert torch.equal(layer.reduction.restrict(lifted), part)
    conv = layer.layout.slice("conv")
    moved = layer.residual(lifted, inputs)
    assert float(moved[:, conv].abs().max()) < 1e-14
    assert float(moved.abs().max()) > 1e-2


def test_a_layer_of_windows_alone_forgets_all_in_as_many_steps(
    layers: dict[str, CachedLayer],
) -> None:
    layer = layer_of("lfm2", layers)
    assert layer.reduction is None
    assert layer.traits.affine_in_state
    states, inputs = drawn(layer, rows=1)
    (jacobian,) = layer.jacobians(states, inputs)
    assert not torch.linalg.matrix_power(
        jacobian, layer.layout.blocks[0].shape[-1]
    ).any()
    assert jacobian.any()


def leak(*factors: float) -> cd.FunctionAdapter:
    """h' = a h + 1 for a block of each factor."""

    def step(h: dict[str, Tensor], _: Tensor) -> dict[str, Tensor]:
        pairs = zip(h, factors, strict=True)
        return {name: factor * h[name] + 1 for name, factor in pairs}

    return cd.FunctionAdapter(step, {f"h{i}": 1 for i in range(len(factors))}, 0)


def test_what_decays_fast_is_no_window() -> None:
    found = settled(leak(0.0, 1e-5))
    assert found is not None
    assert found.dynamics.layout.names == ("h1",)


def test_a_multiplier_of_one_is_reported_as_stalled() -> None:
    reduction = settled(leak(0.0, 1.0, 0.5))
    assert reduction is not None
    start = torch.zeros(2, 2, dtype=torch.float64)
    solution = Reduced().solve(reduction.dynamics, start, torch.zeros(2, 0).double())
    assert solution.status.tolist() == [Status.STALLED] * 2


@pytest.mark.parametrize("name", ["mamba", "minimax"])
def test_leading_modes_are_those_of_the_dense_jacobian(
    layers: dict[str, CachedLayer], name: str
) -> None:
    layer = layer_of(name, layers)
    states, inputs = drawn(layer, rows=1)
    points = cd.find_fixed_points(layer, states, inputs)
    modes = cd.leading_modes(layer, points, count=5)
    (jacobian,) = layer.jacobians(points.states, points.inputs).to(torch.complex128)
    sizes = torch.linalg.eigvals(jacobian).abs().sort(descending=True).values[:5]
    assert torch.allclose(modes.eigenvalues[0].abs(), sizes, rtol=1e-10)
    values, right, left = (
        modes.eigenvalues[0],
        modes.right_eigenvectors[0],
        modes.left_eigenvectors[0],
    )
    assert torch.allclose(jacobian @ right, right * values, atol=1e-12)
    assert torch.allclose(left @ jacobian, values[:, None] * left, atol=1e-12)
    assert torch.allclose((left * right.T).sum(1).real, torch.ones(5).double())


def test_solves_are_those_of_the_dense_jacobian(
    layers: dict[str, CachedLayer],
) -> None:
    layer = layer_of("mamba", layers)
    states, inputs = drawn(layer)
    tangent = layer.tangent(states, inputs)
    assert tangent.resolvents is not None
    one = torch.ones(2, 1, dtype=torch.float64)
    by_lambda, left_by_lambda = tangent.resolvents

    def solve(vectors: Tensor) -> Tensor:
        return by_lambda(vectors, one)

    def solve_left(vectors: Tensor) -> Tensor:
        return left_by_lambda(vectors, one)

    slopes = torch.eye(layer.state_dim) - layer.jacobians(states, inputs)
    vectors = torch.ones_like(states)
    assert torch.allclose(solve(vectors), torch.linalg.solve(slopes, vectors))
    assert torch.allclose(solve_left(vectors), torch.linalg.solve(slopes.mT, vectors))
    smallest = smallest_singular_by_solves(solve, solve_left, states, rounds=30)
    wanted = torch.linalg.svdvals(slopes)[:, -1]
    assert torch.allclose(smallest, wanted, rtol=1e-3)
