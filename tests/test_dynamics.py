"""What every map supplies from its step alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import captum_dynamics as cd
from captum_dynamics import Block, FunctionAdapter, StateLayout, Traits
from captum_dynamics.testing.systems import bistable, flip, henon, logistic


def coupled(states: Tensor, inputs: Tensor) -> Tensor:
    """A map of two states and one input whose derivatives are easy."""
    x, y = states[:, 0], states[:, 1]
    return torch.stack([x * y + inputs[:, 0] ** 2, x.sin() + y * inputs[:, 0]], dim=1)


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def test_a_layout_cuts_and_joins_blocks() -> None:
    layout = StateLayout((Block("h", 2), Block("c", 3)))
    states = random(4, 7, 5)
    parts = layout.split(states)
    assert [part.shape[-1] for part in parts.values()] == [2, 3]
    assert torch.equal(layout.join(parts), states)
    with pytest.raises(KeyError, match=r"among \('h', 'c'\), got 'z'"):
        layout.slice("z")


def test_jacobians_are_the_derivatives_by_hand() -> None:
    dynamics = FunctionAdapter(coupled, 2, 1)
    h, x = random(5, 2), random(5, 1)
    one, zero = torch.ones(5).double(), torch.zeros(5).double()
    by_state = torch.stack(
        [h[:, 1], h[:, 0], h[:, 0].cos(), x[:, 0] * one], dim=1
    ).reshape(5, 2, 2)
    by_input = torch.stack([2 * x[:, 0] + zero, h[:, 1]], dim=1)[..., None]
    assert torch.allclose(dynamics.jacobians(h, x), by_state)
    assert torch.allclose(dynamics.input_jacobians(h, x), by_input)


def test_products_agree_with_jacobians() -> None:
    dynamics = FunctionAdapter(coupled, 2, 1)
    h, x, v = random(5, 2), random(5, 1), random(5, 2)
    jacobians, by_input = dynamics.jacobians(h, x), dynamics.input_jacobians(h, x)
    assert torch.allclose(
        dynamics.jvp(h, x, v), torch.einsum("nij,nj->ni", jacobians, v)
    )
    for found, matrix in zip(dynamics.vjp(h, x, v), (jacobians, by_input), strict=True):
        assert torch.allclose(found, torch.einsum("ni,nij->nj", v, matrix))


def test_a_map_that_forbids_vmap_has_the_same_jacobians() -> None:
    plain = FunctionAdapter(coupled, 2, 1)
    careful = FunctionAdapter(coupled, 2, 1, traits=Traits(vmap_safe=False))
    h, x = random(3, 2), random(3, 1)
    assert torch.equal(careful.jacobians(h, x), plain.jacobians(h, x))
    assert torch.equal(careful.input_jacobians(h, x), plain.input_jacobians(h, x))


def test_no_points_have_empty_jacobians() -> None:
    dynamics = FunctionAdapter(coupled, 2, 1)
    h, x = random(0, 2), random(0, 1)
    assert dynamics.jacobians(h, x).shape == (0, 2, 2)
    assert dynamics.input_jacobians(h, x).shape == (0, 2, 1)


def test_an_autonomous_map_has_jacobians_by_no_input() -> None:
    system = henon()
    found = system.dynamics.input_jacobians(system.states, system.inputs.expand(2, 0))
    assert found.shape == (2, 2, 0)


def test_speed_is_half_the_squared_residual() -> None:
    dynamics, h, x = FunctionAdapter(coupled, 2, 1), random(4, 2), random(4, 1)
    residual = coupled(h, x) - h
    assert torch.equal(dynamics.residual(h, x), residual)
    assert torch.allclose(dynamics.speed(h, x), (residual**2).sum(1) / 2)
    assert torch.equal(dynamics.ungated_residual(h, x), residual)


def test_a_rollout_is_steps_in_a_row() -> None:
    dynamics = FunctionAdapter(coupled, 2, 1)
    h, inputs = random(3, 2), 0.1 * random(3, 4, 1)
    states = dynamics.rollout(h, inputs)
    for step in range(4):
        h = coupled(h, inputs[:, step])
        assert torch.equal(states[:, step], h)


def test_a_rollout_over_no_steps_is_empty() -> None:
    dynamics = FunctionAdapter(coupled, 2, 1)
    assert dynamics.rollout(random(3, 2), random(3, 0, 1)).shape == (3, 0, 2)


@pytest.mark.parametrize("system", [flip(), logistic(), henon()], ids=lambda s: s.name)
def test_a_cycle_is_a_fixed_point_of_the_iterated_map(system) -> None:
    (cycle,) = system.cycles
    twice = system.dynamics.iterate(len(cycle))
    inputs = system.inputs.expand(len(cycle), -1)
    assert twice.residual(cycle, inputs).abs().max() < 1e-14
    assert twice.layout == system.dynamics.layout
    chain = system.dynamics.jacobians(cycle, inputs)
    assert torch.allclose(twice.jacobians(cycle, inputs)[0], chain[1] @ chain[0])


@pytest.mark.parametrize(
    ("system", "multiplier"), [(flip(), 0.0276797), (logistic(), 0.16)]
)
def test_the_multiplier_of_a_two_cycle_is_the_known_one(system, multiplier) -> None:
    (cycle,) = system.cycles
    twice = system.dynamics.iterate(2)
    found = twice.jacobians(cycle, system.inputs.expand(2, -1)).flatten()
    assert found.tolist() == pytest.approx([multiplier] * 2, abs=1e-7)


def test_iterating_no_times_is_refused() -> None:
    with pytest.raises(ValueError, match="`times` to be positive, got 0"):
        flip().dynamics.iterate(0)


def test_calling_a_map_checks_its_arguments_and_spreads_the_input() -> None:
    dynamics = bistable().dynamics
    h = torch.zeros(3, 1)
    assert dynamics(h, torch.ones(1, 1)).shape == (3, 1)
    assert dynamics(h, torch.ones(1)).flatten().tolist() == pytest.approx(
        [0.761594] * 3, abs=1e-6
    )
    with pytest.raises(ValueError, match="`states` to have shape"):
        dynamics(torch.zeros(3, 2), torch.ones(1, 1))
    with pytest.raises(ValueError, match="`inputs` to have shape"):
        dynamics(h, torch.ones(2, 1))


def test_an_iterate_opens_its_gates_as_wide_as_any_step_did() -> None:
    gru = nn.GRUCell(1, 1).double()
    with torch.no_grad():
        for parameter in gru.parameters():
            parameter.zero_()
        gru.bias_ih[1] = 40.0  # z = 1 - 4e-18: nothing moves, and n is 0
    h, x = torch.full((1, 1), 0.5).double(), torch.zeros(1, 1).double()
    twice = cd.adapt(gru).iterate(2)
    assert float(twice.residual(h, x)) == 0
    assert float(twice.ungated_residual(h, x)) == pytest.approx(0, abs=1e-12)
    with torch.no_grad():
        gru.bias_ih[1] = 30.0  # z = 1 - 1e-13
    twice = cd.adapt(gru).iterate(2)
    assert abs(float(twice.residual(h, x))) < 1e-12
    # Two steps of n - h = -0.5 each, seen through the same gate.
    assert float(twice.ungated_residual(h, x)) == pytest.approx(-1.0, rel=1e-3)


def test_a_cycle_is_at_rest_for_its_iterate_whatever_its_gates() -> None:
    system = flip()
    (cycle,) = system.cycles
    twice = system.dynamics.iterate(2)
    inputs = system.inputs.expand(2, -1)
    assert twice.ungated_residual(cycle, inputs).abs().max() < 1e-12
