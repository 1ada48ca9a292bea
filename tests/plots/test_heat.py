"""Attributions as heat, and methods side by side: the data on the axes."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from captum.attr import InputXGradient, IntegratedGradients, Saliency

import captum_dynamics as cd
from captum_dynamics.attr import (
    Comparison,
    EigenmodeAttribution,
    ModeAttributions,
    compare,
)
from captum_dynamics.plots import (
    plot_comparison,
    plot_mode_contributions,
    plot_time_series,
)
from tests.attr.models import gru, vectors


@cache
def modes() -> ModeAttributions:
    model = gru()
    places = torch.linspace(-1, 1, 18).view(3, 6).double()
    once = cd.solvers.Iteration(max_steps=1)
    dynamics = cd.adapt(model.rnn)
    points = cd.find_slow_points(dynamics, places, torch.zeros(1, 3), solver=once)
    linear = cd.linearize(dynamics, points)
    method = EigenmodeAttribution(model, model.rnn, linear)
    return method.attribute_modes(vectors(), target=1)


@cache
def comparison() -> Comparison:
    model = gru()
    methods = {
        "path": IntegratedGradients(model),
        "$x$ times gradient": InputXGradient(model),
        "sizes": Saliency(model),
    }
    return compare(methods, vectors(), target=0, points=4, n_perturb_samples=0)


def test_modes_are_rows_from_the_slowest_and_the_rest_is_added_up() -> None:
    given = modes()
    _, ax = plot_mode_contributions(given, document=1, most=2)
    (image,) = ax.get_images()
    drawn = np.asarray(image.get_array())
    exact = given.contributions[1].numpy().T
    assert drawn[:2] == pytest.approx(exact[:2])
    assert drawn[2] == pytest.approx(exact[2:].sum(0))
    assert drawn.sum(0) == pytest.approx(given.tokens[1].numpy())
    low, high = image.get_clim()
    assert high == -low == pytest.approx(np.abs(drawn).max())


def test_modes_are_named_by_the_time_constants_of_the_points_in_use() -> None:
    given = modes()
    nearest = torch.tensor([0, 1, 1, 2, 2, 2, 1]).expand_as(given.nearest)
    _, ax = plot_mode_contributions(replace(given, nearest=nearest), most=3)
    labels = [label.get_text() for label in ax.get_yticklabels()]
    # The slowest mode of the first two points grows; the last has one of 9 steps.
    grows, last = given.time_constants[:2, 0], float(given.time_constants[2, 0])
    assert bool(grows.isnan().all())
    assert labels[0] == f"{last:.2g}, or grows"
    times = given.time_constants[:, 1].numpy()
    middle = np.median(times[nearest[0]])
    assert labels[1] == f"{middle:.2g} ({times.min():.2g} to {times.max():.2g})"
    assert labels[3] == "all others"


def test_modes_that_grow_everywhere_are_named_so() -> None:
    given = modes()
    _, ax = plot_mode_contributions(
        replace(given, nearest=torch.ones_like(given.nearest)), most=1
    )
    assert ax.get_yticklabels()[0].get_text() == "grows or stays"


def test_all_modes_are_drawn_without_a_rest_and_only_as_many_steps_as_names() -> None:
    given = modes()
    count = given.contributions.shape[2]
    words = ["$a$", "b", "a very long word indeed"]
    _, ax = plot_mode_contributions(given, tokens=words, most=count)
    (image,) = ax.get_images()
    assert image.get_array().shape == (count, 3)
    labels = [label.get_text() for label in ax.get_xticklabels()]
    assert labels == [r"\$a\$", "b", "a very long w…"]


@pytest.mark.parametrize("named", [{"tokens": ["a"] * 8}, {"tokens": []}, {"most": 0}])
def test_modes_that_are_not_there_are_not_drawn(named: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(named))):
        plot_mode_contributions(modes(), **named)


def test_series_lie_on_the_heat_of_their_attributions() -> None:
    inputs = torch.tensor([[0.0, 5.0], [2.0, 5.0], [1.0, 5.5]])
    heat = torch.tensor([[1.0, -3.0], [0.0, 2.0], [0.5, 0.0]])
    figure, ax = plot_time_series(inputs, heat, channels=["a", "b"])
    (image,) = ax.get_images()
    assert np.asarray(image.get_array()).tolist() == heat.T.tolist()
    assert image.get_clim() == (-3, 3)
    solid = [line for line in ax.get_lines() if len(line.get_xdata()) == 3]
    first, second = (line.get_ydata() for line in solid)
    # The axis points down, and both are to the scale of the first, which moves by 2.
    assert first == pytest.approx([0.42, -0.42, 0.0])
    assert second == pytest.approx(1 + 0.42 * np.array([0.25, 0.25, -0.25]))
    # The first reaches 0 at its lowest; the second is never near it.
    (zero,) = [line for line in ax.get_lines() if line.get_linestyle() == ":"]
    assert zero.get_ydata() == pytest.approx([0.42, 0.42])
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"]
    assert figure.axes[1].get_ylabel() == "contribution to the output"


def test_many_channels_are_heat_alone() -> None:
    values = torch.randn(9, 20)
    _, ax = plot_time_series(values, values)
    assert len(ax.get_lines()) == 0
    assert ax.get_images()[0].get_array().shape == (20, 9)


def test_a_series_that_never_moves_is_a_line_in_its_lane() -> None:
    _, ax = plot_time_series(torch.ones(4, 1), torch.zeros(4, 1))
    assert ax.get_lines()[-1].get_ydata().tolist() == [0.0] * 4
    assert ax.get_images()[0].get_clim() == (-1, 1)


@pytest.mark.misuse
@pytest.mark.parametrize(
    ("inputs", "attributions", "channels", "match"),
    [
        (torch.ones(4), torch.ones(4), None, "inputs"),
        (torch.ones(4, 2), torch.ones(4, 3), None, "attributions"),
        (torch.ones(4, 2), torch.ones(4, 2), ["a"], "channels"),
    ],
    ids=["a vector", "other shapes", "too few names"],
)
def test_series_that_do_not_fit_are_refused(
    inputs: torch.Tensor,
    attributions: torch.Tensor,
    channels: list[str] | None,
    match: str,
) -> None:
    with pytest.raises(ValueError, match=match):
        plot_time_series(inputs, attributions, channels=channels)


def test_correlations_of_methods_are_numbers_in_a_square() -> None:
    given = comparison()
    _, (ax, _, _) = plot_comparison(given)
    drawn = np.asarray(ax.get_images()[0].get_array())
    assert drawn == pytest.approx(given.rank_correlations_within.numpy())
    texts = {text.get_position(): text.get_text() for text in ax.texts}
    value = float(given.rank_correlations_within[1, 2])
    assert float(texts[2, 1]) == pytest.approx(value, abs=0.006)
    assert [label.get_text() for label in ax.get_yticklabels()] == [
        "path",
        r"\$x\$ times gradient",
        "sizes",
    ]


def test_curves_are_means_less_the_straight_line_with_standard_errors() -> None:
    given = comparison()
    figure, (_, *axes) = plot_comparison(given)
    for ax, curves in zip(axes, ("deletion", "insertion"), strict=True):
        lines = ax.get_lines()[1:]
        assert len(lines) == 3
        for line, band, method in zip(
            lines, ax.collections, given.methods, strict=True
        ):
            values = getattr(method, curves).numpy()
            steps = np.linspace(0, 1, 5)
            line_up = values[:, :1] + (values[:, -1:] - values[:, :1]) * steps
            bends = values - line_up
            assert line.get_xdata() == pytest.approx(steps)
            assert line.get_ydata() == pytest.approx(bends.mean(0), abs=1e-12)
            error = bends.std(0) / math.sqrt(len(bends))
            tops = band.get_paths()[0].vertices[:, 1]
            assert tops.max() == pytest.approx((bends.mean(0) + error).max())
    (legend,) = figure.legends
    assert len(legend.get_texts()) == 3


def test_methods_that_rank_nothing_are_drawn_with_a_dash() -> None:
    model = gru()
    given = compare([Saliency(model)], vectors(1, 1), target=0, n_perturb_samples=0)
    _, (ax, _, _) = plot_comparison(given)
    assert [text.get_text() for text in ax.texts] == ["-"]
