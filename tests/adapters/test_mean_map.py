"""The mean map is the mean of a map's steps, in each of its forms."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import captum_dynamics as cd

WORDS = 5
LAYERS: dict[str, Callable[[], nn.Module]] = {
    "tanh": lambda: nn.RNN(3, 6),
    "ReLU": lambda: nn.RNN(3, 6, nonlinearity="relu"),
    "GRU": lambda: nn.GRU(3, 6),
    "LSTM": lambda: nn.LSTM(3, 6),
    "stack": lambda: nn.GRU(3, 6, 2),
}
every_layer = pytest.mark.parametrize("name", LAYERS)


def setting(name: str, rows: int = 4) -> tuple[cd.DynamicsMap, Tensor, Tensor]:
    """A map, states, and a different set of inputs for each."""
    torch.manual_seed(2)
    dynamics = cd.adapt(LAYERS[name]())
    states = torch.randn(rows, dynamics.state_dim).double()
    return dynamics, states, torch.randn(rows, WORDS, 3).double()


@every_layer
def test_a_step_is_the_mean_of_steps(name: str) -> None:
    dynamics, states, words = setting(name)
    found = cd.MeanMap(dynamics, WORDS).step(states, words.flatten(1))
    for row, expected in enumerate(found):
        steps = dynamics.step(states[row].expand(WORDS, -1), words[row])
        torch.testing.assert_close(steps.mean(0), expected)


@every_layer
def test_its_derivatives_are_those_of_the_step(name: str) -> None:
    dynamics, states, words = setting(name)
    mean_map, inputs = cd.MeanMap(dynamics, WORDS), words.flatten(1)
    expected = torch.stack(
        [
            torch.autograd.functional.jacobian(
                lambda h, row=row: mean_map.step(h[None], inputs[row : row + 1])[0],
                states[row],
            )
            for row in range(len(states))
        ]
    )
    torch.testing.assert_close(mean_map.jacobians(states, inputs), expected)


@pytest.mark.parametrize("name", ["tanh", "ReLU", "GRU", "LSTM"])
def test_its_unitwise_form_is_the_map(name: str) -> None:
    dynamics, states, words = setting(name)
    mean_map, inputs = cd.MeanMap(dynamics, WORDS), words.flatten(1)
    form = mean_map.unitwise_form
    assert form is not None
    arguments = form.arguments(states, form.reads(inputs))
    torch.testing.assert_close(
        form.states(form.values(arguments)), mean_map.step(states, inputs)
    )
    v = torch.randn_like(states)
    slopes = form.slopes(arguments)
    by_arguments = (form.pull_values(v)[:, :, None] * slopes).sum(1)
    by_state, by_input = torch.func.vjp(mean_map.step, states, inputs)[1](v)
    torch.testing.assert_close(form.pull_states(by_arguments), by_state)
    torch.testing.assert_close(form.pull_inputs(by_arguments), by_input)


def test_a_relu_has_its_mean_slopes_in_closed_form() -> None:
    dynamics, states, words = setting("ReLU")
    form = cd.MeanMap(dynamics, WORDS).unitwise_form
    assert form is not None
    starts = form.arguments(states, form.reads(words.flatten(1)))
    ends = form.arguments(-states, form.reads(words.flip(0).flatten(1)))
    slopes = form.mean_slopes(starts, ends)
    assert slopes is not None
    rises = (slopes * (ends - starts)[:, None]).sum(2)
    torch.testing.assert_close(rises, form.values(ends) - form.values(starts))
    smooth = cd.MeanMap(setting("GRU")[0], WORDS).unitwise_form
    assert smooth is not None
    assert smooth.mean_slopes(torch.zeros(1, 25, 6), torch.ones(1, 25, 6)) is None


def test_the_same_input_many_times_is_the_map_itself() -> None:
    dynamics, states, words = setting("LSTM")
    mean_map = cd.MeanMap(dynamics, WORDS)
    found = mean_map.step(states, words[:, 0].repeat(1, WORDS))
    torch.testing.assert_close(found, dynamics.step(states, words[:, 0]))


def test_its_fixed_points_are_where_steps_cancel() -> None:
    dynamics, states, words = setting("GRU", 9)
    inputs = words[0].reshape(1, -1)
    mean_map = cd.MeanMap(dynamics, WORDS)
    points = cd.find_fixed_points(mean_map, states, inputs).unique()
    steps = dynamics.step(points.states[:1].expand(WORDS, -1), words[0])
    moves = steps - points.states[:1]
    assert moves.norm(dim=1).min() > 0.1
    assert moves.mean(0).norm() < 1e-12
    assert cd.linearize(mean_map, points).spectral_radius[0] < 1


def test_a_mean_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="`count` to be a whole number"):
        cd.MeanMap(setting("GRU")[0], 0)
