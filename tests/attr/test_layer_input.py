"""LayerInputForward: Captum's own algorithms in the space of the layer's inputs."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from captum.attr import (
    DeepLift,
    FeatureAblation,
    InputXGradient,
    IntegratedGradients,
    Saliency,
)
from torch import nn

from captum_dynamics.attr import (
    DynamicsAttribution,
    LayerInputForward,
    TelescopingAttribution,
)
from tests.attr import models
from tests.attr.models import classifier, gru, reader, vectors

IDS = torch.tensor([[1, 2, 3, 4, 5], [6, 7, 8, 9, 10]])
LENGTHS = torch.tensor([7, 2, 5, 1])


@pytest.mark.parametrize(
    ("build", "additional"),
    [
        (gru, ()),
        (lambda: gru(models.packed), (LENGTHS,)),
        (lambda: reader(nn.LSTMCell(3, 6), models.looped), ()),
        (lambda: reader(nn.GRU(3, 6), models.time_first), ()),
    ],
)
def test_other_inputs_of_the_layer_give_the_models_output_for_them(
    build: Any, additional: tuple[Any, ...]
) -> None:
    model, inputs, others = build(), vectors(), vectors().flip(0) * 2
    forward = LayerInputForward(model, model.rnn)
    expected = model(others, *additional)
    torch.testing.assert_close(forward(others, inputs, *additional), expected)


@pytest.mark.parametrize(
    "algorithm",
    [DeepLift, FeatureAblation, InputXGradient, IntegratedGradients, Saliency],
)
def test_captums_algorithms_run_for_token_ids(algorithm: Any) -> None:
    model = classifier()
    inputs = model.embedding(IDS).detach()
    forward = LayerInputForward(model, model.rnn)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Input Tensor 0 did not already require")
        warnings.filterwarnings("ignore", "Setting forward, backward hooks")
        found = algorithm(forward).attribute(
            inputs, target=1, additional_forward_args=(IDS,)
        )
    assert found.shape == inputs.shape
    assert (found != 0).any()


def test_integrated_gradients_are_those_of_the_embedded_model() -> None:
    model = classifier()
    inputs = model.embedding(IDS).detach()
    forward = LayerInputForward(model, model.rnn)
    found, delta = IntegratedGradients(forward).attribute(
        inputs,
        target=1,
        additional_forward_args=(IDS,),
        return_convergence_delta=True,
    )
    expected = IntegratedGradients(
        lambda x: model.head(model.rnn(x)[0][:, -1])
    ).attribute(inputs, target=1)
    torch.testing.assert_close(found, expected)
    assert delta.abs().max() < 1e-5


def test_the_models_mode_and_hooks_stay_as_they_are() -> None:
    model = classifier().train()
    model.rnn.eval()
    forward = LayerInputForward(model, model.rnn)
    forward(model.embedding(IDS), IDS)
    assert model.training
    assert not model.rnn.training
    assert not model.rnn._forward_pre_hooks


def test_inputs_that_do_not_fit_are_refused() -> None:
    model = classifier()
    forward = LayerInputForward(model, model.rnn)
    with pytest.raises(ValueError, match="`layer_inputs`"):
        forward(torch.zeros(2, 5, 4), IDS)
    with pytest.raises(TypeError, match="`layer_inputs`"):
        forward(IDS, IDS)
    loop = reader(nn.GRUCell(3, 6), models.looped)
    with pytest.raises(ValueError, match="every step"):
        LayerInputForward(loop, loop.rnn)(vectors(4, 3), vectors(4, 7))


@pytest.mark.parametrize("kind", [DynamicsAttribution, TelescopingAttribution])
@pytest.mark.parametrize("looped", [False, True], ids=["sequence", "loop"])
def test_our_own_methods_replace_what_it_replaces(
    kind: type[DynamicsAttribution] | type[TelescopingAttribution], looped: bool
) -> None:
    cell = reader(nn.GRUCell(3, 6), models.looped)
    model, inputs = cell if looped else gru(), vectors()
    forward = LayerInputForward(model, model.rnn)
    found, delta = kind(forward, model.rnn).attribute(
        inputs,
        target=1,
        additional_forward_args=(torch.zeros_like(inputs),),
        return_convergence_delta=True,
    )
    assert delta.abs().max() < 1e-9
    torch.testing.assert_close(
        found, kind(model, model.rnn).attribute(inputs, target=1)
    )
