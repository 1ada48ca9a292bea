"""EigenmodeAttribution: contributions through modes, against algebra."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import captum_dynamics as cd
from captum_dynamics.attr import (
    Classical,
    DynamicsAttribution,
    EigenmodeAttribution,
    Estimator,
    PathIntegrated,
    Switching,
)
from tests.attr import models
from tests.attr.models import Reader, gru, projected_lstm, reader, vectors

ESTIMATORS = [PathIntegrated(), Switching(anchors=4), Classical()]


def at_rest(model: Any, inputs: Tensor | None = None) -> cd.Linearization:
    """The points that the model's runs lead to, under the mean input."""
    dynamics = DynamicsAttribution(model, model.rnn)
    inputs = vectors() if inputs is None else inputs
    return dynamics.linearize(dynamics.find_fixed_points(inputs, count=16))


def method(model: Any, **settings: Any) -> EigenmodeAttribution:
    return EigenmodeAttribution(model, model.rnn, at_rest(model), **settings)


def linear_layer(matrix: list[list[float]]) -> Reader:
    """h' = A h + W x, as a ReLU layer far from its kinks."""
    layer = nn.RNN(3, 2, batch_first=True, nonlinearity="relu")
    model = reader(layer, models.last, width=2)
    a = torch.tensor(matrix, dtype=torch.float64)
    with torch.no_grad():
        layer.weight_hh_l0.copy_(a)
        # The bias keeps the state near 100, where every unit is on.
        layer.bias_hh_l0.copy_((torch.eye(2) - a) @ torch.full((2,), 100.0).double())
        layer.bias_ih_l0.zero_()
    model.read = from_hundred
    return model


def from_hundred(m: Reader, x: Tensor) -> Tensor:
    start = torch.full((1, len(x), 2), 100.0).to(x)
    return m.head(m.rnn(x, start)[0][:, -1])


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize(
    "build",
    [projected_lstm, lambda: gru(models.mean), lambda: gru(models.attention)],
    ids=["stack", "mean", "attention"],
)
def test_subspaces_divide_each_tokens_contribution_exactly(
    build: Any, estimator: Estimator
) -> None:
    model = build()
    eigenmodes = method(model, estimator=estimator)
    modes = eigenmodes.attribute_modes(vectors(), target=1)
    whole = DynamicsAttribution(model, model.rnn, estimator=estimator)
    tokens = whole.attribute(vectors(), target=1).sum(-1)
    torch.testing.assert_close(modes.tokens, tokens, atol=1e-10, rtol=0)
    subspaces = eigenmodes.linearization.subspaces
    assert modes.contributions.shape == (4, 7, subspaces.most)
    assert modes.time_constants.shape == (len(subspaces), subspaces.most)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda e: type(e).__name__)
def test_features_through_subspaces_sum_to_tokens_and_to_the_whole(
    estimator: Estimator,
) -> None:
    eigenmodes = method(gru(), estimator=estimator)
    given = {"baselines": vectors().flip(0), "target": 1}
    modes = eigenmodes.attribute_modes(vectors(), **given)
    parts = [
        eigenmodes.attribute(vectors(), subspace=s, **given)
        for s in range(modes.contributions.shape[-1])
    ]
    for s, part in enumerate(parts):
        by_token = modes.contributions[..., s]
        torch.testing.assert_close(part.sum(-1), by_token, atol=1e-10, rtol=0)
    whole = eigenmodes.attribute(vectors(), **given)
    torch.testing.assert_close(sum(parts), whole, atol=1e-10, rtol=0)
    expected = DynamicsAttribution(
        eigenmodes.forward_func, eigenmodes.layer, estimator=estimator
    ).attribute(vectors(), **given)
    assert torch.equal(whole, expected)


def test_delta_of_one_subspace_is_what_the_others_contribute() -> None:
    eigenmodes = method(gru())
    modes = eigenmodes.attribute_modes(vectors(), target=1)
    _, delta = eigenmodes.attribute(
        vectors(), target=1, subspace=0, return_convergence_delta=True
    )
    others = modes.contributions[..., 1:].sum((1, 2))
    torch.testing.assert_close(delta, -others, atol=1e-8, rtol=0)


def test_a_linear_layers_contributions_are_the_formula_of_its_eigenvectors() -> None:
    model, inputs = linear_layer([[0.9, 0.5], [0.0, 0.5]]), vectors()
    eigenmodes = method(model, reference="zero")
    modes = eigenmodes.attribute_modes(inputs, target=1)
    w, b = model.head.weight[1].detach(), model.rnn.weight_ih_l0.detach()
    # By hand: r_1 = (1, 0), r_2 = (1.25, -1); l_1 = (1, 1.25), l_2 = (0, -1).
    for s, (rate, right, left) in enumerate(
        [(0.9, [1.0, 0.0], [1.0, 1.25]), (0.5, [1.25, -1.0], [0.0, -1.0])]
    ):
        gain = w @ torch.tensor(right).double()
        entered = inputs @ b.T @ torch.tensor(left).double()
        decay = rate ** torch.arange(6, -1, -1).double()
        torch.testing.assert_close(
            modes.contributions[..., s], gain * decay * entered, atol=1e-9, rtol=1e-9
        )
    wanted = torch.tensor([[9.4912, 1.4427]]).double()
    torch.testing.assert_close(modes.time_constants, wanted, atol=1e-4, rtol=0)
    assert modes.token_time_constants.shape == (4, 7, 2)


