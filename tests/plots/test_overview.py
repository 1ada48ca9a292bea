"""The numbers of the overview and of networks side by side are those of the results."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from captum_dynamics import plots
from tests.analyses import no_slow_points, small_analysis


def test_the_overview_has_the_eight_panels_of_the_report() -> None:
    analysis = small_analysis()
    figure, axes = plots.plot_overview(analysis)
    assert len(axes) == 8
    assert len(figure.subfigs) == 8
    assert axes[3].figure.get_suptitle() == "memory"
    whole, _ = plots.plot_variance(analysis.visits, ax=axes[0])
    assert whole is figure
    alone = plots.plot_variance(analysis.visits)[1].get_lines()[1].get_ydata()
    np.testing.assert_array_equal(axes[0].get_lines()[1].get_ydata(), alone)


def test_networks_side_by_side_show_medians_and_ranges() -> None:
    first, second = small_analysis(), small_analysis(5)
    _, (variance, times, alignment, words) = plots.plot_networks(
        {"six": first, "five": second}
    )
    np.testing.assert_allclose(
        variance.get_lines()[0].get_ydata(), first.visits.variance.cumsum(0)
    )
    rates = first.manifold.linearization.eigenvalues[:, 0].abs().log().abs()
    scales = (1 / rates).numpy()
    bar, dot = times.get_lines()[:2]
    np.testing.assert_allclose(dot.get_ydata(), [np.median(scales)], rtol=1e-6)
    np.testing.assert_allclose(
        bar.get_ydata(), np.quantile(scales, [0.1, 0.9]), rtol=1e-6
    )
    aligned = second.manifold.tangent_alignment.numpy()
    np.testing.assert_allclose(
        alignment.get_lines()[3].get_ydata(), [np.median(aligned)]
    )
    means = first.words.class_projections()
    largest = max(abs(mean) for mean, _ in means.values())
    dots = [line for line in words.get_lines() if line.get_marker() == "o"]
    for line, (mean, _) in zip(dots, means.values(), strict=False):
        np.testing.assert_allclose(line.get_ydata(), [mean / largest])


def test_a_network_without_slow_points_leaves_its_place_empty() -> None:
    empty = replace(small_analysis(), manifold=no_slow_points())
    _, (variance, times, *_) = plots.plot_networks({"none": empty})
    assert len(variance.get_lines()) == 2
    assert not times.get_lines()
