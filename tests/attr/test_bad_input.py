"""Bad input gets one sentence, from every class that takes a model and a layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from captum_dynamics.attr import (
    Classical,
    ContextAttribution,
    DynamicsAttribution,
    LayerInputForward,
    LinearizedPropagation,
    Switching,
    TelescopingAttribution,
)
from captum_dynamics.exceptions import AttributionWarning
from tests.attr.models import Reader, gru, vectors

METHODS = [DynamicsAttribution, LinearizedPropagation, TelescopingAttribution]
Method = Callable[..., Any]


def switching(model: nn.Module, layer: nn.Module) -> DynamicsAttribution:
    return DynamicsAttribution(model, layer, estimator=Switching(anchors=3))


def classical(model: nn.Module, layer: nn.Module) -> DynamicsAttribution:
    return DynamicsAttribution(model, layer, estimator=Classical())


every_method = pytest.mark.parametrize("kind", METHODS, ids=lambda k: k.__name__)
takes_baselines = pytest.mark.parametrize(
    "kind", [DynamicsAttribution, TelescopingAttribution], ids=lambda k: k.__name__
)


def past_the_layer(model: Reader, x: Tensor) -> Tensor:
    model.rnn(x)
    return x.mean(1) * model.head.weight.mean()


@pytest.mark.parametrize("kind", [*METHODS, ContextAttribution, switching, classical])
def test_what_does_not_reach_the_output_contributes_nothing_and_is_told(
    kind: Method,
) -> None:
    model, inputs = gru(past_the_layer), vectors()
    with pytest.warns(AttributionWarning, match="do not depend on what GRU reads"):
        found = kind(model, model.rnn).attribute(inputs, target=1)
    assert found.shape == inputs.shape
    assert (found == 0).all()


def test_effects_of_what_does_not_reach_the_output_are_told_to_be_none() -> None:
    model = gru(past_the_layer)
    method = ContextAttribution(model, model.rnn)
    with pytest.warns(AttributionWarning, match="do not depend on what GRU reads"):
        found = method.attribute_context(vectors(), target=1)
    assert (found.totals == 0).all()


@every_method
def test_outputs_that_are_no_numbers_are_refused(kind: Method) -> None:
    model = gru()
    with torch.no_grad():
        model.head.bias[1] = torch.nan
    with pytest.raises(
        ValueError, match=r"Expected `forward_func\(inputs\)` to be fin"
    ):
        kind(model, model.rnn).attribute(vectors(), target=1)
    assert kind(model, model.rnn).attribute(vectors(), target=0).isfinite().all()


@every_method
def test_ids_are_refused_where_the_model_computes_with_floats(kind: Method) -> None:
    model = gru()
    with pytest.raises(TypeError, match="Expected `inputs` to be floating"):
        kind(model, model.rnn).attribute(torch.ones(4, 7, 3).long(), target=0)


@every_method
def test_floats_are_refused_where_the_model_looks_ids_up(kind: Method) -> None:
    embedding, model = nn.Embedding(9, 3).double(), gru()
    with pytest.raises(TypeError, match="Expected `inputs` to be whole numbers"):
        kind(lambda ids: model(embedding(ids)), model.rnn).attribute(
            vectors(), target=0
        )


@every_method
@pytest.mark.parametrize("target", [None, 9, (0, 1)], ids=["none", "range", "tuple"])
def test_targets_that_select_no_single_number_are_refused(
    kind: Method, target: Any
) -> None:
    model = gru()
    with pytest.raises((ValueError, IndexError), match="`target` to select"):
        kind(model, model.rnn).attribute(vectors(), target=target)


@every_method
def test_an_error_leaves_the_model_as_it_was(kind: Method) -> None:
    model = gru()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ValueError, match="`target` to select"):
        kind(model, model.rnn).attribute(vectors(), target=9)
    assert not model.rnn._forward_hooks
    assert not model.rnn._forward_pre_hooks
    assert "forward" not in vars(model.rnn)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


@every_method
@pytest.mark.misuse
def test_what_is_no_tensor_is_refused(kind: Method) -> None:
    model = gru()
    for inputs in (None, (), [1.0], vectors().numpy()):
        with pytest.raises(TypeError, match="`inputs` to be a tensor or a tuple"):
            kind(model, model.rnn).attribute(inputs, target=0)


@pytest.mark.parametrize("kind", [*METHODS, LayerInputForward])
@pytest.mark.misuse
def test_a_layer_that_is_no_module_is_refused(kind: Method) -> None:
    for layer in (None, "rnn"):
        with pytest.raises(TypeError, match="Expected `layer` to be a module"):
            kind(gru(), layer)


@every_method
@pytest.mark.misuse
def test_batches_of_no_whole_size_are_refused(kind: Method) -> None:
    model = gru()
    for size in (0, -1, 2.5):
        with pytest.raises(ValueError, match="`internal_batch_size` to be a whole"):
            kind(model, model.rnn).attribute(
                vectors(), target=0, internal_batch_size=size
            )


@takes_baselines
def test_a_baseline_that_is_no_number_is_refused_by_its_name(kind: Method) -> None:
    model = gru()
    with pytest.raises(ValueError, match="Expected `baselines` to be finite, got nan"):
        kind(model, model.rnn).attribute(vectors(), float("nan"), target=0)


@takes_baselines
def test_a_baseline_of_one_step_is_refused_with_what_to_do(kind: Method) -> None:
    model, inputs = gru(), vectors()
    method = kind(model, model.rnn)
    for baseline in (torch.zeros(3), torch.zeros(1, 3), torch.zeros(1, 1, 3)):
        with pytest.raises(ValueError, match=r"all steps: `.expand\(1, 7, 3\)`"):
            method.attribute(inputs, baseline, target=0)
        repeated = baseline.expand(1, 7, 3)
        assert method.attribute(inputs, repeated, target=0).shape == inputs.shape
    with pytest.raises(ValueError, match=r"got \(4, 5, 3\)\.$"):
        method.attribute(inputs, torch.zeros(4, 5, 3), target=0)


@pytest.mark.misuse
@pytest.mark.parametrize("estimator", [Switching, "switching"], ids=["class", "name"])
def test_an_estimator_is_an_object(estimator: Any) -> None:
    model = gru()
    with pytest.raises(TypeError, match="Expected `estimator` to be an object"):
        DynamicsAttribution(model, model.rnn, estimator=estimator)
