"""Activation forms are the maps they are said to be, from wherever they are seen."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import captum_dynamics as cd

seeds = st.integers(0, 2**31 - 1)


def random_form(seed: int, width: int = 3, units: int = 4) -> cd.ActivationForm:
    generator = torch.Generator().manual_seed(seed)
    shapes = [(width, width), (width, units), (units, width), (units,), (width,)]
    return cd.ActivationForm(
        *(torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes)
    )


def states_like(form: cd.ActivationForm, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed + 1)
    shape = (20, len(form.bias))
    return torch.randn(shape, generator=generator, dtype=torch.float64)


@given(seeds)
def test_a_form_is_one_affine_map_in_each_region(seed: int) -> None:
    form = random_form(seed)
    for state in states_like(form, seed):
        on = (form.incoming @ state + form.offsets > 0).double()
        slope, offset = form.region(on)
        assert torch.allclose(slope @ state + offset, form(state[None])[0])


@given(seeds, st.lists(st.booleans(), min_size=4, max_size=4))
def test_a_form_seen_from_any_region_is_the_same_map(seed: int, on: list[bool]) -> None:
    form = random_form(seed)
    states = states_like(form, seed)
    seen = form.seen_from(torch.tensor(on).double())
    assert torch.allclose(seen(states), form(states))


@given(seeds, st.integers(1, 4))
def test_a_form_around_moves_each_state_to_the_place_of_the_next(
    seed: int, period: int
) -> None:
    form = random_form(seed)
    states = states_like(form, seed)[:period]
    moved = form.around(period)(states.reshape(1, -1)).reshape(period, -1)
    assert torch.allclose(moved, form(states).roll(1, 0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_relu_layer_states_its_form_at_every_input(dtype: torch.dtype) -> None:
    layer = nn.RNN(3, 5, nonlinearity="relu")
    dynamics = cd.adapt(layer)
    states, inputs = torch.randn(4, 5).to(dtype), torch.randn(4, 3).to(dtype)
    for row in range(4):
        form = dynamics.activation_form(inputs[row])
        assert form is not None
        assert form.units == 5
        wanted = dynamics(states, inputs[[row]])
        assert torch.allclose(form(states), wanted, atol=1e-6)


def test_maps_without_a_form_say_so() -> None:
    one = torch.zeros(3)
    assert cd.adapt(nn.RNN(3, 5)).activation_form(one) is None
    assert cd.adapt(nn.GRU(3, 5)).activation_form(one) is None
    stack = cd.adapt(nn.RNN(3, 5, num_layers=2, nonlinearity="relu"))
    assert stack.activation_form(one) is None
    assert cd.FunctionAdapter(lambda h, x: h, 2, 0).activation_form(one[:0]) is None


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("linear", torch.zeros(2, 2), r"`linear` to have shape \(3, 3\)"),
        ("outgoing", torch.zeros(4, 3), r"`outgoing` to have shape \(3, 4\)"),
        ("incoming", torch.zeros(3, 4), r"`incoming` to have shape \(4, 3\)"),
        ("bias", torch.full((3,), torch.nan), "`bias` to be finite"),
    ],
)
@pytest.mark.misuse
def test_parts_that_do_not_fit_together_are_refused(
    field: str, value: Tensor, message: str
) -> None:
    form = random_form(0)
    names = ("linear", "outgoing", "incoming", "offsets", "bias")
    parts = {name: getattr(form, name) for name in names}
    with pytest.raises(ValueError, match=message):
        cd.ActivationForm(**{**parts, field: value})
