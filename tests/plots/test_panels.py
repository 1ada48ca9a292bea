"""The numbers on the axes of the eight panels are those of the result."""

from __future__ import annotations

import itertools
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.figure import Figure
from matplotlib.text import Text

from captum_dynamics import Kind, plots
from captum_dynamics.analysis import Analysis
from captum_dynamics.topology.manifold import random_cosines
from tests.analyses import (
    small_analysis,
    with_kind,
    with_nan,
    without_any_point,
)

PANELS = {
    "variance": lambda a, ax=None: plots.plot_variance(a.visits, ax=ax),
    "density": lambda a, ax=None: plots.plot_density(a.visits, ax=ax),
    "slow points": lambda a, ax=None: plots.plot_slow_points(a, ax=ax),
    "time constants": lambda a, ax=None: plots.plot_time_constants(a.manifold, ax=ax),
    "input effects": lambda a, ax=None: plots.plot_input_effects(a.words, ax=ax),
    "projections": lambda a, ax=None: plots.plot_projections(a.words, ax=ax),
    "modes": lambda a, ax=None: plots.plot_modes(a, ax=ax),
    "alignment": lambda a, ax=None: plots.plot_alignment(a.manifold, ax=ax),
    "spectrum": lambda a, ax=None: plots.plot_spectrum(a.linearization, ax=ax),
    "graph": lambda a, ax=None: plots.plot_graph(a.graph, ax=ax),
    "accumulation": lambda a, ax=None: plots.plot_accumulation(a.documents, ax=ax),
}


@pytest.fixture
def analysis() -> Analysis:
    return small_analysis()


def offsets(ax: Axes, label: str) -> np.ndarray:
    """Places of the dots with this label."""
    (dots,) = (c for c in ax.collections if str(c.get_label()).startswith(label))
    return np.asarray(dots.get_offsets())


@pytest.mark.parametrize("name", PANELS)
def test_a_plot_draws_outside_pyplot_or_where_it_is_told(
    analysis: Analysis, name: str
) -> None:
    figure, ax = PANELS[name](analysis)
    assert isinstance(figure, Figure)
    assert ax.get_xlabel()
    assert ax.get_ylabel()
    own = Figure().add_subplot()
    assert PANELS[name](analysis, ax=own) == (own.figure, own)
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or pyplot.get_fignums() == []


CASES = {
    "no points": without_any_point,
    "one dimension": lambda _: small_analysis(1, named=False),
    "not fixed": lambda analysis: with_kind(analysis, Kind.SLOW),
    "not numbers": with_nan,
}
CONCERNED = {
    "no points": tuple(PANELS),
    "one dimension": tuple(PANELS),
    "not fixed": ("slow points", "graph"),
    "not numbers": ("input effects", "projections", "accumulation"),
}


@pytest.mark.parametrize(
    ("case", "name"), [(case, name) for case in CASES for name in CONCERNED[case]]
)
def test_a_plot_stands_what_an_analysis_may_lack(
    analysis: Analysis, case: str, name: str
) -> None:
    figure, _ = PANELS[name](CASES[case](analysis))
    figure.draw_without_rendering()


def test_variance_adds_up_over_components(analysis: Analysis) -> None:
    _, ax = plots.plot_variance(analysis.visits)
    trained, untrained = ax.get_lines()[1:]
    shares = analysis.visits.variance
    assert trained.get_ydata() == pytest.approx(np.cumsum(shares.numpy()))
    expected = np.cumsum(analysis.visits.untrained_variance.numpy())
    assert untrained.get_ydata() == pytest.approx(expected)


def test_variance_without_an_untrained_layer_draws_one_curve(
    analysis: Analysis,
) -> None:
    visits = replace(analysis.visits, untrained_variance=torch.zeros(0))
    _, ax = plots.plot_variance(visits)
    assert len(ax.get_legend().get_texts()) == 1


def test_density_counts_every_visit(analysis: Analysis) -> None:
    _, ax = plots.plot_density(analysis.visits)
    assert ax.collections[0].get_array().sum() == len(analysis.visits.plane)


def test_slow_points_lie_in_the_plane_with_their_theta(analysis: Analysis) -> None:
    _, ax = plots.plot_slow_points(analysis)
    slow = analysis.manifold
    (dots,) = (
        c
        for c in ax.collections
        if isinstance(c, PathCollection) and c.get_array() is not None
    )
    expected = analysis.visits.project(slow.points.states)
    assert np.asarray(dots.get_offsets()) == pytest.approx(expected.numpy())
    assert np.asarray(dots.get_array()) == pytest.approx(slow.theta.numpy())


def test_fixed_points_are_marked_by_stability(analysis: Analysis) -> None:
    _, ax = plots.plot_slow_points(analysis)
    expected = analysis.visits.project(analysis.points.states)
    assert offsets(ax, "attractor") == pytest.approx(expected.numpy())


def test_rests_of_a_failed_search_are_no_attractors(analysis: Analysis) -> None:
    _, ax = plots.plot_slow_points(with_kind(analysis, Kind.UNCONVERGED))
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == [f"not fixed ({len(analysis.points)})"]


