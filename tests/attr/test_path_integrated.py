"""PathIntegrated: complete for every readout, and equal to what algebra gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients
from torch import Tensor, nn

import captum_dynamics as cd
from captum_dynamics.attr import DynamicsAttribution, PathIntegrated
from tests.attr import models
from tests.attr.models import Reader, gru, projected_lstm, reader, vectors

LENGTHS = torch.tensor([7, 2, 5, 1])
CASES: dict[str, tuple[Callable[[], Reader], tuple[Any, ...], Any]] = {
    "last step": (gru, (), 1),
    "lengths": (lambda: gru(models.at_lengths), (LENGTHS,), 1),
    "packed": (lambda: gru(models.packed), (LENGTHS,), 1),
    "mean over time": (lambda: gru(models.mean), (), 1),
    "one of the steps": (lambda: gru(models.every_step), (), (3, 1)),
    "h_n": (lambda: gru(models.h_n), (), 1),
    "c_n": (
        lambda: reader(nn.LSTM(3, 6, batch_first=True), models.c_n),
        (),
        1,
    ),
    "nonlinear": (lambda: gru(models.nonlinear), (), 1),
    "attention": (lambda: gru(models.attention), (), 1),
    "stacked projected LSTM": (projected_lstm, (), 1),
    "GRUCell": (lambda: reader(nn.GRUCell(3, 6), models.looped), (), 1),
    "LSTMCell": (lambda: reader(nn.LSTMCell(3, 6), models.looped), (), 1),
    "tanh RNN": (
        lambda: reader(nn.RNN(3, 6, batch_first=True), models.last),
        (),
        1,
    ),
    "time first": (lambda: reader(nn.GRU(3, 6), models.time_first), (), 1),
    "targets, one for each": (gru, (), torch.tensor([0, 3, 1, 1])),
    "list of targets": (gru, (), [0, 3, 1, 1]),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("given", [True, False], ids=["baselines", "reference"])
def test_contributions_sum_to_the_change_of_the_output(case: str, given: bool) -> None:
    build, additional, target = CASES[case]
    model, inputs = build(), vectors()
    baselines = vectors().flip(0) * 0.5 if given else None
    attributions, delta = DynamicsAttribution(model, model.rnn).attribute(
        inputs, baselines, target, additional, return_convergence_delta=True
    )
    assert attributions.shape == inputs.shape
    assert attributions.abs().max() > 1e-3
    # Attention is smooth but not polynomial: 40 nodes reach what rounding allows.
    assert delta.abs().max() < 1e-8


def test_delta_is_what_the_contributions_miss_of_two_runs_of_the_model() -> None:
    model, inputs = gru(), vectors()
    baselines = torch.zeros_like(inputs)
    method = DynamicsAttribution(
        model, model.rnn, estimator=PathIntegrated(1, 1, max_pieces=1)
    )
    with pytest.warns(cd.AttributionWarning, match="of the layer miss up to"):
        attributions, delta = method.attribute(
            inputs, baselines, 2, return_convergence_delta=True
        )
    with torch.no_grad():
        change = model(inputs)[:, 2] - model(baselines)[:, 2]
    assert delta.abs().max() > 1e-4
    torch.testing.assert_close(attributions.sum((1, 2)) - change, delta)


def test_contributions_are_those_of_averaged_jacobians_of_the_layer_itself() -> None:
    model, inputs = gru(), vectors(1, 4)
    found = DynamicsAttribution(model, model.rnn, reference="zero").attribute(
        inputs, target=1
    )
    expected = brute_force(model, inputs[0], torch.zeros_like(inputs[0]), target=1)
    torch.testing.assert_close(found[0], expected, atol=1e-9, rtol=0)


def brute_force(model: Reader, x: Tensor, x_b: Tensor, target: int) -> Tensor:
    """Section 2, with dense Jacobians by autograd of nn.GRU and 30 nodes a step."""

    def step(h: Tensor, read: Tensor) -> Tensor:
        return model.rnn(read[None, None], h[None, None])[1][0, 0]

    states, references = [torch.zeros(6).double()], [torch.zeros(6).double()]
    for read, read_b in zip(x, x_b, strict=True):
        states.append(step(states[-1], read).detach())
        references.append(step(references[-1], read_b).detach())
    v = model.head.weight[target].detach()
    rows = []
    nodes, weights = np.polynomial.legendre.leggauss(30)
    for t in reversed(range(len(x))):
        J, B = torch.zeros(6, 6).double(), torch.zeros(6, 3).double()
        for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
            at = (
                references[t] + node * (states[t] - references[t]),
                x_b[t] + node * (x[t] - x_b[t]),
            )
            by_state, by_input = torch.autograd.functional.jacobian(step, at)
            J, B = J + weight * by_state, B + weight * by_input
        rows.append((v @ B) * (x[t] - x_b[t]))
        v = v @ J
    return torch.stack(rows[::-1])


def test_without_multiplying_a_close_baseline_gives_the_models_gradient() -> None:
    model, inputs = projected_lstm(), vectors()
    method = DynamicsAttribution(model, model.rnn, multiply_by_inputs=False)
    found = method.attribute(inputs, baselines=inputs - 1e-7, target=1)
    leaf = inputs.clone().requires_grad_()
    expected = torch.autograd.grad(model(leaf)[:, 1].sum(), leaf)[0]
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    assert not method.multiplies_by_inputs


def test_multiplying_is_by_the_change_of_the_layers_input() -> None:
    model, inputs, baselines = gru(), vectors(), vectors().flip(1)
    gradients = DynamicsAttribution(model, model.rnn, multiply_by_inputs=False)
    contributions = DynamicsAttribution(model, model.rnn)
    torch.testing.assert_close(
        gradients.attribute(inputs, baselines, 1) * (inputs - baselines),
        contributions.attribute(inputs, baselines, 1),
    )


def test_a_linear_map_gives_integrated_gradients() -> None:
    layer = nn.RNN(3, 6, batch_first=True, nonlinearity="relu")
    model = reader(layer, models.last)
    with torch.no_grad():
        # Positive throughout: the ReLU never bends.
        for parameter in layer.parameters():
            parameter.abs_()
    inputs = vectors().abs()
    found, delta = DynamicsAttribution(model, layer, reference="zero").attribute(
        inputs, target=1, return_convergence_delta=True
    )
    expected = IntegratedGradients(model).attribute(inputs, target=1, n_steps=3)
    torch.testing.assert_close(found, expected)
    assert delta.abs().max() < 1e-10 * expected.abs().sum()


def test_what_follows_the_last_step_that_is_read_contributes_nothing() -> None:
    model = gru(models.at_lengths)
    method = DynamicsAttribution(model, model.rnn)
    padded = vectors()
    found = method.attribute(padded, target=1, additional_forward_args=LENGTHS)
    valid = torch.arange(7) < LENGTHS[:, None]
    assert (found[~valid] == 0).all()
    assert (found[valid] != 0).all()
    other = torch.where(valid[:, :, None], padded, 9.0)
    again = method.attribute(other, target=1, additional_forward_args=LENGTHS)
    torch.testing.assert_close(again, found, msg="padding entered the mean reference")


def test_packed_sequences_give_what_reading_at_the_lengths_gives() -> None:
    by_length, packed = gru(models.at_lengths), gru(models.packed)
    found = [
        DynamicsAttribution(model, model.rnn).attribute(
            vectors(), target=1, additional_forward_args=LENGTHS
        )
        for model in (by_length, packed)
    ]
    torch.testing.assert_close(found[0], found[1])


def test_a_time_first_layer_gives_what_a_batch_first_one_gives() -> None:
    batch_first = gru()
    layer = nn.GRU(3, 6).double()
    layer.load_state_dict(batch_first.rnn.state_dict())

    def forward(x: Tensor) -> Tensor:
        return batch_first.head(layer(x)[0][-1])

    inputs = vectors()
    expected = DynamicsAttribution(batch_first, batch_first.rnn).attribute(
        inputs, target=1
    )
    found = DynamicsAttribution(forward, layer).attribute(
        inputs.transpose(0, 1), target=1
    )
    torch.testing.assert_close(found, expected)
    assert found.is_contiguous()


def test_a_loop_of_cells_gives_what_the_layer_gives() -> None:
    whole = gru()
    cell = nn.GRUCell(3, 6).double()
    cell.load_state_dict(
        {name.removesuffix("_l0"): v for name, v in whole.rnn.state_dict().items()}
    )
    loop = Reader(cell, 6, models.looped).double()
    loop.head = whole.head
    inputs = vectors()
    torch.testing.assert_close(
        DynamicsAttribution(loop, cell).attribute(inputs, target=1),
        DynamicsAttribution(whole, whole.rnn).attribute(inputs, target=1),
    )


def test_settings_without_a_meaning_are_refused() -> None:
    with pytest.raises(ValueError, match="`nodes`"):
        PathIntegrated(nodes=0)
    with pytest.raises(ValueError, match="`max_nodes`"):
        PathIntegrated(nodes=5, max_nodes=4)
    with pytest.raises(ValueError, match="`atol`"):
        PathIntegrated(atol=0.0)
    with pytest.raises(ValueError, match="`max_pieces`"):
        PathIntegrated(max_pieces=0)
