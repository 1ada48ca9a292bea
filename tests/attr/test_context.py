"""ContextAttribution, against the model run on inputs replaced one by one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import captum_dynamics as cd
from captum_dynamics._execution import BUDGET
from captum_dynamics.attr import (
    ContextAttribution,
    ContextEffects,
    TelescopingAttribution,
    _prefixes,
)
from tests.attr import models
from tests.attr.models import Reader, gru, projected_lstm, reader, vectors

LENGTHS = torch.tensor([3, 7, 5, 1])


def lstm(read: Callable[..., Tensor], layers: int = 1) -> Reader:
    return reader(nn.LSTM(3, 6, num_layers=layers, batch_first=True), read)


MODELS: dict[str, Callable[[], Reader]] = {
    "last": gru,
    "lengths": lambda: gru(models.at_lengths),
    "packed": lambda: gru(models.packed),
    "attention": lambda: gru(models.attention),
    "nonlinear": lambda: gru(models.nonlinear),
    "c_n": lambda: lstm(models.c_n),
    "projected stack": projected_lstm,
    "ReLU": lambda: reader(
        nn.RNN(3, 6, batch_first=True, nonlinearity="relu"), models.mean
    ),
    "cells": lambda: reader(nn.LSTMCell(3, 6), models.looped),
}


def given(name: str) -> tuple[Tensor, ...]:
    return (LENGTHS,) if name in ("lengths", "packed") else ()


def second_differences(
    model: Callable[..., Tensor], x: Tensor, baselines: Tensor, rest: tuple[Any, ...]
) -> tuple[Tensor, Tensor]:
    """Effects and direct effects of the model itself, by calling it on each mixture."""

    def output(read: int, replaced: int | None) -> Tensor:
        mixed = torch.cat([x[:, :read], baselines[:, read:]], dim=1)
        if replaced is not None:
            mixed[:, replaced] = baselines[:, replaced]
        return model(mixed, *rest)[:, 1].detach()

    rows, steps = x.shape[:2]
    effects, direct = torch.zeros(rows, steps, steps), torch.zeros(rows, steps)
    effects, direct = effects.double(), direct.double()
    for t in range(steps):
        direct[:, t] = output(t + 1, None) - output(t, None)
        for s in range(t + 1, steps):
            with_it = output(s + 1, None) - output(s, None)
            effects[:, t, s] = with_it - (output(s + 1, t) - output(s, t))
    return effects, direct


@pytest.mark.parametrize("name", MODELS)
def test_effects_are_second_differences_of_the_models_own_outputs(name: str) -> None:
    model, x, baselines = MODELS[name](), vectors(), 0.5 * vectors().flip(0)
    found = ContextAttribution(model, model.rnn).attribute_context(
        x, baselines=baselines, target=1, additional_forward_args=given(name)
    )
    effects, direct = second_differences(model, x, baselines, given(name))
    torch.testing.assert_close(found.effects, effects, atol=1e-10, rtol=0)
    torch.testing.assert_close(found.direct, direct, atol=1e-10, rtol=0)
    assert effects.abs().max() > 1e-3


@pytest.mark.parametrize("name", ["last", "packed", "nonlinear"])
def test_direct_and_context_give_what_replacing_the_token_alone_changes(
    name: str,
) -> None:
    model, x, baselines = MODELS[name](), vectors(), 0.5 * vectors().flip(0)
    method = ContextAttribution(model, model.rnn)
    contributions = method.attribute(x, baselines, 1, given(name)).sum(-1)
    telescoping = TelescopingAttribution(model, model.rnn)
    direct = telescoping.attribute(x, baselines, 1, given(name)).sum(-1)
    totals = method.attribute_context(
        x, baselines=baselines, target=1, additional_forward_args=given(name)
    ).totals
    for step in range(7):
        without = x.clone()
        without[:, step] = baselines[:, step]
        change = (model(x, *given(name)) - model(without, *given(name)))[:, 1].detach()
        torch.testing.assert_close(totals[:, step], change, atol=1e-10, rtol=0)
        both = contributions[:, step] + direct[:, step]
        torch.testing.assert_close(both, change, atol=1e-10, rtol=0)


def test_what_is_additive_has_no_context() -> None:
    layer = nn.RNN(3, 6, batch_first=True, nonlinearity="relu")
    model = reader(layer, models.mean)
    with torch.no_grad():
        # Far above the kink: a linear map.
        layer.bias_ih_l0.fill_(50)
        layer.weight_hh_l0.mul_(0.1)
    x = vectors()
    found, delta = ContextAttribution(model, layer).attribute(
        x, 0.0, 1, return_convergence_delta=True
    )
    assert found.abs().max() < 1e-12
    change = (model(x) - model(torch.zeros_like(x)))[:, 1].detach()
    assert change.abs().max() > 0.1
    torch.testing.assert_close(-delta, change)


def test_the_delta_tells_what_tokens_add_on_their_own_where_pairs_interact() -> None:
    class Pairs(nn.Module):
        """A layer that adds up its inputs, and an output of their second order."""

        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.RNN(3, 3, batch_first=True, nonlinearity="relu").double()
            with torch.no_grad():
                for weight in (self.rnn.weight_ih_l0, self.rnn.weight_hh_l0):
                    weight.copy_(torch.eye(3))
                self.rnn.bias_hh_l0.zero_()
                self.rnn.bias_ih_l0.zero_()

        def forward(self, x: Tensor) -> Tensor:
            return self.rnn(x)[0][:, -1].sum(-1).square()

    model, x = Pairs(), vectors().abs()
    method = ContextAttribution(model, model.rnn, reference="zero")
    found, delta = method.attribute(x, return_convergence_delta=True)
    sums = x.sum(-1)
    torch.testing.assert_close(-delta, sums.square().sum(1))
    effects = method.attribute_context(x).effects
    torch.testing.assert_close(
        effects, (2 * sums[:, :, None] * sums[:, None]).triu(1), atol=1e-10, rtol=0
    )
    torch.testing.assert_close(found.sum(-1), effects.sum(-1))


def test_runs_that_do_not_fit_in_memory_go_in_turns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = gru(models.attention)
    method = ContextAttribution(model, model.rnn)
    at_once = method.attribute_context(vectors(), baselines=0.0, target=1)
    for runs in (1, 4):
        copies = BUDGET // (4 * 7 * 6 * 8) // runs - 1
        monkeypatch.setattr(_prefixes, "LIVE_COPIES", copies)
        in_turns = method.attribute_context(vectors(), baselines=0.0, target=1)
        torch.testing.assert_close(
            in_turns.effects, at_once.effects, atol=1e-12, rtol=0
        )


def test_a_sixth_of_the_cube_of_steps_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    model = gru()
    method = ContextAttribution(model, model.rnn, reference="zero")
    rows: list[int] = []
    kind = type(method.dynamics)
    step = kind.step

    def counted(self: Any, states: Tensor, inputs: Tensor) -> Tensor:
        rows.append(len(states))
        return step(self, states, inputs)

    monkeypatch.setattr(kind, "step", counted)
    monkeypatch.setattr(kind, "unitwise_form", None)
    method.attribute(vectors(), target=1)
    # The actual run twice, prefixes, runs without one input (the last of which is a
    # prefix), and what follows each prefix of those.
    without = sum(7 - t for t in range(6))
    branches = sum(7 - read for t in range(7) for read in range(t + 2, 8))
    assert sum(rows) == 4 * (2 * 7 + 7 * 8 // 2 + without + branches)


def test_packed_batches_of_other_lengths_are_filled_with_zeros() -> None:
    model = gru(models.packed)
    method = ContextAttribution(model, model.rnn, reference="zero")
    lengths = torch.tensor([3, 2, 7, 5])
    named = {"target": 1, "additional_forward_args": lengths}
    whole = method.attribute_context(vectors(), **named)
    cut = method.attribute_context(vectors(), internal_batch_size=2, **named)
    torch.testing.assert_close(cut.effects, whole.effects, atol=1e-12, rtol=0)
    torch.testing.assert_close(cut.direct, whole.direct, atol=1e-12, rtol=0)
    assert (whole.effects[0, :, 3:] == 0).all()


def test_progress_is_shown_where_asked(capsys: pytest.CaptureFixture[str]) -> None:
    model = gru()
    method = ContextAttribution(model, model.rnn)
    method.attribute(vectors(), target=1)
    assert capsys.readouterr().err == ""
    method.attribute(vectors(), target=1, show_progress=True)
    assert "Context Attribution attribution" in capsys.readouterr().err


def test_outputs_without_gradients_and_one_step_are_explained() -> None:
    model, x = gru(), vectors()

    def rounded(y: Tensor) -> Tensor:
        return (20 * model(y)).round()

    method = ContextAttribution(rounded, model.rnn, reference="zero")
    found = method.attribute_context(x, target=1)
    effects, _ = second_differences(rounded, x, torch.zeros_like(x), ())
    assert torch.equal(found.effects, effects)
    one = method.attribute_context(x[:, :1], target=1)
    assert one.by_lag.shape == (4, 1, 0)
    assert one.gone_after().tolist() == [[0]] * 4
    assert method.attribute(x[:, :1], target=1).abs().max() == 0


def effects_of(rows: list[list[float]], direct: list[float]) -> ContextEffects:
    return ContextEffects(torch.tensor([rows]), torch.tensor([direct]))


def test_lags_strength_and_decay_are_read_off_the_matrix() -> None:
    found = effects_of(
        [[0, 4, -2, 0.1], [0, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]], [0.0, 3, 1, 1]
    )
    lags = found.by_lag[0]
    assert lags[0].tolist() == pytest.approx([4, -2, 0.1])
    assert lags[1, :2].tolist() == [1, 0]
    assert lags[1, 2:].isnan().all()
    assert lags[3].isnan().all()
    assert found.decay[0].tolist() == pytest.approx([5 / 3, 1, 0.1])
    assert found.strengths[0].tolist() == [4, 1, 0, 0]
    assert found.contributions[0].tolist() == pytest.approx([2.1, 1, 0, 0])
    assert found.gone_after()[0].tolist() == [2, 1, 0, 0]
    assert found.gone_after(share=0.01)[0].tolist() == [3, 1, 0, 0]
    # The strongest token adds 3; the second changes another by a third of that.
    assert found.modifiers()[0].tolist() == [True, True, False, False]
    assert found.modifiers(share=0.4)[0].tolist() == [True, False, False, False]
    with pytest.raises(ValueError, match="`share`"):
        found.gone_after(share=0)
    with pytest.raises(ValueError, match="`share`"):
        found.modifiers(share=-1)


def test_states_changed_between_steps_are_noticed() -> None:
    cell = nn.GRUCell(3, 6).double()

    def forward(x: Tensor) -> Tensor:
        state = None
        for step in x.unbind(1):
            state = cell(step, None if state is None else 0.5 * state)
        return state.sum(-1)

    with pytest.warns(cd.AttributionWarning, match="change the states between steps"):
        ContextAttribution(forward, cell).attribute(vectors(), 0.0)
