"""How methods are judged: against sums, ranks and resamples of our own."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from captum.attr import (
    FeatureAblation,
    InputXGradient,
    IntegratedGradients,
    KernelShap,
    Occlusion,
    Saliency,
)
from scipy.integrate import trapezoid
from scipy.stats import bootstrap
from torch import Tensor

from captum_dynamics.attr import DynamicsAttribution, compare
from tests.attr.judged import QUICK, ROWS, STEPS, WIDTH, Given, Sum, given
from tests.attr.models import gru, vectors


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


def test_one_step_of_one_example_ranks_nothing_and_is_judged_all_the_same() -> None:
    model, x = gru(), vectors(1, 1)
    methods = {"ours": DynamicsAttribution(model, model.rnn), "size": Saliency(model)}
    result = compare(methods, x, target=0, baselines=0.0, points=2)
    assert bool(result.rank_correlations.isnan().all())
    assert bool(result.rank_correlations_within.isnan().all())
    assert len(result["ours"].deletion.unique()) == 2
    assert str(result.deletion_difference("ours", "size")) == "+0 [+0, +0]"
    assert str(result).splitlines()[1].endswith(" -")


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
