"""DynamicsAttribution under Captum's contract: forms in, forms out, and purity."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from captum.attr import NoiseTunnel
from captum.metrics import infidelity, sensitivity_max
from torch import Tensor, nn

from captum_dynamics import AttributionWarning, LayerNotFoundError
from captum_dynamics.attr import (
    Classical,
    DynamicsAttribution,
    Estimator,
    PathIntegrated,
    Switching,
)
from tests.attr import models
from tests.attr.models import classifier, gru, projected_lstm, reader, vectors


def method(model: Any = None, **settings: Any) -> DynamicsAttribution:
    model = gru() if model is None else model
    return DynamicsAttribution(model, model.rnn, **settings)


def test_a_tuple_gives_a_tuple_and_a_tensor_a_tensor() -> None:
    inputs = vectors()
    plain = method().attribute(inputs, target=1)
    (wrapped,), delta = method().attribute(
        (inputs,), (0.0,), 1, return_convergence_delta=True
    )
    assert isinstance(plain, Tensor)
    assert plain.shape == wrapped.shape == inputs.shape
    assert delta.shape == (4,)
    assert not plain.requires_grad
    assert plain.is_contiguous()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_attributions_come_in_the_callers_precision(dtype: torch.dtype) -> None:
    model = gru().to(dtype)
    found, delta = method(model).attribute(
        vectors().to(dtype), target=1, return_convergence_delta=True
    )
    assert found.dtype == delta.dtype == dtype
    assert delta.abs().max() < 1e-5
    torch.testing.assert_close(
        found.double(), method().attribute(vectors(), target=1), atol=1e-5, rtol=1e-4
    )


def test_token_ids_give_what_their_embeddings_give() -> None:
    model = classifier()
    ids = torch.randint(11, (4, 7), generator=torch.Generator().manual_seed(0))
    found, delta = DynamicsAttribution(model, model.rnn).attribute(
        ids, baselines=0, target=1, return_convergence_delta=True
    )

    def embedded(x: Tensor) -> Tensor:
        return model.head(model.rnn(x)[0][:, -1])

    table = model.embedding.weight.detach()
    expected = DynamicsAttribution(embedded, model.rnn).attribute(
        table[ids], baselines=table[torch.zeros_like(ids)], target=1
    )
    torch.testing.assert_close(found, expected)
    assert delta.abs().max() < 1e-8


def test_one_baseline_serves_all_examples() -> None:
    inputs, one = vectors(), vectors()[:1]
    torch.testing.assert_close(
        method().attribute(inputs, one, 1),
        method().attribute(inputs, one.expand_as(inputs).clone(), 1),
    )


@pytest.mark.parametrize("estimator", [None, Switching(anchors=3)])
@pytest.mark.parametrize("size", [1, 3, 4, 9])
def test_cutting_the_batch_changes_nothing(estimator: Any, size: int) -> None:
    model = gru(models.packed)
    lengths = torch.tensor([3, 7, 5, 1])
    given = {"target": torch.tensor([0, 1, 2, 3]), "additional_forward_args": lengths}
    whole = method(model, estimator=estimator).attribute(vectors(), **given)
    cut = method(model, estimator=estimator).attribute(
        vectors(), internal_batch_size=size, **given
    )
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
    dynamics, inputs = method(gru(read), reference="zero"), vectors()
    whole = dynamics.attribute(inputs, target=target)
    cut = dynamics.attribute(inputs, target=target, internal_batch_size=3)
    torch.testing.assert_close(cut, whole, atol=1e-10, rtol=0)
    for row, one in enumerate(target if each is None else each):
        alone = dynamics.attribute(inputs[row : row + 1], target=one)
        torch.testing.assert_close(alone[0], whole[row], atol=1e-10, rtol=0)


def test_an_input_that_all_examples_share_is_not_cut() -> None:
    layer = nn.GRU(3, 6, batch_first=True).double()

    def forward(x: Tensor, scale: Tensor) -> Tensor:
        return layer(x * scale)[0][:, -1].sum(-1)

    inputs = (vectors(), torch.full((1, 1, 3), 0.5).double())
    dynamics = DynamicsAttribution(forward, layer)
    (whole,) = dynamics.attribute(inputs, (0.0, 1.0))
    (cut,) = dynamics.attribute(inputs, (0.0, 1.0), internal_batch_size=3)
    torch.testing.assert_close(cut, whole, atol=1e-10, rtol=0)


@pytest.mark.parametrize(("steps", "size"), [(3, 2), (4, 2), (7, 4), (8, 4)])
def test_time_first_inputs_cannot_be_cut_into_examples(steps: int, size: int) -> None:
    layer = nn.GRU(3, 6).double()

    def forward(x: Tensor) -> Tensor:
        return layer(x)[0][-1].sum(-1)

    inputs = vectors(4, steps).transpose(0, 1)
    with pytest.raises(ValueError, match="`internal_batch_size`"):
        DynamicsAttribution(forward, layer).attribute(inputs, internal_batch_size=size)


def test_gradients_are_enabled_inside() -> None:
    expected = method().attribute(vectors(), target=1)
    with torch.no_grad():
        torch.testing.assert_close(method().attribute(vectors(), target=1), expected)


@pytest.mark.parametrize(
    "estimator",
    [PathIntegrated(), Switching(anchors=3), Classical()],
    ids=lambda e: type(e).__name__,
)
def test_inference_mode_changes_nothing(estimator: Estimator) -> None:
    model, inputs = gru(), vectors()
    outside = method(model, estimator=estimator)
    before = torch.get_rng_state()
    points = outside.find_fixed_points(inputs, count=8)
    linear = outside.linearize(points)
    expected = outside.topology(linear)
    assert torch.equal(torch.get_rng_state(), before)
    with torch.inference_mode():
        inside = method(
            model, estimator=estimator, reference=vectors().mean((0, 1)).clone()
        )
        inside.fit(vectors(), 1)
        found = inside.attribute(vectors(), target=1)
        paired = inside.attribute(vectors(), vectors().flip(0), 1)
        same_points = inside.find_fixed_points(vectors(), count=8)
        same_linear = inside.linearize(same_points)
        told = inside.evaluate(vectors(), target=1)
        graph = inside.topology(same_linear)
        runs = inside.record(vectors())
        reference = inside.reference_input(vectors())
    outside.fit(inputs, 1)
    torch.testing.assert_close(found, outside.attribute(inputs, target=1))
    torch.testing.assert_close(paired, outside.attribute(inputs, inputs.flip(0), 1))
    torch.testing.assert_close(same_points.states, points.states)
    torch.testing.assert_close(told.delta, outside.evaluate(inputs, target=1).delta)
    assert graph.graph.number_of_edges() == expected.graph.number_of_edges()
    assert not any(
        kept.is_inference() for kept in (found, paired, runs.states, reference)
    )


def test_a_model_without_gradients_is_refused() -> None:
    with torch.inference_mode():
        model = gru()
    with pytest.raises(ValueError, match="`forward_func` with parameters that have"):
        method(model).attribute(vectors(), target=1)


def test_noise_tunnel_runs_with_delta() -> None:
    found, delta = NoiseTunnel(method()).attribute(
        vectors(),
        nt_samples=3,
        stdevs=0.01,
        baselines=vectors().flip(0),
        target=torch.tensor([0, 1, 2, 3]),
        return_convergence_delta=True,
    )
    assert found.shape == (4, 7, 3)
    assert delta.shape == (12,)
    assert delta.abs().max() < 1e-8
    plain = method().attribute(
        vectors(), baselines=vectors().flip(0), target=torch.tensor([0, 1, 2, 3])
    )
    torch.testing.assert_close(found, plain, atol=0.1, rtol=0.1)


def test_sensitivity_and_infidelity_run() -> None:
    model, inputs = gru(), vectors()
    dynamics = method(model, reference="zero")
    sensitivity = sensitivity_max(dynamics.attribute, inputs, target=1)
    assert sensitivity.shape == (4,)
    assert torch.isfinite(sensitivity).all()

    def to_zero(x: Tensor) -> tuple[Tensor, Tensor]:
        return torch.ones_like(x), torch.zeros_like(x)

    # For contributions, a perturbation says which inputs are taken away: here all.
    attributions = dynamics.attribute(inputs, target=1)
    assert infidelity(model, to_zero, inputs, attributions, target=1).max() < 1e-14


def test_noise_on_token_ids_is_explained() -> None:
    model = classifier()
    ids = torch.randint(11, (2, 5))
    tunnel = NoiseTunnel(DynamicsAttribution(model, model.rnn))
    with pytest.raises(TypeError, match="`forward_func` of embedded inputs"):
        tunnel.attribute(ids, nt_samples=2, target=1)


def test_its_names_are_captums() -> None:
    dynamics = method()
    assert dynamics.get_name() == "Dynamics Attribution"
    assert dynamics.has_convergence_delta()
    assert dynamics.multiplies_by_inputs
    with pytest.raises(NotImplementedError, match="attribute_future"):
        dynamics.attribute_future()


def test_the_layer_is_read_with_its_present_weights() -> None:
    model = gru()
    dynamics = method(model)
    with torch.no_grad():
        model.rnn.weight_hh_l0.mul_(0.5)
    _, delta = dynamics.attribute(vectors(), target=1, return_convergence_delta=True)
    assert delta.abs().max() < 1e-8


def snapshot(model: nn.Module) -> list[object]:
    hooks = [
        (len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks))
        for m in model.modules()
    ]
    modes = [m.training for m in model.modules()]
    tensors = [(p.clone(), p.requires_grad, p.grad) for p in model.parameters()]
    return [
        hooks,
        modes,
        [(p.tolist(), needs, grad) for p, needs, grad in tensors],
        torch.backends.cudnn.enabled,
        torch.get_rng_state().tolist(),
    ]


@pytest.mark.parametrize("failing", [False, True])
@pytest.mark.parametrize("given", [None, 0.0])
def test_the_model_is_left_as_it_was(failing: bool, given: float | None) -> None:
    model = projected_lstm().train()
    model.head.weight.requires_grad_(False)
    calls = []

    def forward(x: Tensor) -> Tensor:
        calls.append(x)
        if failing and len(calls) == 4:
            raise RuntimeError("broken on purpose")
        return model(x)

    inputs = vectors().requires_grad_()
    before = snapshot(model)
    dynamics = DynamicsAttribution(forward, model.rnn, estimator=Switching(2))
    if failing:
        with pytest.raises(RuntimeError, match="on purpose"):
            dynamics.attribute(inputs, given, 1)
    else:
        dynamics.attribute(inputs, given, 1)
    assert len(calls) >= 4
    assert snapshot(model) == before
    assert inputs.grad is None


def rejected(
    error: type[Exception], match: str, *args: Any, model: Any = None, **named: Any
) -> None:
    with pytest.raises(error, match=match):
        method(model).attribute(*args, **named)


def test_misuse_is_refused_in_one_sentence() -> None:
    x = vectors()
    rejected(ValueError, "`target` to select", x)
    rejected(ValueError, "`target` to select", x, model=gru(models.every_step))
    rejected(ValueError, "`baselines` of shape", x, x[:, :2], 1)
    rejected(ValueError, "`baselines` for each", x, (x, x), 1)
    rejected(ValueError, "`inputs` to be finite", x * float("nan"), target=1)
    rejected(ValueError, "at least one row", x[:0], target=1)
    rejected(ValueError, "`internal_batch_size`", x, target=1, internal_batch_size=0)
    with pytest.raises(ValueError, match="`reference`"):
        method(reference=torch.zeros(5))
    with pytest.raises(ValueError, match="`reference`"):
        method(reference="median")
    with pytest.raises(TypeError, match="`inputs` to be a tensor"):
        method().record([x])
    with pytest.raises(LayerNotFoundError, match="not part of"):
        DynamicsAttribution(gru(), nn.GRU(3, 6))


@pytest.mark.parametrize(
    "target", [9, [1, 2], [0, 1, 2, 9], (1, 1), "a", 1.0, torch.tensor([1, 2])], ids=str
)
def test_a_target_that_selects_nothing_is_named(target: Any) -> None:
    rejected(ValueError, "`target` to select", vectors(), target=target)


def test_what_lives_on_another_device_is_named() -> None:
    x = vectors()
    with pytest.raises(ValueError, match=r"`reference` on cpu.*got meta; move it"):
        method(reference=torch.zeros(3, device="meta"))
    elsewhere = method(estimator=Classical(torch.zeros(6, device="meta")))
    with pytest.raises(ValueError, match=r"`point` on cpu.*got meta; move it"):
        elsewhere.attribute(x, target=1)
    rejected(ValueError, "`baselines` on cpu.*got meta", x, x.to("meta"), 1)


def test_baselines_are_of_the_inputs_kind() -> None:
    x = vectors()
    expected = method().attribute(x, 0.0, 1)
    for zeros in (0, torch.zeros(4, 7, 3), torch.zeros(1, 7, 3, dtype=torch.long)):
        torch.testing.assert_close(method().attribute(x, zeros, 1), expected)
    rejected(TypeError, "`baselines` to be tensors or numbers", x, [0.0], 1)
    model, ids = classifier(), torch.randint(11, (2, 5))
    for fraction in (0.5, torch.zeros(2, 5)):
        with pytest.raises(ValueError, match="`baselines` to be whole numbers"):
            DynamicsAttribution(model, model.rnn).attribute(ids, fraction, 1)


def test_models_that_cannot_be_explained_are_refused() -> None:
    x, layer = vectors(), nn.GRU(3, 6, batch_first=True).double()
    with pytest.raises(ValueError, match="never did"):
        DynamicsAttribution(lambda x: x.sum((1, 2)), layer).attribute(x)
    with pytest.raises(ValueError, match="no gradient"):
        DynamicsAttribution(lambda x: layer(x)[0].detach()[:, -1, 0], layer).attribute(
            x
        )
    with pytest.raises(TypeError, match="to return a tensor"):
        DynamicsAttribution(layer, layer).attribute(x)
    dropping = nn.Sequential(layer, nn.Dropout(0.5))
    with pytest.raises(ValueError, match="active dropout"):
        DynamicsAttribution(dropping, layer).attribute(x)


def test_states_changed_between_steps_are_noticed() -> None:
    cell = nn.GRUCell(3, 6).double()

    def forward(x: Tensor) -> Tensor:
        state = None
        for step in x.unbind(1):
            state = cell(step, None if state is None else 0.5 * state)
        return state.sum(-1)

    with pytest.warns(AttributionWarning, match="change the states between steps"):
        DynamicsAttribution(forward, cell).attribute(vectors())


def test_rows_do_not_influence_each_other() -> None:
    dynamics = method(reader(nn.LSTM(3, 6, batch_first=True), models.last))
    dynamics.fit(vectors(), 1)
    whole = dynamics.attribute(vectors(), target=1)
    for row in range(4):
        alone = dynamics.attribute(vectors()[row : row + 1], target=1)
        torch.testing.assert_close(alone[0], whole[row], atol=1e-10, rtol=0)
