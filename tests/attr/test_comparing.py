"""How methods are asked: each as it can be, and nothing else is touched."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from captum.attr import (
    Attribution,
    DeepLift,
    FeatureAblation,
    GradientShap,
    InputXGradient,
    IntegratedGradients,
    KernelShap,
    LayerConductance,
    LayerIntegratedGradients,
    NoiseTunnel,
    Saliency,
)
from torch import Tensor

from captum_dynamics.attr import (
    Comparison,
    DynamicsAttribution,
    LinearizedPropagation,
    TelescopingAttribution,
    compare,
)
from tests.attr import models
from tests.attr.judged import QUICK, ROWS, STEPS, Given, Sum, given
from tests.attr.models import classifier, gru, vectors


def test_calls_and_examples_are_those_that_the_model_counts_itself() -> None:
    for wrapped in (False, True):
        model, x = Sum(), vectors()
        forward = (lambda x: model(x)) if wrapped else model  # noqa: B023
        methods = {
            "gradient": Saliency(forward),
            "path": IntegratedGradients(forward),
            "loop": FeatureAblation(forward),
            "noise": NoiseTunnel(Saliency(forward)),
        }
        result = compare(methods, x, **QUICK)
        for name, method in methods.items():
            # The delta is asked for, and counts.
            asked = {"return_convergence_delta": True} if name == "path" else {}
            model.seen.clear()
            method.attribute(x.clone().requires_grad_(), **asked)
            found = (result[name].calls, result[name].examples)
            assert found == (len(model.seen), sum(model.seen)), name
        assert methods["gradient"].forward_func is forward


def test_calls_of_a_layer_method_of_a_function_count() -> None:
    model, calls = classifier(), []

    def forward(ids: Tensor) -> Tensor:
        calls.append(len(ids))
        return model(ids)

    ids = torch.ones(2, 5, dtype=torch.long)
    method = LayerIntegratedGradients(forward, model.embedding)
    settings = {"n_steps": 3, "internal_batch_size": 2}
    result = compare(
        {"m": method}, ids, baselines=0, target=0, settings={"m": settings}, **QUICK
    )
    calls.clear()
    method.attribute(ids, 0, target=0, return_convergence_delta=True, **settings)
    assert (result["m"].calls, result["m"].examples) == (len(calls), sum(calls))
    assert method.forward_func is method.ig.forward_func is forward


class Careless(Attribution):
    """A method that writes into what it is given."""

    def attribute(self, inputs: Tensor) -> Tensor:
        return inputs.detach().mul_(0.0)


def test_a_careless_method_spoils_nothing() -> None:
    model, x = Sum(), vectors()
    result = compare({"m": Careless(model), "x": InputXGradient(model)}, x, **QUICK)
    assert torch.equal(x, vectors())
    exact = model.contributions(vectors())
    torch.testing.assert_close(result["x"].by_step, exact)


def test_a_method_that_fails_is_a_row_and_the_others_go_on() -> None:
    model, x = gru(), vectors()
    result = compare(
        {
            "ours": DynamicsAttribution(model, model.rnn),
            "theirs": LayerConductance(model, model.rnn),
            "broken": Given(model, RuntimeError("two\nlines")),
            "short": Given(model, torch.ones(ROWS, STEPS - 1)),
            "nothing": Given(model, torch.full((ROWS, STEPS), math.nan)),
            "other": Saliency(lambda x: 2 * model(x)),
        },
        x,
        target=1,
        **QUICK,
    )
    assert result.names == ["ours"]
    assert result.failures["broken"] == "RuntimeError: two"
    assert "steps on axis 1" in result.failures["short"]
    assert "28 NaN" in result.failures["nothing"]
    assert "outputs differ" in result.failures["other"]
    rows = result.to_rows()
    assert [row["method"] for row in rows if "error" in row] == list(result.failures)
    assert "theirs failed: " in str(result)


def everything(model: Any) -> dict[str, Any]:
    return {
        "ours": DynamicsAttribution(model, model.rnn),
        "telescoping": TelescopingAttribution(model, model.rnn),
        "relevance": LinearizedPropagation(model, model.rnn),
        "path": IntegratedGradients(model),
        "gradient": InputXGradient(model),
        "noise": NoiseTunnel(IntegratedGradients(model)),
        "samples": GradientShap(model),
        "sizes": Saliency(model),
        "loop": FeatureAblation(model),
    }


def test_ours_and_captums_methods_answer_together_and_are_as_on_their_own() -> None:
    model, x = gru(models.at_lengths), vectors()
    lengths = torch.tensor([3, 7, 5, 1])
    valid = torch.arange(STEPS) < lengths[:, None]
    result = compare(
        everything(model),
        x,
        baselines=0.1,
        target=torch.tensor([0, 1, 2, 3]),
        additional_forward_args=lengths,
        valid=valid,
        settings={"noise": {"nt_samples": 3}},
        points=4,
        n_perturb_samples=3,
    )
    assert result.failures == {}
    assert all(method.reasons == {} for method in result.methods)
    alone, delta = IntegratedGradients(model).attribute(
        x, 0.1, torch.tensor([0, 1, 2, 3]), lengths, return_convergence_delta=True
    )
    torch.testing.assert_close(result["path"].attributions, alone.detach())
    torch.testing.assert_close(result["path"].deltas, delta)
    change = result.outputs - result.baseline_outputs
    # Of a delta for each sample, the mean.
    samples = result["samples"]
    over = samples.by_step.sum(1) - change
    torch.testing.assert_close(samples.deltas, over)
    for name in ("ours", "telescoping", "path"):
        total = (result[name].by_step * valid).sum(1)
        torch.testing.assert_close(total, change, atol=1e-3, rtol=1e-3)
    assert [m.name for m in result.methods if m.deltas.isnan().all()] == [
        "gradient",
        "sizes",
        "loop",
    ]
    assert bool((result.rank_correlations_within[0, [1, 3]] > 0.8).all())


def test_traps_of_a_method_are_told_with_its_scores() -> None:
    model = gru(models.at_lengths)
    lengths = torch.tensor([3, 7, 5, 1])
    methods = {"rescale": DeepLift(model), "path": IntegratedGradients(model)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = compare(
            methods, vectors(), target=0, additional_forward_args=lengths, **QUICK
        )
    (trap,) = result["rescale"].traps
    assert trap.startswith("DeepLift is the plain gradient inside GRU")
    assert result["path"].traps == ()
    assert f"rescale: {trap}" in str(result)


def test_layer_methods_answer_where_inputs_are_token_ids() -> None:
    model = classifier()
    ids = torch.randint(11, (3, 5), generator=torch.Generator().manual_seed(0))
    result = compare(
        {
            "ours": DynamicsAttribution(model, model.rnn),
            "theirs": LayerIntegratedGradients(model, model.embedding),
        },
        ids,
        baselines=0,
        target=1,
        points=5,
    )
    assert result.failures == {}
    assert bool((result.rank_correlations_within > 0.8).all())
    # Both are complete, so that no subset of the steps is far off.
    spread = float((result.outputs - result.baseline_outputs).square().mean())
    assert all(float(m.infidelity.mean()) < spread for m in result.methods)


def test_the_same_generator_gives_the_same_and_nothing_else_is_touched() -> None:
    model, x = gru(), vectors().requires_grad_()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state, numpys = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002

    def run(seed: int) -> Comparison:
        return compare(
            [GradientShap(model), KernelShap(lambda x: model(x))],
            x,
            target=0,
            baselines=0.0,
            settings={"Kernel Shap": {"n_samples": 4}},
            points=2,
            n_perturb_samples=2,
            generator=torch.Generator().manual_seed(seed),
        )

    with pytest.warns(UserWarning, match="multiple inputs"):
        first, again, other = run(0), run(0), run(1)
    for one, two, three in zip(
        first.methods, again.methods, other.methods, strict=True
    ):
        assert torch.equal(one.attributions, two.attributions)
        assert torch.equal(one.infidelity, two.infidelity)
        assert torch.equal(one.sensitivity, two.sensitivity)
        assert not torch.equal(one.attributions, three.attributions)
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(np.random.get_state()[1], numpys)  # noqa: NPY002
    assert x.grad is None
    assert not model._forward_pre_hooks
    after = model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_without_a_generator_every_call_gives_the_same_and_draws_from_none() -> None:
    state = torch.get_rng_state()
    first, again = (given(torch.ones(ROWS, STEPS), n_perturb_samples=3) for _ in "ab")
    assert torch.equal(first["m0"].infidelity, again["m0"].infidelity)
    assert torch.equal(torch.get_rng_state(), state)


def test_batches_change_nothing() -> None:
    model, x = gru(), vectors()
    methods = {"ours": DynamicsAttribution(model, model.rnn)}
    whole = compare(methods, x, target=0, baselines=0.0, **QUICK)
    cut = compare(methods, x, target=0, baselines=0.0, internal_batch_size=3, **QUICK)
    torch.testing.assert_close(cut["ours"].deletion, whole["ours"].deletion)
    torch.testing.assert_close(cut["ours"].attributions, whole["ours"].attributions)


def test_methods_in_a_sequence_have_names_of_their_own() -> None:
    model = Sum()
    result = compare(
        [Saliency(model), Saliency(model), InputXGradient(model)], vectors(), **QUICK
    )
    assert result.names == ["Saliency", "Saliency 2", "Input X Gradient"]
    with pytest.raises(KeyError, match="Saliency 3"):
        result["Saliency 3"]


@pytest.mark.parametrize(
    ("named", "match"),
    [
        ({"settings": {"other": {}}}, "settings"),
        ({"points": 0}, "points"),
        ({"n_perturb_samples": -1}, "n_perturb_samples"),
        ({"perturb_radius": 0.0}, "perturb_radius"),
        ({"internal_batch_size": 0}, "internal_batch_size"),
        ({"valid": torch.ones(2, 3, dtype=torch.bool)}, "valid"),
        ({"valid": torch.zeros(ROWS, STEPS, dtype=torch.bool)}, "row 0"),
        ({"baselines": torch.ones(1, 2, 3)}, "baselines"),
        ({"methods": {}}, "methods"),
        ({"inputs": torch.ones(3)}, "inputs"),
        ({"inputs": torch.ones(2, 3, dtype=torch.long)}, "baselines"),
        ({"target": 9}, "target"),
        ({"forward_func": lambda x: x.sum(2)}, "target"),
    ],
    ids=[
        "a method that is not there",
        "no points",
        "negative samples",
        "no radius",
        "empty batches",
        "other steps",
        "no step",
        "other baselines",
        "no method",
        "a vector",
        "ids without a baseline",
        "no such target",
        "many outputs",
    ],
)
def test_what_does_not_fit_is_refused(named: dict[str, Any], match: str) -> None:
    given = {"methods": [Saliency(Sum())], "inputs": vectors(), **named}
    methods, inputs = given.pop("methods"), given.pop("inputs")
    with pytest.raises(ValueError, match=match):
        compare(methods, inputs, **given)


@pytest.mark.misuse
@pytest.mark.parametrize(
    ("named", "match"),
    [
        ({"methods": [Saliency]}, "methods"),
        ({"inputs": (torch.ones(2, 3),)}, "additional_forward_args"),
        ({"valid": torch.ones(ROWS, STEPS)}, "valid"),
    ],
    ids=["a class", "a tuple", "numbers"],
)
def test_what_is_of_another_kind_is_refused(named: dict[str, Any], match: str) -> None:
    given = {"methods": [Saliency(Sum())], "inputs": vectors(), **named}
    methods, inputs = given.pop("methods"), given.pop("inputs")
    with pytest.raises(TypeError, match=match):
        compare(methods, inputs, **given)


def test_where_every_method_fails_the_first_reason_is_raised() -> None:
    with pytest.raises(ValueError, match="m: ValueError: no"):
        compare({"m": Given(Sum(), ValueError("no"))}, vectors())
