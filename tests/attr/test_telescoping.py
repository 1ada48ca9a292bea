"""TelescopingAttribution, against the model run on inputs replaced one by one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import captum_dynamics as cd
from captum_dynamics._execution import BUDGET
from captum_dynamics.attr import TelescopingAttribution, _prefixes
from tests.attr import models
from tests.attr.models import Reader, gru, projected_lstm, reader, vectors

LENGTHS = torch.tensor([3, 7, 5, 1])


def lstm(read: Callable[..., Tensor], layers: int = 1) -> Reader:
    return reader(nn.LSTM(3, 6, num_layers=layers, batch_first=True), read)


MODELS: dict[str, Callable[[], Reader]] = {
    "last": gru,
    "lengths": lambda: gru(models.at_lengths),
    "packed": lambda: gru(models.packed),
    "mean": lambda: gru(models.mean),
    "attention": lambda: gru(models.attention),
    "nonlinear": lambda: gru(models.nonlinear),
    "h_n": lambda: gru(models.h_n),
    "c_n": lambda: lstm(models.c_n),
    "projected stack": projected_lstm,
    "stack of two": lambda: lstm(models.mean, layers=2),
    "ReLU": lambda: reader(
        nn.RNN(3, 6, batch_first=True, nonlinearity="relu"), models.last
    ),
    "cells": lambda: reader(nn.LSTMCell(3, 6), models.looped),
}


def given(name: str) -> tuple[Tensor, ...]:
    return (LENGTHS,) if name in ("lengths", "packed") else ()


def replaced_one_by_one(
    model: Reader, x: Tensor, baselines: Tensor, rest: tuple[Tensor, ...]
) -> Tensor:
    """Changes (n, t) of the model's own output as its inputs become true."""
    outputs = []
    for true in range(x.shape[1] + 1):
        mixed = torch.cat([x[:, :true], baselines[:, true:]], dim=1)
        outputs.append(model(mixed, *rest)[:, 1].detach())
    return torch.stack(outputs, dim=1).diff(dim=1)


@pytest.mark.parametrize("name", MODELS)
def test_contributions_are_what_the_model_itself_adds_step_by_step(name: str) -> None:
    model, x, baselines = MODELS[name](), vectors(), 0.5 * vectors().flip(0)
    found, delta = TelescopingAttribution(model, model.rnn).attribute(
        x, baselines, 1, given(name), return_convergence_delta=True
    )
    expected = replaced_one_by_one(model, x, baselines, given(name))
    torch.testing.assert_close(found.sum(-1), expected, atol=1e-10, rtol=0)
    assert delta.abs().max() < 1e-10
    assert found.abs().max() > 1e-3


@pytest.mark.parametrize("reference", ["mean", "zero", torch.tensor([0.3, 0.0, -1.0])])
def test_without_baselines_the_layer_reads_the_reference(reference: Any) -> None:
    model, x = gru(models.at_lengths), vectors()
    method = TelescopingAttribution(model, model.rnn, reference=reference)
    found, delta = method.attribute(x, None, 1, LENGTHS, return_convergence_delta=True)
    counted = [row[:length] for row, length in zip(x, LENGTHS, strict=True)]
    value = {"mean": torch.cat(counted).mean(0), "zero": torch.zeros(3)}.get(
        reference if isinstance(reference, str) else "", reference
    )
    baselines = value.double().expand_as(x)
    expected = replaced_one_by_one(model, x, baselines, (LENGTHS,))
    torch.testing.assert_close(found.sum(-1), expected, atol=1e-10, rtol=0)
    assert delta.abs().max() < 1e-10
    # What comes after the last state that is read adds nothing.
    steps = torch.arange(7) >= LENGTHS[:, None]
    assert (found[steps] == 0).all()


def test_time_first_models_are_explained_batch_first() -> None:
    model = reader(nn.GRU(3, 6), models.time_first)
    found, delta = TelescopingAttribution(model, model.rnn).attribute(
        vectors(), 0.0, 1, return_convergence_delta=True
    )
    expected = replaced_one_by_one(model, vectors(), torch.zeros(4, 7, 3).double(), ())
    torch.testing.assert_close(found.sum(-1), expected, atol=1e-10, rtol=0)
    assert delta.abs().max() < 1e-10


def test_features_of_a_step_share_equally() -> None:
    model = gru()
    found = TelescopingAttribution(model, model.rnn).attribute(vectors(), 0.0, 1)
    assert torch.equal(found, found[..., :1].expand_as(found))


