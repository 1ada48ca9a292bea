"""Bidirectional layers: systems of their own, whose contributions add."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from captum.attr import IntegratedGradients, NoiseTunnel
from torch import Tensor, nn

import captum_dynamics as cd
from captum_dynamics.attr import (
    Classical,
    ContextAttribution,
    DynamicsAttribution,
    EigenmodeAttribution,
    LayerInputForward,
    Switching,
    TelescopingAttribution,
)
from tests.attr.models import WIDTH, Reader, reader
from tests.attr.two_way import (
    LENGTHS,
    MODELS,
    always_on,
    both_ends,
    classifier,
    last,
    packing,
    two_way,
    vectors,
)


def explained(
    model: Reader, x: Tensor, before: Tensor, rest: tuple[Any, ...]
) -> Tensor:
    with torch.no_grad():
        return (model(x, *rest) - model(before, *rest))[:, 1]


@pytest.mark.parametrize("kind", [DynamicsAttribution, TelescopingAttribution])
@pytest.mark.parametrize("name", MODELS)
def test_contributions_sum_to_the_change_of_the_output(name: str, kind: Any) -> None:
    build, rest = MODELS[name]
    model, x, before = build(), vectors(), vectors().flip(0)
    found, delta = kind(model, model.rnn).attribute(
        x, before, 1, rest, return_convergence_delta=True
    )
    change = explained(model, x, before, rest)
    assert (found.sum((1, 2)) - change).abs().max() < 1e-8
    assert delta.abs().max() < 1e-8


@pytest.mark.parametrize("name", MODELS)
def test_from_a_baseline_nearby_they_are_gradient_times_difference(name: str) -> None:
    build, rest = MODELS[name]
    model, x = build(), vectors().requires_grad_()
    (gradient,) = torch.autograd.grad(model(x, *rest)[:, 1].sum(), x)
    step = 1e-5 * vectors().flip(0)
    found = DynamicsAttribution(model, model.rnn).attribute(
        x.detach(), x.detach() - step, 1, rest
    )
    torch.testing.assert_close(found / 1e-5, gradient * step / 1e-5, atol=3e-4, rtol=0)


@pytest.mark.parametrize(
    "estimator", [None, Switching(anchors=2), Classical()], ids=["path", "few", "one"]
)
def test_of_an_affine_layer_they_are_gradient_times_difference(estimator: Any) -> None:
    model, x, before = always_on(2), vectors(), vectors().flip(0)
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(model(leaf)[:, 1].sum(), leaf)
    method = DynamicsAttribution(model, model.rnn, estimator=estimator)
    found = method.attribute(x, before, 1)
    torch.testing.assert_close(found, gradient * (x - before), atol=1e-9, rtol=0)
    told = method.evaluate(x, baselines=before, target=1)
    assert told.delta.abs().max() < 1e-9
    torch.testing.assert_close(told.surrogate_outputs, told.outputs)
    assert told.identity_error < 1e-9


def test_systems_of_an_affine_layer_are_predicted_by_one_anchor() -> None:
    # No warning, which is an error here: R^2 of each system's picture is above .98.
    model = always_on(2)
    chosen = DynamicsAttribution(model, model.rnn, estimator=Switching())
    chosen.fit(vectors(), 1)
    one = DynamicsAttribution(model, model.rnn, estimator=Switching(anchors=1))
    found = chosen.evaluate(vectors(), target=1).constants
    torch.testing.assert_close(found, one.evaluate(vectors(), target=1).constants)


@pytest.mark.parametrize(
    ("name", "estimator"),
    [("packed two-level gru", Switching(anchors=3)), ("two-level lstm", Classical())],
    ids=["few", "one"],
)
def test_contributions_and_constants_make_the_pictures_output(
    name: str, estimator: Any
) -> None:
    build, rest = MODELS[name]
    model = build()
    told = DynamicsAttribution(model, model.rnn, estimator=estimator).evaluate(
        vectors(), target=1, additional_forward_args=rest
    )
    assert told.identity_error < 1e-9
    assert (told.surrogate_outputs - told.outputs).abs().max() > 1e-4


def test_a_picture_with_an_anchor_at_every_state_is_nearly_the_model() -> None:
    model = packing()
    method = DynamicsAttribution(model, model.rnn, estimator=Switching(anchors=64))
    told = method.evaluate(vectors(), target=1, additional_forward_args=LENGTHS)
    torch.testing.assert_close(told.surrogate_outputs, told.outputs)


@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM])
def test_two_layers_of_one_direction_contribute_the_same(
    kind: type[nn.RNNBase],
) -> None:
    model, x, before = two_way(kind, both_ends), vectors(), vectors().flip(0)
    weights, total = model.rnn.state_dict(), torch.zeros_like(x)
    for half, suffix in enumerate(("", "_reverse")):
        alone = kind(WIDTH, 5, batch_first=True).double()
        names = alone.state_dict()
        alone.load_state_dict({name: weights[name + suffix] for name in names})
        column = model.head.weight[1, 5 * half : 5 * half + 5].detach()
        # The layer itself reads forwards: its inputs are turned round before it.
        order = slice(None) if half == 0 else torch.arange(4, -1, -1)
        found = DynamicsAttribution(
            lambda s, a=alone, c=column: a(s)[0][:, -1] @ c, alone
        )
        total += found.attribute(x[:, order], before[:, order])[:, order]
    both = DynamicsAttribution(model, model.rnn).attribute(x, before, 1)
    torch.testing.assert_close(both, total, atol=1e-9, rtol=0)


def test_integrated_gradients_agree_on_sums_and_nearly_on_steps() -> None:
    model, x = classifier(), vectors()
    before = torch.zeros_like(x)
    ours = DynamicsAttribution(model, model.rnn).attribute(x, before, 1)
    theirs = IntegratedGradients(LayerInputForward(model, model.rnn)).attribute(
        x, before, target=1, additional_forward_args=(x,), n_steps=200
    )
    torch.testing.assert_close(ours.sum((1, 2)), theirs.sum((1, 2)), atol=1e-5, rtol=0)
    pairs = torch.stack([ours.sum(-1).flatten(), theirs.sum(-1).flatten()])
    assert torch.corrcoef(pairs)[0, 1] > 0.95


@pytest.mark.parametrize("name", ["two-level lstm", "packed gru"])
def test_telescoping_is_what_the_model_says_of_each_prefix(name: str) -> None:
    build, rest = MODELS[name]
    model, x, before = build(), vectors(), vectors().flip(0)
    found = TelescopingAttribution(model, model.rnn).attribute(x, before, 1, rest)
    outputs = []
    for count in range(6):
        mixed = torch.cat([x[:, :count], before[:, count:]], dim=1)
        outputs.append(model(mixed, *rest)[:, 1].detach())
    wanted = torch.stack(outputs, dim=1).diff(dim=1)
    torch.testing.assert_close(found.sum(-1), wanted, atol=1e-12, rtol=0)


@pytest.mark.parametrize("kind", [DynamicsAttribution, TelescopingAttribution])
def test_what_follows_a_packed_sequence_contributes_nothing(kind: Any) -> None:
    model = packing()
    found = kind(model, model.rnn).attribute(vectors(), 0.0, 1, (LENGTHS,))
    steps = torch.arange(5) >= LENGTHS[:, None]
    assert not found[steps].any()
    assert found[~steps].any(-1).all()


def test_the_mean_is_taken_over_the_steps_of_packed_sequences() -> None:
    model, x = packing(), vectors()
    counted = torch.arange(5) < LENGTHS[:, None]
    method = DynamicsAttribution(model, model.rnn)
    found = method.reference_input(x, (LENGTHS,))
    torch.testing.assert_close(found, x[counted].mean(0, keepdim=True))


@pytest.mark.parametrize(
    ("columns", "layers", "steps"),
    [
        (slice(0, 5), 1, slice(0, 3)),
        (slice(5, 10), 1, slice(2, 5)),
        (slice(0, 10), 1, slice(0, 5)),
        (slice(0, 5), 2, slice(0, 5)),
    ],
    ids=["forward", "backward", "both", "stack"],
)
def test_steps_count_that_a_direction_has_read(
    columns: slice, layers: int, steps: slice
) -> None:
    model, x = two_way(nn.GRU, last, layers), vectors()

    def forward(given: Tensor) -> Tensor:
        return model.rnn(given)[0][:, 2, columns].sum(-1)

    found = DynamicsAttribution(forward, model.rnn).reference_input(x)
    torch.testing.assert_close(found, x[:, steps].mean((0, 1))[None])


def modes(model: Reader, direction: str) -> EigenmodeAttribution:
    dynamics = cd.adapt(model.rnn, layer_index=0, direction=direction)
    generator = torch.Generator().manual_seed(0)
    places = torch.randn(3, dynamics.state_dim, generator=generator).double()
    once = cd.solvers.Iteration(max_steps=1)
    points = cd.find_slow_points(dynamics, places, torch.zeros(1, 3), solver=once)
    linear = cd.linearize(dynamics, points)
    return EigenmodeAttribution(model, model.rnn, linear, direction=direction)


def test_modes_of_both_directions_sum_to_the_contributions() -> None:
    build, (lengths,) = MODELS["packed two-level gru"]
    model, x, before, rest = build(), vectors()[:2], vectors()[1:], (lengths[:2],)
    whole = DynamicsAttribution(model, model.rnn).attribute(x, before, 1, rest)
    parts = []
    for direction in ("forward", "backward"):
        method = modes(model, direction)
        parts.append(method.attribute(x, before, 1, rest))
        divided = method.attribute_modes(
            x, baselines=before, target=1, additional_forward_args=rest
        )
        torch.testing.assert_close(divided.tokens, parts[-1].sum(-1))
        slowest = method.attribute(x, before, 1, rest, subspace=0)
        torch.testing.assert_close(slowest.sum(-1), divided.contributions[:, :, 0])
    torch.testing.assert_close(parts[0] + parts[1], whole)


def test_a_direction_alone_contributes_what_reaches_it() -> None:
    model = packing(lambda m, x: m.head(m.rnn(x)[0][:, 2]))
    found = {
        direction: modes(model, direction)
        .attribute(vectors(), 0.0, 1)
        .abs()
        .sum((0, 2))
        for direction in ("forward", "backward")
    }
    assert (found["forward"] > 0).tolist() == [True, True, True, False, False]
    assert (found["backward"] > 0).tolist() == [False, False, True, True, True]


def test_modes_need_a_direction_where_there_are_two() -> None:
    model = packing()
    linear = modes(model, "forward").linearization
    with pytest.raises(ValueError, match=r"`direction` to be .forward.*got None"):
        EigenmodeAttribution(model, model.rnn, linear)
    single = reader(nn.GRU(WIDTH, 5, batch_first=True), last, width=5)
    with pytest.raises(ValueError, match="no `direction` for a layer"):
        EigenmodeAttribution(single, single.rnn, linear, direction="forward")


@pytest.mark.parametrize("estimator", [None, Switching(anchors=3)], ids=str)
def test_cutting_the_batch_changes_nothing(estimator: Any) -> None:
    model = packing()
    method = DynamicsAttribution(model, model.rnn, estimator=estimator)
    named = {"target": [0, 2, 1], "additional_forward_args": LENGTHS}
    whole = method.attribute(vectors(), **named)
    cut = method.attribute(vectors(), internal_batch_size=2, **named)
    torch.testing.assert_close(cut, whole, atol=1e-10, rtol=0)


def test_rows_do_not_influence_each_other() -> None:
    model = packing()
    method = DynamicsAttribution(model, model.rnn, reference="zero")
    whole = method.attribute(vectors(), None, 1, LENGTHS)
    for row in range(3):
        length = LENGTHS[row : row + 1]
        alone = method.attribute(vectors()[row : row + 1], None, 1, length)
        own = whole[row, : alone.shape[1]]
        torch.testing.assert_close(alone[0], own, atol=1e-10, rtol=0)


def test_noise_tunnel_runs_with_delta() -> None:
    model = packing()
    found, delta = NoiseTunnel(DynamicsAttribution(model, model.rnn)).attribute(
        vectors(),
        nt_samples=2,
        stdevs=0.01,
        baselines=vectors().flip(0),
        target=torch.tensor([0, 1, 2]),
        additional_forward_args=LENGTHS,
        return_convergence_delta=True,
    )
    assert found.shape == (3, 5, 3)
    assert delta.abs().max() < 1e-8


def snapshot(model: nn.Module) -> list[object]:
    return [
        [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()],
        [m.training for m in model.modules()],
        [sorted(vars(m)) for m in model.modules()],
        [(p.tolist(), p.requires_grad, p.grad) for p in model.parameters()],
        torch.get_rng_state().tolist(),
    ]


@pytest.mark.parametrize("failing", [False, True])
@pytest.mark.parametrize("kind", [DynamicsAttribution, TelescopingAttribution])
def test_the_model_is_left_as_it_was(kind: Any, failing: bool) -> None:
    model, calls = classifier().train(), []

    def forward(x: Tensor) -> Tensor:
        calls.append(x)
        if failing and len(calls) == 5:
            raise RuntimeError("broken on purpose")
        return model(x)

    inputs = vectors().requires_grad_()
    before = snapshot(model)
    if failing:
        with pytest.raises(RuntimeError, match="on purpose"):
            kind(forward, model.rnn).attribute(inputs, None, 1)
    else:
        kind(forward, model.rnn).attribute(inputs, None, 1)
    assert snapshot(model) == before
    assert inputs.grad is None
    assert torch.equal(inputs, vectors())


def test_there_is_no_map_of_both_directions() -> None:
    model = two_way(nn.GRU, last)
    method = DynamicsAttribution(model, model.rnn)
    with pytest.raises(cd.UnsupportedLayerError, match=r"adapt\(..., direction="):
        method.find_fixed_points(vectors())
    runs = method.record(vectors())
    torch.testing.assert_close(runs.states, model.rnn(vectors())[0])
    late = DynamicsAttribution(lambda x: model.rnn(x)[0][:, 2, 5:].sum(-1), model.rnn)
    assert late.record(vectors()).valid.all()


def test_baselines_of_other_lengths_are_refused() -> None:
    model = packing(lambda m, x: both_ends(m, x, (x[:, :, 0] < 5).sum(1)))
    before = vectors()
    before[0, 4] = 9.0
    method = DynamicsAttribution(model, model.rnn)
    with pytest.raises(ValueError, match=r"`baselines` of the lengths.*\[5, 5, 5\]"):
        method.attribute(vectors(), before, 1)


def test_no_token_comes_later_in_both_directions() -> None:
    model = two_way(nn.GRU, last)
    with pytest.raises(ValueError, match="to read its sequence in one direction"):
        ContextAttribution(model, model.rnn)
