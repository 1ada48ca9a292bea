"""Switching and Classical, and what is said of their faithfulness."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

import captum_dynamics as cd
from captum_dynamics.attr import (
    Classical,
    DynamicsAttribution,
    Estimator,
    Faithfulness,
    PathIntegrated,
    Switching,
)
from tests.attr import models
from tests.attr.models import gru, projected_lstm, vectors

ESTIMATORS = [PathIntegrated(), Switching(anchors=4), Classical()]


def method(model: Any = None, **settings: Any) -> DynamicsAttribution:
    model = gru() if model is None else model
    return DynamicsAttribution(model, model.rnn, **settings)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("read", [models.last, models.mean, models.nonlinear])
def test_contributions_and_constant_sum_to_the_free_run(
    estimator: Estimator, read: Any
) -> None:
    dynamics = method(gru(read), estimator=estimator)
    for baselines in (None, vectors().flip(0)):
        told = dynamics.evaluate(vectors(), baselines=baselines, target=1)
        assert told.identity_error < 1e-10
        contributions, delta = dynamics.attribute(
            vectors(), baselines, 1, return_convergence_delta=True
        )
        torch.testing.assert_close(contributions.sum((1, 2)), told.totals)
        torch.testing.assert_close(delta, told.delta)


def test_path_integrated_explains_all_and_its_constant_is_the_baseline() -> None:
    told = method(projected_lstm()).evaluate(vectors(), target=1)
    assert told.attribution_r2 > 1 - 1e-12
    assert told.surrogate_r2 > 1 - 1e-12
    torch.testing.assert_close(told.constants, told.baseline_outputs)
    assert told.constant_share < 1e-8


def test_switching_follows_the_formulas_step_by_step() -> None:
    model, inputs = gru(), vectors(1, 5)
    dynamics = method(model, estimator=Switching(anchors=2), reference="zero")
    found = dynamics.fit(vectors(), 1).attribute(inputs, target=1)[0].sum(-1)
    anchors, step = dynamics.fitted.picture.anchors, dynamics.dynamics.step
    states = torch.cat([torch.zeros(1, 1, 6), model.rnn(inputs)[0].detach()], 1)[0]
    v, expected = model.head.weight[1].detach(), []
    for t in reversed(range(5)):
        p = anchors[(anchors - states[t]).norm(dim=-1).argmin()][None]
        x = inputs[:, t]
        u = step(p, x) - step(p, torch.zeros(1, 3).double())
        expected.append(v @ u[0])
        v = (
            v
            @ torch.autograd.functional.jacobian(lambda h, x=x: step(h, x)[0], p)[:, 0]
        )
    torch.testing.assert_close(found, torch.stack(expected[::-1]))


def test_more_anchors_predict_better_and_are_used_where_needed() -> None:
    fits = [
        method(estimator=Switching(anchors=n)).evaluate(vectors(32, 9), target=1)
        for n in (1, 40)
    ]
    assert fits[1].surrogate_r2 > max(0.98, fits[0].surrogate_r2)
    easy = method(estimator=Switching(r2=0.5))
    assert len(easy.fit(vectors(32, 9), 1).fitted.picture.anchors) == 1
    hard = method(estimator=Switching()).fit(vectors(32, 9), 1)
    assert 1 < len(hard.fitted.picture.anchors) <= 64
    assert hard.evaluate(vectors(32, 9), target=1).surrogate_r2 >= 0.98


def test_the_number_of_anchors_is_judged_by_examples_they_were_not_placed_by() -> None:
    calibration, fresh = vectors(64, 9), vectors(264, 9)[64:]
    few = method(estimator=Switching(anchors=10)).fit(calibration, 1)
    # By what they were placed by, ten anchors seem enough.
    assert few.evaluate(calibration, target=1).surrogate_r2 > 0.98
    assert few.evaluate(fresh, target=1).surrogate_r2 < 0.95
    chosen = method(estimator=Switching()).fit(calibration, 1)
    assert len(chosen.fitted.picture.anchors) > 10
    assert chosen.evaluate(fresh, target=1).surrogate_r2 > 0.97


def test_where_no_number_of_anchors_is_enough_it_is_said() -> None:
    with pytest.warns(cd.AttributionWarning, match=r"is 0\.9\d\d with the 64 anchors"):
        dynamics = method(estimator=Switching(r2=0.9999)).fit(vectors(32, 9), 1)
    assert len(dynamics.fitted.picture.anchors) == 64


def test_anchors_are_placed_by_all_examples_in_the_end() -> None:
    chosen = method(estimator=Switching(r2=0.5)).fit(vectors(32, 9), 1)
    given = method(estimator=Switching(anchors=1)).fit(vectors(32, 9), 1)
    torch.testing.assert_close(
        chosen.fitted.picture.anchors, given.fitted.picture.anchors
    )


def test_batches_are_halved_together() -> None:
    whole, cut = (method(estimator=Switching()) for _ in range(2))
    whole.fit(vectors(32, 9), 1)
    cut.fit(vectors(32, 9), 1, internal_batch_size=5)
    torch.testing.assert_close(cut.fitted.picture.anchors, whole.fitted.picture.anchors)


def test_without_spread_the_number_of_anchors_cannot_be_judged() -> None:
    alike = vectors(1, 9).expand(6, -1, -1)
    for inputs in (alike, vectors(1, 9)):
        with pytest.warns(cd.AttributionWarning, match="undefined"):
            fitted = method(estimator=Switching()).fit(inputs, 1).fitted
        assert fitted.picture.anchors.isfinite().all()


def test_a_fit_is_kept_and_repeats() -> None:
    calibration, inputs = vectors(16, 7), vectors()
    dynamics = method(estimator=Switching(anchors=3))
    alone = dynamics.attribute(inputs, target=1)
    fitted = dynamics.fit(calibration, 1)
    assert fitted is dynamics
    expected = calibration.mean((0, 1))[None]
    torch.testing.assert_close(dynamics.reference_input(), expected)
    first = dynamics.attribute(inputs, target=1)
    assert not torch.allclose(first, alone)
    again = method(estimator=Switching(anchors=3)).fit(calibration, 1)
    torch.testing.assert_close(again.attribute(inputs, target=1), first)


def test_a_seed_gives_other_anchors_and_leaves_the_global_one_alone() -> None:
    first, second = (method(estimator=Switching(anchors=5)) for _ in range(2))
    before = torch.get_rng_state()
    for seed, dynamics in enumerate((first, second)):
        generator = torch.Generator().manual_seed(seed)
        dynamics.fit(vectors(16, 7), 1, generator=generator)
    assert torch.equal(torch.get_rng_state(), before)
    centres = [m.fitted.picture.anchors.sort(0).values for m in (first, second)]
    assert not torch.allclose(*centres)


def test_classical_is_the_papers_formula_at_the_given_point() -> None:
    model, inputs, point = gru(), vectors(), torch.full((6,), 0.1).double()
    dynamics = method(model, estimator=Classical(point), reference="zero")
    found = dynamics.attribute(inputs, target=1)
    J = dynamics.dynamics.jacobians(point[None], torch.zeros(1, 3).double())[0]
    B = dynamics.dynamics.input_jacobians(point[None], torch.zeros(1, 3).double())[0]
    w = model.head.weight[1].detach()
    for t in range(7):
        weights = w @ torch.linalg.matrix_power(J, 6 - t) @ B
        torch.testing.assert_close(found[:, t], weights * inputs[:, t])


def test_classical_finds_a_fixed_point_by_itself() -> None:
    dynamics = method(estimator=Classical()).fit(vectors(), 1)
    picture = dynamics.fitted.picture
    moved = dynamics.dynamics.step(picture.point, picture.reference)
    torch.testing.assert_close(moved, picture.point, atol=1e-8, rtol=0)


def test_the_chain_from_inputs_to_the_graph_runs() -> None:
    dynamics = method(gru(models.at_lengths))
    lengths = torch.tensor([7, 2, 5, 1])
    runs = dynamics.record(vectors(), lengths)
    assert torch.equal(runs.lengths, lengths)
    torch.testing.assert_close(
        dynamics.reference_input(vectors(), lengths), cd.mean_input(runs)
    )
    points = dynamics.find_fixed_points(vectors(), lengths, count=16)
    graph = dynamics.topology(dynamics.linearize(points))
    assert graph.graph.number_of_nodes() >= len(points)


def test_settings_without_a_meaning_are_refused() -> None:
    with pytest.raises(ValueError, match="`anchors`"):
        Switching(anchors=0)
    with pytest.raises(ValueError, match="`r2`"):
        Switching(r2=0.0)
    with pytest.raises(ValueError, match="`point`"):
        method(estimator=Classical(torch.zeros(5))).attribute(vectors(), target=1)


def test_what_compares_with_the_spread_of_outputs_is_nan_without_one() -> None:
    told = method().evaluate(vectors(1), target=1)
    assert math.isnan(told.attribution_r2)
    assert math.isnan(told.surrogate_r2)
    assert math.isnan(told.constant_share)
    assert told.delta.abs().max() < 1e-8
    alike = method().evaluate(vectors(1).expand(3, -1, -1), target=1)
    assert math.isnan(alike.attribution_r2)
    three = torch.full((3,), 0.1).double()  # whose mean is not 0.1 in floating point
    outputs = Faithfulness(three, three, three * 0, three, three + 1)
    assert math.isnan(outputs.surrogate_r2)
    assert math.isnan(outputs.constant_share)


def test_r2_is_one_less_the_share_of_variance_that_is_missed() -> None:
    outputs = torch.tensor([1.0, 2.0, 3.0]).double()
    zeros = torch.zeros(3).double()
    told = Faithfulness(outputs, zeros, outputs, zeros, torch.full((3,), 2.0).double())
    assert told.attribution_r2 == 1
    assert told.surrogate_r2 == pytest.approx(0)
