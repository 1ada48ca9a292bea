"""Bounds over boxes of states hold what the maps do there, and close in on it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import captum_dynamics as cd
from captum_dynamics.adapters import RecurrentAdapter
from captum_dynamics.models import UGRNN

SINGLE = {
    "tanh": lambda: nn.RNN(3, 5),
    "relu": lambda: nn.RNN(3, 5, nonlinearity="relu"),
    "gru": lambda: nn.GRU(3, 5),
    "gru cell": lambda: nn.GRUCell(3, 5),
    "lstm": lambda: nn.LSTM(3, 5),
    "ugrnn": lambda: UGRNN(3, 5),
    "projected lstm": lambda: nn.LSTM(3, 5, proj_size=2),
}
STACKED = {
    "two tanh": lambda: nn.RNN(3, 5, 2),
    "three gru": lambda: nn.GRU(3, 5, 3),
    "two projected lstm": lambda: nn.LSTM(3, 5, 2, proj_size=2),
}
ALL = {**SINGLE, **STACKED}
# Bounds are of exact values; those they are compared with are rounded.
ROUNDING = 1e-12

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported")


def strong(name: str, seed: int) -> RecurrentAdapter:
    """A layer with weights three times as large as at the start of a training."""
    torch.manual_seed(seed)
    layer = ALL[name]()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.mul_(3)
    return cd.adapt(layer)


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def members(low: Tensor, high: Tensor, count: int) -> list[Tensor]:
    """Random states of a box, and random corners of it."""
    inner = [low + (high - low) * torch.rand_like(low) for _ in range(count)]
    return inner + [torch.where(random(*low.shape) > 0, low, high) for _ in inner]


@pytest.mark.parametrize("name", ALL)
@given(seed=st.integers(0, 2**16), radius=st.sampled_from([1e-6, 1e-3, 0.1, 1.0]))
def test_every_state_of_a_box_is_within_the_bounds(
    name: str, seed: int, radius: float
) -> None:
    dynamics = strong(name, seed)
    middle, x = random(10, dynamics.state_dim), random(10, 3)
    low, high = middle - radius * torch.rand_like(middle), middle + radius
    step = dynamics.interval_step(low, high, x)
    jacobians = dynamics.interval_jacobians(low, high, x)
    for h in members(low, high, 4):
        assert within(dynamics.step(h, x), step)
        assert within(dynamics.jacobians(h, x), jacobians)


def within(values: Tensor, bounds: tuple[Tensor, Tensor]) -> bool:
    low, high = bounds
    return bool(((values >= low - ROUNDING) & (values <= high + ROUNDING)).all())


@pytest.mark.parametrize("name", ALL)
def test_bounds_close_in_on_the_value_as_the_box_shrinks(name: str) -> None:
    dynamics = strong(name, seed=0)
    h, x = random(20, dynamics.state_dim), random(20, 3)
    widths = []
    for radius in (1e-4, 1e-6, 0.0):
        low, high = dynamics.interval_jacobians(h - radius, h + radius, x)
        assert torch.allclose((low + high) / 2, dynamics.jacobians(h, x), atol=1e-3)
        widths.append(float((high - low).max()))
    assert widths[1] <= 0.0101 * widths[0] + ROUNDING
    assert widths[2] < 1e-11
    low, high = dynamics.interval_step(h, h, x)
    assert float((high - low).max()) < 1e-11


@pytest.mark.parametrize("name", SINGLE)
@given(seed=st.integers(0, 2**16), radius=st.sampled_from([1e-3, 0.1, 1.0]))
def test_jacobians_vary_no_faster_than_their_lipschitz_constants(
    name: str, seed: int, radius: float
) -> None:
    dynamics = strong(name, seed)
    middle, x = random(10, dynamics.state_dim), random(10, 3)
    low, high = middle - radius, middle + radius
    rates = dynamics.jacobian_lipschitz(low, high, x)
    states = members(low, high, 3)
    for a, b in zip(states, reversed(states), strict=True):
        change = dynamics.jacobians(a, x) - dynamics.jacobians(b, x)
        distances = (a - b).abs().amax(-1, keepdim=True)
        assert (change.abs().sum(-1) <= rates * distances + ROUNDING).all()


@pytest.mark.parametrize("name", ["tanh", "gru", "lstm", "projected lstm"])
def test_lipschitz_constants_are_no_wild_guesses(name: str) -> None:
    dynamics = strong(name, seed=0)
    h, x = random(200, dynamics.state_dim), random(200, 3)
    rates = dynamics.jacobian_lipschitz(h - 1e-4, h + 1e-4, x)
    # Along the worst of many directions of signs, the constant is nearly reached.
    worst = torch.zeros_like(h)
    for _ in range(50):
        moved = h + 1e-4 * random(*h.shape).sign()
        change = dynamics.jacobians(moved, x) - dynamics.jacobians(h, x)
        worst = torch.maximum(worst, change.abs().sum(-1) / 1e-4)
    assert float((worst / rates).median()) > 0.4


def test_a_relu_layer_has_one_jacobian_between_its_kinks() -> None:
    dynamics = strong("relu", seed=0)
    h, x = random(50, 5), random(50, 3)
    low, high = dynamics.interval_jacobians(h - 1e-9, h + 1e-9, x)
    assert torch.allclose(low, dynamics.jacobians(h, x), atol=1e-14)
    assert torch.allclose(high, low, atol=1e-13)
    assert dynamics.jacobian_lipschitz(h - 1e-9, h + 1e-9, x).max() < 1e-300
    assert dynamics.jacobian_lipschitz(h - 9, h + 9, x).isinf().any()


def test_an_iterated_map_has_the_bounds_of_its_steps() -> None:
    twice = strong("gru", seed=0).iterate(2)
    h, x = 0.5 * random(10, 5), random(10, 3)
    low, high = h - 1e-3, h + 1e-3
    for state in members(low, high, 10):
        assert within(twice.step(state, x), twice.interval_step(low, high, x))
        found = twice.interval_jacobians(low, high, x)
        assert within(twice.jacobians(state, x), found)
    narrow = twice.interval_jacobians(h, h, x)
    assert float((narrow[1] - narrow[0]).max()) < 1e-11


def test_a_map_without_closed_forms_has_no_bounds() -> None:
    plain = cd.FunctionAdapter(lambda h, x: torch.tanh(2 * h), 1, 0)
    h, x = torch.zeros(1, 1).double(), torch.zeros(1, 0).double()
    for dynamics in (plain, plain.iterate(2)):
        assert dynamics.interval_step(h, h, x) is None
        assert dynamics.interval_jacobians(h, h, x) is None
        assert dynamics.jacobian_lipschitz(h, h, x) is None