def test_a_contribution_depends_on_what_was_before_and_on_nothing_after() -> None:
    model, x = gru(), vectors()
    method = TelescopingAttribution(model, model.rnn)
    whole = method.attribute(x, 0.0, 1)
    later, earlier = x.clone(), x.clone()
    later[:, 4:] = later[:, 4:].flip(1)
    earlier[:, :3] = earlier[:, :3].flip(1)
    assert torch.equal(method.attribute(later, 0.0, 1)[:, :4], whole[:, :4])
    moved = method.attribute(earlier, 0.0, 1) - whole
    assert moved[:, 3].abs().max() > 1e-3
    # The middle one of three keeps its place, but not what was before it.
    assert moved[:, 1].abs().max() > 1e-3


def test_outputs_without_gradients_are_explained() -> None:
    model, x = gru(), vectors()

    def rounded(y: Tensor) -> Tensor:
        return (20 * model(y)).round()

    method = TelescopingAttribution(rounded, model.rnn, reference="zero")
    found, delta = method.attribute(x, target=1, return_convergence_delta=True)
    expected = replaced_one_by_one(rounded, x, torch.zeros_like(x), ())
    torch.testing.assert_close(found.sum(-1), expected)
    assert expected.abs().max() >= 1
    assert delta.abs().max() == 0


def test_whole_numbers_and_truth_values_are_explained_as_they_are() -> None:
    model, x = gru(), vectors()

    def vote(y: Tensor) -> Tensor:
        return (20 * model(y)[:, 1]).round().long()

    threshold = model(torch.zeros_like(x))[:, 1].detach()

    def positive(y: Tensor) -> Tensor:
        return model(y)[:, 1] > threshold + 1e-6

    for outputs in (vote, positive):
        method = TelescopingAttribution(outputs, model.rnn, reference="zero")
        found, delta = method.attribute(x, return_convergence_delta=True)
        change = outputs(x).double() - outputs(torch.zeros_like(x)).double()
        torch.testing.assert_close(found.sum((1, 2)), change)
        assert change.abs().max() >= 1
        assert delta.abs().max() == 0


def test_a_mean_of_steps_that_no_gradient_tells_is_refused_with_a_remedy() -> None:
    model = gru()
    method = TelescopingAttribution(lambda y: model(y).argmax(1), model.rnn)
    with pytest.raises(ValueError, match="need `baselines` or another `reference`"):
        method.attribute(vectors())


def test_runs_that_do_not_fit_in_memory_go_in_turns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = gru(models.mean)
    method = TelescopingAttribution(model, model.rnn)
    at_once = method.attribute(vectors(), 0.0, 1)
    of_a_run = 4 * 7 * 6 * 8
    for runs in (1, 3):
        copies = BUDGET // of_a_run // runs
        monkeypatch.setattr(_prefixes, "LIVE_COPIES", copies)
        in_turns = method.attribute(vectors(), 0.0, 1)
        torch.testing.assert_close(in_turns, at_once, atol=1e-12, rtol=0)


def test_half_the_square_of_steps_is_run_and_the_layer_itself_hardly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = gru()
    method = TelescopingAttribution(model, model.rnn, reference="zero")
    rows, passes = [], []
    kind, forward = type(method.dynamics), nn.GRU.forward
    monkeypatch.setattr(kind, "unitwise_form", None)
    step = kind.step

    def counted_step(self: Any, states: Tensor, inputs: Tensor) -> Tensor:
        rows.append(len(states))
        return step(self, states, inputs)

    def counted_forward(self: Any, *args: Any) -> Any:
        passes.append(len(args[0]))
        return forward(self, *args)

    monkeypatch.setattr(kind, "step", counted_step)
    monkeypatch.setattr(nn.GRU, "forward", counted_forward)
    method.attribute(vectors(), target=1)
    assert sum(rows) == 4 * 7 + 4 * (7 * 8 // 2)
    assert len(rows) == 2 * 7
    assert len(passes) == 2


def test_a_forward_of_the_layers_own_is_put_back_also_after_errors() -> None:
    model = gru()
    original = model.rnn.forward

    def mine(*args: Any) -> Any:
        return original(*args)

    calls = []

    def failing(x: Tensor) -> Tensor:
        calls.append(x)
        if len(calls) == 6:
            raise RuntimeError("broken on purpose")
        return model(x)

    for own in (False, True):
        calls.clear()
        if own:
            model.rnn.forward = mine
        before = dict(vars(model.rnn))
        with pytest.raises(RuntimeError, match="on purpose"):
            TelescopingAttribution(failing, model.rnn).attribute(vectors(), 0.0, 1)
        after = dict(vars(model.rnn))
        assert after.keys() == before.keys()
        assert after.get("forward") is before.get("forward")


def test_states_changed_between_steps_are_noticed() -> None:
    cell = nn.GRUCell(3, 6).double()

    def forward(x: Tensor) -> Tensor:
        state = None
        for step in x.unbind(1):
            state = cell(step, None if state is None else 0.5 * state)
        return state.sum(-1)

    with pytest.warns(cd.AttributionWarning, match="change the states between steps"):
        TelescopingAttribution(forward, cell).attribute(vectors(), 0.0)
