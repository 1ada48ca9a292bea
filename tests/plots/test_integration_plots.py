"""States by label, components of several nets, and modifiers, drawn where they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure

import captum_dynamics as cd
from captum_dynamics.attr import ModifierEffects
from captum_dynamics.plots import (
    plot_labelled_states,
    plot_modifiers,
    plot_removals,
    plot_variances,
)
from captum_dynamics.testing.systems import uncoupled_switches
from captum_dynamics.topology import Plane

PLANE = Plane(torch.zeros(3).double(), torch.eye(3).double()[:2], ("east", "north"))


def dots(ax: Axes, label: str) -> list[list[float]]:
    (found,) = (
        c
        for c in ax.collections
        if isinstance(c, PathCollection) and c.get_label() == label
    )
    return [list(map(float, pair)) for pair in np.asarray(found.get_offsets())]


def test_states_stand_in_their_plane_by_label_with_slow_points() -> None:
    states = torch.tensor([[1.0, 2, 9], [3, 4, 9], [5, 6, 9]]).double()
    labels, slow = torch.tensor([1, 0, 1]), torch.tensor([[7.0, 8, 0]]).double()
    _, ax = plot_labelled_states(PLANE, states, labels, names=("no", "yes"), slow=slow)
    assert dots(ax, "no") == [[3, 4]]
    assert dots(ax, "yes") == [[1, 2], [5, 6]]
    assert dots(ax, "slow") == [[7, 8]]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("east", "north")


def test_fixed_points_are_marked_by_stability() -> None:
    known = uncoupled_switches(2)
    points = cd.find_fixed_points(known.dynamics, known.states, known.inputs)
    linear = cd.linearize(known.dynamics, points)
    plane = Plane(torch.zeros(2).double(), torch.eye(2).double())
    labels = torch.zeros(len(points), dtype=torch.long)
    _, ax = plot_labelled_states(plane, points.states, labels, fixed=linear)
    attractors = points.states[linear.unstable_dims == 0]
    assert dots(ax, "attractor (4)") == attractors.tolist()
    assert len(dots(ax, "saddle (4)")) == 4


def test_readout_vectors_are_arrows_from_the_middle_to_one_scale() -> None:
    states = torch.tensor([[-2.0, 0, 0], [2, 0, 0]]).double()
    readouts = torch.tensor([[10.0, 0, 3], [0, -5, 0]]).double()
    _, ax = plot_labelled_states(PLANE, states, torch.tensor([0, 1]), readouts=readouts)
    tips = [text.xy for text in ax.texts]  # type: ignore[attr-defined]
    np.testing.assert_allclose(tips, [[1.7, 0], [0, -0.85]])


def test_shares_of_variance_add_up_by_network() -> None:
    shares = {"a": torch.tensor([0.5, 0.3, 0.2]), "b": torch.tensor([0.9, 0.1])}
    _, ax = plot_variances(shares, mark=0.8, most=2)
    mark, first, second = ax.get_lines()
    assert list(np.asarray(mark.get_ydata())) == [0.8, 0.8]
    np.testing.assert_allclose(first.get_ydata(), [0.5, 0.8])
    np.testing.assert_allclose(second.get_ydata(), [0.9, 1.0])
    assert [line.get_label() for line in (first, second)] == ["a", "b"]


@dataclass(frozen=True)
class Numbers:
    """Two points, one modifier, two words, two steps, one removal."""

    plain = torch.tensor([[1.0, -1.0], [1.0, -3.0]])
    later = torch.tensor([[[[0.0, 0], [1, 2]]], [[[0, 0], [3, 6]]]])
    without = torch.tensor([[[[0.0, 0], [1, -1]]], [[[0, 0], [5, -3]]]])


def effects() -> ModifierEffects:
    given, parts = Numbers(), torch.ones(2, 1, 1)
    ranking = torch.zeros(2, 1, 1, dtype=torch.long)
    return ModifierEffects(
        given.plain,
        given.later,
        given.plain,
        given.later,
        parts,
        ranking,
        given.without,
        given.without,
    )


def test_a_word_is_followed_from_before_the_modifier_on() -> None:
    _, ax = plot_modifiers(effects(), ["not"], word=1, name="bad")
    (line,) = (line for line in ax.get_lines() if line.get_label() == "not")
    # Medians over two points, as numpy takes them: halfway.
    np.testing.assert_allclose(line.get_ydata(), [-2, 2, 4])
    np.testing.assert_allclose(line.get_xdata(), [0, 1, 2])
    (band,) = ax.collections
    edges = band.get_paths()[0].get_extents()
    assert (edges.y0, edges.y1) == (-3, 6)
    assert ax.get_ylabel() == "bad adds to the output"


def test_removals_are_drawn_with_their_range_and_the_plain_word() -> None:
    _, ax = plot_removals(effects(), ["not"], word=1)
    (dashed,) = (ln for ln in ax.get_lines() if ln.get_label() == "no modifier")
    assert dashed.get_ydata()[0] == -2
    (bars,) = ax.containers
    line = bars.lines[0]
    np.testing.assert_allclose(line.get_ydata(), [3, -2])
    (ends,) = (segments.get_segments() for segments in bars.lines[2])
    np.testing.assert_allclose(np.asarray(ends)[:, :, 1], [[1, 5], [-3, -1]])


def test_figures_are_the_callers_and_misuse_is_refused() -> None:
    states, labels = torch.zeros(2, 3).double(), torch.tensor([0, 1])
    own = Figure().add_subplot()
    assert plot_variances({"a": torch.ones(1)}, ax=own) == (own.figure, own)
    own = Figure().add_subplot()
    assert plot_modifiers(effects(), ["not"], ax=own) == (own.figure, own)
    for call, match in (
        (lambda: plot_variances({}), "`shares`"),
        (lambda: plot_labelled_states(PLANE, states, labels[:1]), "`labels` for 2"),
        (
            lambda: plot_labelled_states(PLANE, states, labels, names=("no",)),
            "`names` for the labels 0 to 1",
        ),
        (lambda: plot_modifiers(effects(), ["not", "very"]), "`modifiers` to be 1"),
        (lambda: plot_removals(effects(), ["not"], word=2), "`word` from 0 to 1"),
    ):
        with pytest.raises(ValueError, match=match):
            call()