def test_time_constants_are_set_against_theta(analysis: Analysis) -> None:
    _, ax = plots.plot_time_constants(analysis.manifold)
    slow = analysis.manifold
    expected = torch.stack([slow.theta, slow.leading_times[:, 1]], dim=1)
    assert offsets(ax, "mode 2 fades") == pytest.approx(expected.numpy(), nan_ok=True)
    assert ax.get_yscale() == "log"


def test_growing_modes_are_marked_apart(analysis: Analysis) -> None:
    slow = analysis.manifold
    linear = slow.linearization
    grown = linear.eigenvalues / linear.eigenvalues.abs()[:, :1] * 1.01
    slow = replace(slow, linearization=replace(linear, eigenvalues=grown))
    _, ax = plots.plot_time_constants(slow)
    doubling = offsets(ax, "mode 1 grows")[:, 1]
    assert doubling == pytest.approx(np.log(2) / np.log(1.01))
    assert np.isnan(offsets(ax, "mode 1 fades")[:, 1].astype(float)).all()


def test_words_are_drawn_by_class_where_they_push(analysis: Analysis) -> None:
    words = analysis.words
    _, ax = plots.plot_input_effects(words)
    for name, rows in words.classes().items():
        assert offsets(ax, name) == pytest.approx(words.plane[rows].numpy())


def test_the_strongest_words_are_named_at_their_places(analysis: Analysis) -> None:
    words = analysis.words
    _, ax = plots.plot_input_effects(words)
    named = {text.get_text(): text.xy for text in ax.texts if text.get_text()}
    strongest = [
        *words.strongest(4, positive=True),
        *words.strongest(4, positive=False),
    ]
    assert sorted(named) == sorted(strongest)
    for name, place in named.items():
        row = words.names.index(name)
        assert place == pytest.approx(words.plane[row].tolist())


def test_labels_of_words_do_not_overlap(analysis: Analysis) -> None:
    figure, ax = plots.plot_input_effects(analysis.words)
    figure.draw_without_rendering()
    # An annotation's own extent includes its leader: ask for that of the text.
    boxes = [Text.get_window_extent(text) for text in ax.texts if text.get_text()]
    assert len(boxes) == 8
    for one, other in itertools.combinations(boxes, 2):
        assert not one.overlaps(other)


def test_the_arrow_points_along_the_left_eigenvector(analysis: Analysis) -> None:
    words = analysis.words
    _, ax = plots.plot_input_effects(words)
    (arrow,) = (text for text in ax.texts if not text.get_text())
    tip = np.array(arrow.xy) / np.linalg.norm(arrow.xy)
    assert tip == pytest.approx(words.leading.numpy())


def test_inputs_without_names_get_no_labels() -> None:
    _, ax = plots.plot_input_effects(small_analysis(named=False).words)
    assert [text.get_text() for text in ax.texts if text.get_text()] == []


def test_projections_show_words_and_the_mean_of_each_class(
    analysis: Analysis,
) -> None:
    words = analysis.words
    _, ax = plots.plot_projections(words)
    drawn = [container.lines[0].get_ydata() for container in ax.containers]
    for place, name in enumerate(("negative", "neutral", "positive")):
        projections = words.projections[words.classes()[name]]
        assert drawn[2 * place] == pytest.approx(projections.numpy())
        assert drawn[2 * place + 1] == pytest.approx([float(projections.mean())])


def test_strokes_follow_the_leading_eigenvector(analysis: Analysis) -> None:
    _, ax = plots.plot_modes(analysis)
    (strokes,) = (c for c in ax.collections if isinstance(c, LineCollection))
    segments = np.stack(strokes.get_segments())
    slow, visits = analysis.manifold, analysis.visits
    centres = visits.project(slow.points.states).numpy()
    assert segments.mean(1) == pytest.approx(centres)
    along = segments[:, 1] - segments[:, 0]
    leading = slow.linearization.right_eigenvectors[:, :, 0].real @ visits.axes.T
    crossed = along[:, 0] * leading[:, 1].numpy() - along[:, 1] * leading[:, 0].numpy()
    # The axes of a pair that turns are tested with the manifold.
    single = slow.linearization.eigenvalues[:, 0].imag.numpy() == 0
    assert single.sum() > 30
    crossed = crossed[single]
    assert crossed == pytest.approx(0, abs=1e-12)


def test_alignments_are_counted_beside_the_null(analysis: Analysis) -> None:
    _, ax = plots.plot_alignment(analysis.manifold)
    heights = [patch.get_height() for patch in ax.containers[0]]
    cosines = analysis.manifold.tangent_alignment.clamp(max=1).numpy()
    expected, _ = np.histogram(cosines, len(heights), (0, 1))
    assert heights == expected.tolist()
    (null,) = (p for p in ax.patches if str(p.get_label()).startswith("random"))
    assert null.get_data().values.sum() == pytest.approx(len(analysis.manifold))


@pytest.mark.parametrize("dim", [1, 2, 3, 20])
def test_the_null_is_what_random_vectors_give(dim: int) -> None:
    vectors = torch.randn(
        50_000, dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    cosines = (vectors[:, 0] / vectors.norm(dim=1)).abs().numpy()
    edges = torch.linspace(0, 1, 11, dtype=torch.float64)
    counts, _ = np.histogram(cosines, edges.numpy())
    shares = random_cosines(dim, edges).numpy()
    assert counts / len(cosines) == pytest.approx(shares, abs=0.01)
