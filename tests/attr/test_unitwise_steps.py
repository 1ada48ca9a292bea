"""Averages in unitwise form: those of the layer's own Jacobians, and cheap."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import captum_dynamics as cd
from captum_dynamics.adapters import RecurrentAdapter, adapt
from captum_dynamics.attr import DynamicsAttribution, EigenmodeAttribution, Switching
from captum_dynamics.attr import _unitwise_steps as unitwise_steps
from captum_dynamics.attr._host import Arguments, Host
from captum_dynamics.attr._quadrature import Quadrature
from captum_dynamics.attr._runs import RunPair, pair_runs
from captum_dynamics.attr._step_ends import StepEnds
from captum_dynamics.attr._unitwise_steps import UnitwiseSteps, averaged_steps
from captum_dynamics.models import UGRNN
from captum_dynamics.unitwise import UnitwiseForm
from tests.attr import models
from tests.attr.models import Reader, reader, vectors

LAYERS: dict[str, Callable[[], nn.Module]] = {
    "tanh": lambda: nn.RNN(3, 6, batch_first=True),
    "ReLU": lambda: nn.RNN(3, 6, batch_first=True, nonlinearity="relu"),
    "GRU": lambda: nn.GRU(3, 6, batch_first=True),
    "LSTM": lambda: nn.LSTM(3, 6, batch_first=True),
    "UGRNN": lambda: UGRNN(3, 6),
    "projected LSTM": lambda: nn.LSTM(3, 8, batch_first=True, proj_size=6),
    "without biases": lambda: nn.GRU(3, 6, batch_first=True, bias=False),
}
every_layer = pytest.mark.parametrize("name", LAYERS)


def built(name: str, scale: float = 1.0) -> Reader:
    """A model whose layer has weights of some size."""
    model = reader(LAYERS[name](), models.mean)
    with torch.no_grad():
        for parameter in model.rnn.parameters():
            parameter.mul_(scale)
    return model


def form_of(model: Reader) -> tuple[RecurrentAdapter, UnitwiseForm]:
    dynamics = adapt(model.rnn)
    form = dynamics.unitwise_form
    assert form is not None
    return dynamics, form


def drawn(dynamics: RecurrentAdapter, rows: int = 9) -> tuple[Tensor, Tensor, Tensor]:
    """States, inputs and cotangents."""
    generator = torch.Generator().manual_seed(3)
    widths = dynamics.state_dim, dynamics.input_dim, dynamics.state_dim
    states, inputs, cotangents = (
        torch.randn(rows, width, generator=generator).double() for width in widths
    )
    return states, inputs, cotangents


def pair(model: Reader) -> RunPair:
    host = Host(model, model.rnn, adapt(model.rnn))
    return pair_runs(host, Arguments((vectors(),), 1), None, torch.ones(1, 3).double())


@every_layer
def test_the_form_is_the_map(name: str) -> None:
    dynamics, form = form_of(built(name))
    states, inputs, _ = drawn(dynamics)
    arguments = form.arguments(states, form.reads(inputs))
    torch.testing.assert_close(
        form.states(form.values(arguments)), dynamics.step(states, inputs)
    )


@every_layer
def test_its_slopes_pull_back_as_autograd_does(name: str) -> None:
    dynamics, form = form_of(built(name))
    states, inputs, v = drawn(dynamics)
    slopes = form.slopes(form.arguments(states, form.reads(inputs)))
    by_arguments = (form.pull_values(v)[:, :, None] * slopes).sum(1)
    by_state, by_input = torch.func.vjp(dynamics.step, states, inputs)[1](v)
    torch.testing.assert_close(form.pull_states(by_arguments), by_state)
    torch.testing.assert_close(form.pull_inputs(by_arguments), by_input)


@every_layer
def test_a_rollout_is_one_step_after_another(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    dynamics, _ = form_of(built(name))
    monkeypatch.setattr("captum_dynamics.unitwise.BLOCK", 1500)
    states = torch.zeros(4, dynamics.state_dim).double()
    found = dynamics.rollout(states, vectors())
    for step, visited in enumerate(found.unbind(1)):
        states = dynamics.step(states, vectors()[:, step])
        torch.testing.assert_close(visited, states)
    assert dynamics.rollout(states, vectors()[:, :0]).shape == (4, 0, states.shape[1])


def averaged_by_autograd(runs: RunPair, v: Tensor) -> tuple[Tensor, Tensor]:
    """v_t Jbar_t and v_t Bbar_t with 400 nodes of the map itself."""
    nodes, weights = np.polynomial.legendre.leggauss(400)
    before, reads = runs.previous_baseline_states, runs.baseline_inputs
    moves = runs.previous_states - before, runs.inputs - reads
    back, gradients = torch.zeros_like(before), torch.zeros_like(reads)
    for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
        at = before + node * moves[0], reads + node * moves[1]
        flat = (value.flatten(0, 1) for value in at)
        pulled = torch.func.vjp(runs.dynamics.step, *flat)[1](v.flatten(0, 1))
        back += weight * pulled[0].view_as(back)
        gradients += weight * pulled[1].view_as(gradients)
    return back, gradients


@every_layer
@pytest.mark.parametrize("scale", [1.0, 2.5], ids=["smooth", "sharp"])
def test_averages_are_those_of_autograd_at_many_nodes(name: str, scale: float) -> None:
    runs = pair(built(name, scale))
    steps = averaged_steps(StepEnds.between(runs), Quadrature())
    assert isinstance(steps, UnitwiseSteps)
    found, missed = steps.adjoints(runs.injections)
    assert missed.abs().max() < 1e-12
    v = found.states[:, 1:]
    back, gradients = averaged_by_autograd(runs, v)
    # 400 nodes of a ReLU err by one part in their number.
    tolerance = 0.02 if name == "ReLU" else 1e-9
    back[:, 1:] += runs.injections[:, :-1]
    close = {"atol": tolerance, "rtol": tolerance}
    torch.testing.assert_close(found.states[:, :-1], back, **close)
    torch.testing.assert_close(found.inputs, gradients, **close)
    torch.testing.assert_close(steps.gradients(v)[0], gradients, **close)
    driven = (gradients * runs.input_differences).sum(-1)
    torch.testing.assert_close((v * steps.drives()).sum(-1), driven, **close)


@every_layer
def test_blocks_of_steps_change_nothing(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, inputs = built(name), vectors()
    method = DynamicsAttribution(model, model.rnn)
    whole = method.attribute(inputs, target=1)
    monkeypatch.setattr(unitwise_steps, "BLOCK", 500)
    runs = pair(model)
    steps = averaged_steps(StepEnds.between(runs), Quadrature())
    assert isinstance(steps, UnitwiseSteps)
    assert len(steps._blocks()) > 2
    torch.testing.assert_close(method.attribute(inputs, target=1), whole)


def test_a_relu_needs_no_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    model, inputs = built("ReLU", 3.0), vectors()
    monkeypatch.setattr(type(adapt(model.rnn).unitwise_form), "slopes", refuse)
    method = DynamicsAttribution(model, model.rnn)
    _, delta = method.attribute(inputs, target=1, return_convergence_delta=True)
    assert delta.abs().max() < 1e-12


@every_layer
def test_contributions_are_complete_to_rounding(name: str) -> None:
    model, inputs = built(name, 2.5), vectors()
    method = DynamicsAttribution(model, model.rnn)
    _, delta = method.attribute(inputs, target=1, return_convergence_delta=True)
    assert delta.abs().max() < 1e-13


@every_layer
def test_local_linear_pictures_are_those_of_products_with_jacobians(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, inputs = built(name), vectors()
    estimator = Switching(anchors=3)
    method = DynamicsAttribution(model, model.rnn, estimator=estimator)
    found = method.attribute(inputs, target=1)
    assert method.evaluate(inputs, target=1).identity_error < 1e-12
    monkeypatch.setattr(type(method.dynamics), "unitwise_form", None)
    expected = method.attribute(inputs, target=1)
    torch.testing.assert_close(found, expected, atol=1e-8, rtol=1e-8)


STACKS: dict[str, type[nn.GRU] | type[nn.LSTM]] = {"GRU": nn.GRU, "LSTM": nn.LSTM}


@pytest.mark.parametrize("name", STACKS)
def test_a_stack_is_its_levels_one_after_the_other(name: str) -> None:
    kind = STACKS[name]
    x, before = vectors(), vectors() / 2
    model = reader(kind(3, 6, 2, batch_first=True), models.mean)
    low, top = (kind(width, 6, batch_first=True).double() for width in (3, 6))
    for level, layer in enumerate((low, top)):
        for parameter in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            own = getattr(model.rnn, f"{parameter}_l{level}").detach()
            getattr(layer, f"{parameter}_l0").data.copy_(own)
    (states, _), (references, _) = low(x), low(before)

    def read_top(given: Tensor) -> Tensor:
        return model.head(top(given)[0].mean(1))

    slopes = DynamicsAttribution(read_top, top, multiply_by_inputs=False).attribute(
        states.detach(), references.detach(), 1
    )
    expected = DynamicsAttribution(
        lambda given: (low(given)[0] * slopes).sum((1, 2)), low
    ).attribute(x, before)
    method = DynamicsAttribution(model, model.rnn)
    found, delta = method.attribute(x, before, 1, return_convergence_delta=True)
    torch.testing.assert_close(found, expected, atol=1e-9, rtol=1e-9)
    assert delta.abs().max() < 1e-13
    told = method.evaluate(x, baselines=before, target=1)
    assert told.identity_error < 1e-13
    linear = method.linearize(method.find_fixed_points(x, count=16))
    modes = EigenmodeAttribution(model, model.rnn, linear)
    parts = modes.attribute_modes(x, baselines=before, target=1)
    torch.testing.assert_close(parts.tokens, found.sum(-1))


def refuse(_: UnitwiseForm, arguments: Tensor) -> Tensor:
    assert len(arguments) <= 1  # to learn their size
    return arguments.new_zeros(len(arguments), 1, 1, arguments.shape[-1])


def test_modes_sum_to_the_contributions_in_unitwise_form() -> None:
    model, inputs = built("LSTM"), vectors()
    method = DynamicsAttribution(model, model.rnn)
    linear = method.linearize(method.find_fixed_points(inputs, count=32))
    modes = EigenmodeAttribution(model, model.rnn, linear)
    found = modes.attribute_modes(inputs, target=1)
    expected = method.attribute(inputs, target=1).sum(-1)
    torch.testing.assert_close(found.tokens, expected, atol=1e-9, rtol=1e-9)


def test_maps_of_one_function_have_no_such_form() -> None:
    assert cd.FunctionAdapter(lambda h, x: h, 2, 0).unitwise_form is None
    assert cd.adapt(nn.GRU(3, 6, 2)).unitwise_form is None  # but its levels have
