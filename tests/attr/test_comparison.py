"""Several methods on the same inputs: against sums, ranks and counts of our own."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from captum.attr import (
    Attribution,
    FeatureAblation,
    GradientShap,
    InputXGradient,
    IntegratedGradients,
    KernelShap,
    LayerConductance,
    LayerIntegratedGradients,
    NoiseTunnel,
    Occlusion,
    Saliency,
)
from scipy.integrate import trapezoid
from scipy.stats import bootstrap
from torch import Tensor, nn

from captum_dynamics.attr import (
    Comparison,
    DynamicsAttribution,
    LinearizedPropagation,
    TelescopingAttribution,
    compare,
)
from tests.attr import models
from tests.attr.models import classifier, gru, vectors

ROWS, STEPS, WIDTH = 4, 7, models.WIDTH
QUICK: dict[str, Any] = {"n_perturb_samples": 0, "points": 7}


class Sum(nn.Module):
    """Sum over steps of w_t . x_t, which counts its own calls and examples."""

    def __init__(self) -> None:
        super().__init__()
        weights = torch.randn(STEPS, WIDTH, generator=torch.Generator().manual_seed(5))
        self.weights = nn.Parameter(weights.double())
        self.seen: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(len(x))
        return (x * self.weights).sum((1, 2))

    def contributions(self, x: Tensor) -> Tensor:
        return (x * self.weights).sum(2).detach()


class Given(Attribution):
    """A method that says what it was told to say."""

    def __init__(self, forward_func: Any, values: Any) -> None:
        super().__init__(forward_func)
        self.values = values

    def attribute(self, inputs: Tensor) -> Any:
        if isinstance(self.values, Exception):
            raise self.values
        return self.values


def given(*values: Tensor, **named: Any) -> Comparison:
    model = Sum()
    methods = {f"m{row}": Given(model, value) for row, value in enumerate(values)}
    return compare(methods, vectors(), **{**QUICK, **named})


def sums(order: np.ndarray) -> np.ndarray:
    """Partial sums (t + 1) from no step to all."""
    return np.concatenate([[0.0], order.cumsum()])


def test_curves_of_a_sum_are_sorted_partial_sums() -> None:
    exact = Sum().contributions(vectors())
    (found,) = given(exact).methods
    for row, parts in enumerate(exact.numpy()):
        ordered = np.sort(parts)[::-1]
        assert found.insertion[row].numpy() == pytest.approx(sums(ordered))
        assert found.deletion[row].numpy() == pytest.approx(parts.sum() - sums(ordered))
        assert float(found.insertion_areas[row]) == pytest.approx(
            trapezoid(sums(ordered), dx=1 / STEPS)
        )


def test_no_order_beats_the_exact_one_on_a_sum_and_the_reverse_is_worst() -> None:
    exact = Sum().contributions(vectors())
    result = given(exact, torch.randn(ROWS, STEPS).double(), -exact)
    deletion = torch.stack([m.deletion_areas for m in result.methods])
    assert bool((deletion[0] <= deletion[1]).all())
    assert bool((deletion[1] <= deletion[2]).all())
    # Below the line on one side as far as above it on the other.
    best, _, worst = result.methods
    bends = best.deletion - result.lines
    torch.testing.assert_close(bends, -(worst.deletion - result.lines).flip(1))


def test_steps_go_to_the_baseline_that_is_given() -> None:
    base = torch.full((1, STEPS, WIDTH), 0.5).double()
    result = given(Sum().contributions(vectors()), baselines=base)
    expected = Sum()(base).expand(ROWS)
    torch.testing.assert_close(result.baseline_outputs, expected.detach())
    (found,) = result.methods
    torch.testing.assert_close(found.deletion[:, -1], result.baseline_outputs)
    torch.testing.assert_close(found.insertion[:, -1], result.outputs)


def test_padding_is_never_replaced_nor_ranked() -> None:
    lengths = torch.tensor([3, 7, 5, 1])
    valid = torch.arange(STEPS) < lengths[:, None]
    exact = Sum().contributions(vectors())
    loud = exact.where(valid, 1e3)
    result = given(loud, exact.where(valid, -1e3), valid=valid, points=105)
    for row, length in enumerate(lengths.tolist()):
        ordered = np.sort(exact[row, :length].numpy())[::-1]
        kept = float(exact[row, length:].sum())
        places = np.rint(np.linspace(0, 1, 106) * length).astype(int)
        found = result["m0"].insertion[row].numpy()
        assert found == pytest.approx(sums(ordered)[places] + kept)
    assert float(result.rank_correlations[0, 1]) == pytest.approx(1)
    assert float(result.rank_correlations_within[0, 1]) == pytest.approx(1)


def test_token_ids_are_replaced_by_the_baselines_id() -> None:
    table = torch.randn(11, generator=torch.Generator().manual_seed(0)).double()
    ids = torch.randint(11, (3, 5), generator=torch.Generator().manual_seed(1))

    def score(ids: Tensor) -> Tensor:
        return table[ids].sum(1)

    exact = table[ids] - table[4]
    result = compare([Given(score, exact)], ids, baselines=4, points=5)
    (found,) = result.methods
    for row in range(3):
        ordered = np.sort(exact[row].numpy())[::-1]
        assert found.deletion[row].numpy() == pytest.approx(
            float(table[ids[row]].sum()) - sums(ordered)
        )
    assert found.infidelity.tolist() == pytest.approx([0] * 3, abs=1e-20)
    assert bool(found.sensitivity.isnan().all())
    assert "token ids" in found.reasons["sensitivity"]
    assert "sensitivity is not defined" in str(result)


def test_rank_correlations_are_correlations_of_ranks() -> None:
    values = torch.randn(3, ROWS, STEPS).double()
    result = given(*values)

    def ranks(x: np.ndarray) -> np.ndarray:
        return np.argsort(np.argsort(x))

    together = np.corrcoef([ranks(v.numpy().ravel()) for v in values])
    assert result.rank_correlations.numpy() == pytest.approx(together)
    within = [np.corrcoef([ranks(v[r].numpy()) for v in values]) for r in range(ROWS)]
    median = np.median(within, axis=0)
    assert result.rank_correlations_within.numpy() == pytest.approx(median)


def test_a_method_that_says_the_same_of_all_steps_correlates_with_nothing() -> None:
    result = given(torch.ones(ROWS, STEPS), torch.randn(ROWS, STEPS))
    assert result.rank_correlations.isnan().tolist() == [[True] * 2, [True, False]]
    assert bool(result.rank_correlations_within[0, 1].isnan())


def test_features_are_summed_and_answers_for_groups_are_shared() -> None:
    model, x = Sum(), vectors()
    words = torch.arange(STEPS)[None, :, None].expand(1, STEPS, WIDTH)
    methods = {
        "mask": FeatureAblation(model),
        "window": Occlusion(model),
        "fit": KernelShap(model),
    }
    settings = {
        "mask": {"feature_mask": words},
        "window": {"sliding_window_shapes": (1, WIDTH)},
        "fit": {"feature_mask": words, "n_samples": 60},
    }
    with pytest.warns(UserWarning, match="multiple inputs"):
        result = compare(methods, x, settings=settings)
    exact = model.contributions(x)
    for name in ("mask", "window"):
        torch.testing.assert_close(result[name].by_step, exact)
        # Captum's Occlusion adds up in single precision.
        assert float(result[name].infidelity.max()) < 1e-12
    torch.testing.assert_close(result["fit"].by_step, exact, atol=1e-3, rtol=1e-3)
    assert float(result["fit"].infidelity.max()) < 1e-4


def test_infidelity_is_of_the_steps_that_are_replaced() -> None:
    exact = Sum().contributions(vectors())
    wrong = exact.clone()
    wrong[:, 2] += 3.0
    result = given(exact, wrong, n_perturb_samples=400)
    assert float(result["m0"].infidelity.max()) < 1e-20
    # 9 where step 2 was replaced, which is half of the time.
    assert result["m1"].infidelity.mean() == pytest.approx(4.5, rel=0.1)


def test_infidelity_replaces_steps_of_each_example_by_its_own_baseline() -> None:
    x, bases = vectors(), vectors().flip(0) / 2
    valid = torch.arange(STEPS) < torch.tensor([3, 7, 5, 1])[:, None]
    exact = Sum().contributions(x) - Sum().contributions(bases)
    loud = exact.where(valid, 1e3)
    for size in (None, 3 * ROWS):  # one copy of each example at once, and three
        result = given(
            loud,
            baselines=bases,
            valid=valid,
            n_perturb_samples=20,
            internal_batch_size=size,
        )
        assert float(result["m0"].infidelity.max()) < 1e-20


def test_gradients_are_judged_by_gradient_times_change() -> None:
    model = Sum()
    methods = {
        "gradient": Saliency(model),
        "local": IntegratedGradients(model, multiply_by_inputs=False),
        "whole": InputXGradient(model),
    }
    signed = {"gradient": {"abs": False}}
    result = compare(methods, vectors(), settings=signed)
    for method in result.methods:
        # Captum weighs the nodes of a path in single precision.
        assert float(method.infidelity.max()) < 1e-12, method.name
    assert float(result["gradient"].sensitivity.max()) == 0
    # Noise of up to .02 on each of x.
    assert 0 < float(result["whole"].sensitivity.max()) < 0.1


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


def test_bootstrap_of_a_difference_is_scipys() -> None:
    exact = Sum().contributions(vectors(40))
    noisy = exact + torch.randn(40, STEPS)
    model = Sum()
    methods = {"a": Given(model, exact), "b": Given(model, noisy)}
    result = compare(methods, vectors(40), **QUICK)
    for found, sign, areas in (
        (result.deletion_difference("a", "b"), -1, "deletion_areas"),
        (result.insertion_difference("a", "b"), 1, "insertion_areas"),
    ):
        paired = sign * (getattr(result["a"], areas) - getattr(result["b"], areas))
        assert found.mean == pytest.approx(float(paired.mean()))
        expected = bootstrap(
            (paired.numpy(),), np.mean, method="percentile", n_resamples=9999
        ).confidence_interval
        width = expected.high - expected.low
        assert found.low == pytest.approx(expected.low, abs=0.05 * width)
        assert found.high == pytest.approx(expected.high, abs=0.05 * width)
        assert found.low > 0
    none = result.deletion_difference("a", "a")
    assert (none.mean, none.low, none.high) == (0, 0, 0)


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


def test_one_step_of_one_example_ranks_nothing_and_is_judged_all_the_same() -> None:
    model, x = gru(), vectors(1, 1)
    methods = {"ours": DynamicsAttribution(model, model.rnn), "size": Saliency(model)}
    result = compare(methods, x, target=0, baselines=0.0, points=2)
    assert bool(result.rank_correlations.isnan().all())
    assert bool(result.rank_correlations_within.isnan().all())
    assert len(result["ours"].deletion.unique()) == 2
    assert str(result.deletion_difference("ours", "size")) == "+0 [+0, +0]"
    assert str(result).splitlines()[1].endswith(" -")


def test_methods_in_a_sequence_have_names_of_their_own() -> None:
    model = Sum()
    result = compare(
        [Saliency(model), Saliency(model), InputXGradient(model)], vectors(), **QUICK
    )
    assert result.names == ["Saliency", "Saliency 2", "Input X Gradient"]
    with pytest.raises(KeyError, match="Saliency 3"):
        result["Saliency 3"]


def test_the_table_has_a_line_for_each_method_and_says_what_is_wrong() -> None:
    model = gru()
    methods = [Saliency(model), DynamicsAttribution(model, model.rnn)]
    result = compare(methods, vectors(), target=0, **QUICK)
    lines = str(result).splitlines()
    assert lines[0].split()[:3] == ["method", "seconds", "calls"]
    assert lines[1].startswith("Saliency ")
    both = "Saliency, Dynamics Attribution: `n_perturb_samples` is 0"
    assert lines[3] == f"infidelity is not defined for {both}"
    assert lines[4] == f"sensitivity is not defined for {both}"
    row = result.to_rows()[1]
    assert row["deletion"] == pytest.approx(
        float(result["Dynamics Attribution"].deletion_areas.mean())
    )
    assert math.isnan(row["infidelity"])


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
        ({"target": 9, "forward_func": gru()}, "target"),
        ({"forward_func": gru()}, "target"),
    ],
    ids=str,
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
