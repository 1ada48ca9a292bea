"""The reference "mean map": against the mean of steps, not the step of the mean."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from captum_dynamics.attr import (
    Classical,
    ContextAttribution,
    DynamicsAttribution,
    EigenmodeAttribution,
    Fitted,
    PathIntegrated,
    Switching,
    TelescopingAttribution,
)
from tests.attr import models, two_way
from tests.attr.models import Reader, gru, projected_lstm, reader, vectors

ESTIMATORS = [PathIntegrated(), Switching(anchors=3), Classical()]


def method(model: Reader, **settings: Any) -> DynamicsAttribution:
    return DynamicsAttribution(model, model.rnn, reference="mean map", **settings)


def rested(model: Reader, words: Tensor, steps: int) -> Tensor:
    """States (t, 6) of the mean map, by nn.GRU itself."""
    state, visited = torch.zeros(1, 1, 6).double(), []
    for _ in range(steps):
        each = model.rnn(words[:, None], state.expand(1, len(words), 6).contiguous())
        state = each[1].mean(1, keepdim=True)
        visited.append(state[0, 0])
    return torch.stack(visited)


@pytest.mark.parametrize("build", [gru, lambda: gru(models.mean)], ids=["last", "mean"])
def test_contributions_sum_to_the_change_from_the_mean_of_steps(build: Any) -> None:
    model, inputs = build(), vectors()
    explainer = method(model).fit(inputs, target=1)
    words = explainer.reference_input()
    assert len(words) == min(32, 4 * 7)
    found, delta = explainer.attribute(inputs, target=1, return_convergence_delta=True)
    assert delta.abs().max() < 1e-12
    states = rested(model, words, 7)
    read = states.mean(0) if model.read is models.mean else states[-1]
    change = model(inputs)[:, 1] - model.head(read)[1]
    torch.testing.assert_close(found.sum((1, 2)), change)
    plain = DynamicsAttribution(model, model.rnn).attribute(inputs, target=1)
    assert (found - plain).abs().max() > 1e-3


def test_of_a_stack_the_sum_is_exact_too() -> None:
    model, inputs = projected_lstm(), vectors()
    _, delta = method(model).attribute(inputs, target=1, return_convergence_delta=True)
    assert delta.abs().max() < 1e-8


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda e: type(e).__name__)
def test_one_word_many_times_is_that_word(estimator: Any) -> None:
    model, inputs, word = gru(), vectors(), torch.full((1, 3), 0.3).double()
    plain = DynamicsAttribution(
        model, model.rnn, estimator=estimator, reference=word
    ).fit(inputs, target=1)
    mean = method(model, estimator=estimator)
    assert plain.fitted is not None
    mean.fitted = Fitted(word.expand(3, 3), plain.fitted.picture)
    if isinstance(estimator, Classical):
        mean.fitted = Fitted(word.expand(3, 3), repeated(mean, inputs, word, estimator))
    torch.testing.assert_close(
        mean.attribute(inputs, target=1),
        plain.attribute(inputs, target=1),
        atol=1e-8,
        rtol=1e-8,
    )


def repeated(
    mean: DynamicsAttribution, inputs: Tensor, word: Tensor, estimator: Classical
) -> Any:
    """The picture at the mean map's own point."""
    session = mean._session(inputs, None, 1, None)
    runs = [session.pair(slice(None), word.expand(3, 3))]
    return estimator.fit(runs, torch.Generator())


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda e: type(e).__name__)
def test_totals_and_constants_are_what_the_picture_gives(estimator: Any) -> None:
    told = method(gru(), estimator=estimator).evaluate(vectors(), target=1)
    assert told.identity_error < 1e-10


def test_modes_sum_to_the_contributions() -> None:
    model, inputs = gru(), vectors()
    explainer = method(model).fit(inputs, target=1)
    points = explainer.find_fixed_points(inputs, count=16)
    moved = rested(model, explainer.reference_input(), 400)[-1]
    torch.testing.assert_close(points.states[0], moved)
    eigenmodes = EigenmodeAttribution(
        model, model.rnn, explainer.linearize(points), reference="mean map"
    ).fit(inputs, target=1)
    expected = explainer.attribute(inputs, target=1)
    torch.testing.assert_close(eigenmodes.attribute(inputs, target=1), expected)
    found = eigenmodes.attribute_modes(inputs, target=1)
    torch.testing.assert_close(found.tokens, expected.sum(-1))


def test_batches_change_nothing_and_a_seed_decides_the_words() -> None:
    model, inputs = gru(), torch.cat([vectors(), -vectors()])
    explainer = method(model)
    whole = explainer.attribute(inputs, target=1)
    torch.testing.assert_close(
        explainer.attribute(inputs, target=1, internal_batch_size=3), whole
    )
    drawn = [
        method(model)
        .fit(inputs, generator=torch.Generator().manual_seed(seed), target=0)
        .reference_input()
        for seed in (1, 1, 2)
    ]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_given_baselines_take_its_place() -> None:
    model, inputs = gru(), vectors()
    expected = DynamicsAttribution(model, model.rnn).attribute(inputs, 0.0, 1)
    torch.testing.assert_close(method(model).attribute(inputs, 0.0, 1), expected)


@pytest.mark.parametrize("kind", [TelescopingAttribution, ContextAttribution])
def test_methods_without_a_picture_refuse_it(kind: Any) -> None:
    model = gru()
    with pytest.raises(ValueError, match='got "mean map"; `DynamicsAttribution`'):
        kind(model, model.rnn, reference="mean map")


def test_two_directions_share_no_step_to_take_the_mean_of() -> None:
    model = reader(nn.GRU(3, 3, bidirectional=True, batch_first=True), two_way.last)
    with pytest.raises(ValueError, match="mean of one map's steps"):
        method(model)