def test_conjugate_pairs_stay_together() -> None:
    c, s = 0.9 * math.cos(0.5), 0.9 * math.sin(0.5)
    eigenmodes = method(linear_layer([[c, -s], [s, c]]))
    assert eigenmodes.linearization.eigenvalues[0, 0].imag > 0.1
    modes = eigenmodes.attribute_modes(vectors(), target=1)
    tokens = eigenmodes.attribute(vectors(), target=1).sum(-1)
    assert modes.contributions.shape == (4, 7, 1)
    torch.testing.assert_close(modes.tokens, tokens, atol=1e-9, rtol=0)
    assert float(modes.time_constants) == pytest.approx(9.4912, abs=1e-4)


def test_defective_modes_are_held_together_by_the_schur_path() -> None:
    eigenmodes = method(linear_layer([[0.9, 1.0], [0.0, 0.9]]))
    assert eigenmodes.linearization.condition.min() > 1e6
    modes = eigenmodes.attribute_modes(vectors(), target=1)
    tokens = eigenmodes.attribute(vectors(), target=1).sum(-1)
    assert modes.contributions.shape == (4, 7, 1)
    torch.testing.assert_close(modes.tokens, tokens, atol=1e-9, rtol=0)
    assert float(modes.time_constants) == pytest.approx(9.4912, abs=1e-4)


def test_a_layer_far_from_normal_is_flagged_and_one_near_it_is_not() -> None:
    far = linear_layer([[0.9, 5.0], [0.0, 0.8]])
    with torch.no_grad():
        far.head.weight[1].copy_(torch.tensor([1.0, 0.0]))
    told = method(far).attribute_modes(vectors(), target=1)
    # |(1, 0) A^6| = |(.9^6, 50 (.9^6 - .8^6))|, of which six steps are the largest.
    expected = math.hypot(0.9**6, 50 * (0.9**6 - 0.8**6))
    assert expected == pytest.approx(13.475, abs=0.01)
    assert told.transient_growth[0, 0].item() == pytest.approx(expected)
    assert told.non_normal.all()
    assert torch.isfinite(told.contributions).all()
    near = method(linear_layer([[0.9, 0.1], [0.0, 0.8]]))
    assert not near.attribute_modes(vectors(), target=1).non_normal.any()


def test_each_step_is_divided_by_the_point_nearest_to_the_state_before_it() -> None:
    model = gru()
    dynamics = DynamicsAttribution(model, model.rnn).dynamics
    x = vectors()
    visited = model.rnn(x)[0].detach()
    places = torch.cat([visited[0, [0, 3]], torch.zeros(1, 6).double()])
    points = cd.find_slow_points(
        dynamics, places, torch.zeros(1, 3), solver=cd.solvers.Iteration(max_steps=1)
    )
    linear = cd.linearize(dynamics, points)
    modes = EigenmodeAttribution(model, model.rnn, linear).attribute_modes(x, target=1)
    before = torch.cat([torch.zeros(4, 1, 6).double(), visited[:, :-1]], dim=1)
    distances = (before[:, :, None] - points.states).norm(dim=-1)
    assert torch.equal(modes.nearest, distances.argmin(-1))
    assert len(torch.unique(modes.nearest)) > 1


def test_a_fit_serves_the_modes_too() -> None:
    model = gru()
    eigenmodes = method(model, estimator=Switching(anchors=3))
    alone = eigenmodes.attribute_modes(vectors(), target=1).tokens
    assert eigenmodes.fit(vectors(16, 7), 1) is eigenmodes
    fitted = eigenmodes.attribute_modes(vectors(), target=1).tokens
    assert not torch.allclose(alone, fitted)
    torch.testing.assert_close(
        fitted, eigenmodes.attribute(vectors(), target=1).sum(-1), atol=1e-9, rtol=0
    )


def test_misuse_is_refused_in_one_sentence() -> None:
    model = gru()
    linear = at_rest(model)
    with pytest.raises(ValueError, match="`linearization` of the layer, whose state"):
        EigenmodeAttribution(model, model.rnn, at_rest(projected_lstm()))
    eigenmodes = EigenmodeAttribution(model, model.rnn, linear)
    most = linear.subspaces.most
    with pytest.raises(ValueError, match=f"`subspace` to be from 0 to {most - 1}"):
        eigenmodes.attribute(vectors(), target=1, subspace=most)
    with pytest.raises(ValueError, match="`subspace` to be a whole number"):
        eigenmodes.attribute(vectors(), target=1, subspace=-1)


@pytest.mark.misuse
def test_points_are_refused_where_their_linearization_is_needed() -> None:
    model = gru()
    for given in (None, at_rest(model).points):
        with pytest.raises(TypeError, match="`linearization` to be a Linearization"):
            EigenmodeAttribution(model, model.rnn, given)  # type: ignore[arg-type]
