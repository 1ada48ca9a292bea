"""LinearizedPropagation under Captum's contract: forms in, forms out, and purity."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from captum.attr import NoiseTunnel
from captum.metrics import infidelity, sensitivity_max
from torch import Tensor, nn

from captum_dynamics import LayerNotFoundError, UnsupportedLayerError
from captum_dynamics.attr import EqualShares, LinearizedPropagation
from tests.attr import models
from tests.attr.models import classifier, gru, projected_lstm, reader, vectors
from tests.attr.test_contract import snapshot
from tests.attr.test_linearized_propagation import both_ends, method


def two_way() -> models.Reader:
    layer = nn.LSTM(3, 6, num_layers=2, bidirectional=True, batch_first=True)
    return reader(layer, both_ends, 12)


def test_a_tuple_gives_a_tuple_and_a_tensor_a_tensor() -> None:
    inputs = vectors()
    plain = method().attribute(inputs, 1)
    (wrapped,), delta = method().attribute((inputs,), 1, return_convergence_delta=True)
    assert isinstance(plain, Tensor)
    assert plain.shape == wrapped.shape == inputs.shape
    assert delta.shape == (4,)
    assert not plain.requires_grad
    assert plain.is_contiguous()
    torch.testing.assert_close(plain, wrapped)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("build", [gru, two_way])
def test_relevance_comes_in_the_callers_precision(dtype: Any, build: Any) -> None:
    explainer = method(build().to(dtype))
    found, delta = explainer.attribute(
        vectors().to(dtype), target=1, return_convergence_delta=True
    )
    assert found.dtype == delta.dtype == dtype
    expected = method(build()).attribute(vectors(), target=1)
    torch.testing.assert_close(found.double(), expected, atol=1e-4, rtol=1e-4)
    told = explainer.evaluate(vectors().to(dtype), target=1)
    assert told.error.dtype == torch.float64
    assert told.error.abs().max() < (1e-4 if dtype == torch.float32 else 1e-10)


def test_token_ids_give_what_their_embeddings_give() -> None:
    model = classifier()
    ids = torch.randint(11, (4, 7), generator=torch.Generator().manual_seed(0))
    found = LinearizedPropagation(model, model.rnn).attribute(ids, target=1)

    def embedded(x: Tensor) -> Tensor:
        return model.head(model.rnn(x)[0][:, -1])

    expected = LinearizedPropagation(embedded, model.rnn).attribute(
        model.embedding.weight.detach()[ids], target=1
    )
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("size", [1, 3, 4, 9])
def test_cutting_the_batch_changes_nothing(size: int) -> None:
    model = gru(models.packed)
    given = {
        "target": torch.tensor([0, 1, 2, 3]),
        "additional_forward_args": torch.tensor([3, 7, 5, 1]),
    }
    whole = method(model).attribute(vectors(), **given)
    cut = method(model).attribute(vectors(), internal_batch_size=size, **given)
    torch.testing.assert_close(cut, whole, atol=1e-10, rtol=0)


@pytest.mark.parametrize(
    ("read", "target", "each"),
    [
        (models.last, 2, [2] * 4),
        (models.last, torch.tensor(2), [2] * 4),
        (models.last, torch.tensor([2]), [2] * 4),
        (models.last, (2,), [2] * 4),
        (models.last, torch.tensor([0, 3, 1, 2]), [0, 3, 1, 2]),
        (models.last, [0, 3, 1, 2], [0, 3, 1, 2]),
        (models.every_step, (3, 1), [(3, 1)] * 4),
        (models.every_step, [(0, 1), (3, 1), (6, 0), (2, 2)], None),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_every_form_of_target_is_cut_with_its_examples(
    read: Any, target: Any, each: Any
) -> None:
    explainer, inputs = method(gru(read)), vectors()
    whole = explainer.attribute(inputs, target)
    cut = explainer.attribute(inputs, target, internal_batch_size=3)
    torch.testing.assert_close(cut, whole, atol=1e-10, rtol=0)
    for row, one in enumerate(target if each is None else each):
        alone = explainer.attribute(inputs[row : row + 1], one)
        torch.testing.assert_close(alone[0], whole[row], atol=1e-10, rtol=0)


def test_time_first_inputs_cannot_be_cut_into_examples() -> None:
    layer = nn.LSTM(3, 6, bidirectional=True).double()

    def forward(x: Tensor) -> Tensor:
        return layer(x)[0][-1].sum(-1)

    explainer, inputs = LinearizedPropagation(forward, layer), vectors().transpose(0, 1)
    assert explainer.attribute(inputs).shape == (4, 7, 3)
    with pytest.raises(ValueError, match="`internal_batch_size`"):
        explainer.attribute(inputs, internal_batch_size=3)


@pytest.mark.parametrize("build", [gru, two_way])
def test_it_runs_without_gradients_and_under_inference_mode(build: Any) -> None:
    model = build()
    expected = method(model).attribute(vectors(), target=1)
    with torch.no_grad():
        torch.testing.assert_close(
            method(model).attribute(vectors(), target=1), expected
        )
    with torch.inference_mode():
        found = method(model).attribute(vectors(), target=1)
        told = method(model).evaluate(vectors(), target=1)
    torch.testing.assert_close(found, expected)
    assert not found.is_inference()
    assert not told.totals.is_inference()


def test_noise_tunnel_and_captums_metrics_run() -> None:
    model, inputs = gru(), vectors()
    target = torch.tensor([0, 1, 2, 3])
    found, delta = NoiseTunnel(method(model)).attribute(
        inputs, nt_samples=3, stdevs=1e-6, target=target, return_convergence_delta=True
    )
    assert delta.shape == (12,)
    plain = method(model).attribute(inputs, target)
    torch.testing.assert_close(found, plain, atol=1e-3, rtol=1e-3)
    sensitivity = sensitivity_max(method(model).attribute, inputs, target=1)
    assert torch.isfinite(sensitivity).all()

    def to_zero(x: Tensor) -> tuple[Tensor, Tensor]:
        return torch.ones_like(x), torch.zeros_like(x)

    # Taking all away changes the output by F(x) - F(0), relevance says by its sum.
    relevance = method(model).attribute(inputs, target=1)
    with torch.no_grad():
        change = (model(inputs) - model(torch.zeros_like(inputs)))[:, 1]
    torch.testing.assert_close(
        infidelity(model, to_zero, inputs, relevance, target=1),
        (relevance.sum((1, 2)) - change).square(),
    )


def test_its_names_are_captums() -> None:
    explainer = method()
    assert explainer.get_name() == "Linearized Propagation"
    assert explainer.has_convergence_delta()
    assert explainer.multiplies_by_inputs
    with pytest.raises(NotImplementedError, match="attribute_future"):
        explainer.attribute_future()


def test_the_layer_is_read_with_its_present_weights() -> None:
    model = two_way()
    explainer = method(model)
    before = explainer.attribute(vectors(), target=1)
    with torch.no_grad():
        model.rnn.weight_hh_l0_reverse.mul_(0.5)
    assert (explainer.attribute(vectors(), target=1) - before).abs().max() > 1e-4
    assert explainer.evaluate(vectors(), target=1).error.abs().max() < 1e-10


@pytest.mark.parametrize("failing", [False, True])
@pytest.mark.parametrize("build", [projected_lstm, two_way])
def test_the_model_is_left_as_it_was(build: Any, failing: bool) -> None:
    model = build().train()
    model.head.weight.requires_grad_(False)
    calls = []

    def forward(x: Tensor) -> Tensor:
        calls.append(x)
        if failing and len(calls) == 3:
            raise RuntimeError("broken on purpose")
        return model(x)

    inputs = vectors().requires_grad_()
    before = snapshot(model)
    explainer = LinearizedPropagation(forward, model.rnn)
    if failing:
        with pytest.raises(RuntimeError, match="on purpose"):
            explainer.attribute(inputs, 1)
    else:
        explainer.attribute(inputs, 1)
    assert len(calls) >= 3
    assert snapshot(model) == before
    assert inputs.grad is None


def test_frozen_parameters_change_nothing() -> None:
    model = gru()
    expected = method(model).attribute(vectors(), target=1)
    model.requires_grad_(False)
    torch.testing.assert_close(method(model).attribute(vectors(), target=1), expected)


def test_rows_do_not_influence_each_other() -> None:
    explainer = method(two_way(), rule=EqualShares())
    whole = explainer.attribute(vectors(), target=1)
    for row in range(4):
        alone = explainer.attribute(vectors()[row : row + 1], target=1)
        torch.testing.assert_close(alone[0], whole[row], atol=1e-10, rtol=0)


def rejected(error: type[Exception], match: str, *args: Any, **named: Any) -> None:
    with pytest.raises(error, match=match):
        method().attribute(*args, **named)


def test_misuse_is_refused_in_one_sentence() -> None:
    x = vectors()
    rejected(ValueError, "`target` to select", x)
    rejected(ValueError, "`target` to select", x, target=9)
    rejected(ValueError, "`inputs` to be finite", x * float("nan"), target=1)
    rejected(ValueError, "at least one row", x[:0], target=1)
    rejected(ValueError, "`internal_batch_size`", x, target=1, internal_batch_size=0)
    with pytest.raises(ValueError, match="`epsilon` to be zero or more"):
        method(epsilon=-1.0)
    with pytest.raises(LayerNotFoundError, match="not part of"):
        LinearizedPropagation(gru(), nn.GRU(3, 6))
    with pytest.raises(UnsupportedLayerError, match=r"`layer` to be nn\.RNN.*Linear"):
        LinearizedPropagation(lambda x: x, nn.Linear(3, 6))
    dropping = nn.LSTM(3, 6, num_layers=2, dropout=0.5, bidirectional=True)
    with pytest.raises(ValueError, match="active dropout"):
        LinearizedPropagation(lambda x: dropping(x)[0][-1, :, 0], dropping).attribute(
            x.float()
        )
    layer = nn.GRU(3, 6, batch_first=True).double()
    with pytest.raises(ValueError, match="no gradient"):
        LinearizedPropagation(
            lambda x: layer(x)[0].detach()[:, -1, 0], layer
        ).attribute(x)


@pytest.mark.misuse
def test_a_rule_is_an_object_that_says_shares() -> None:
    for rule in ("all", EqualShares):
        with pytest.raises(TypeError, match="`rule` to be a ProductRule"):
            method(rule=rule)
