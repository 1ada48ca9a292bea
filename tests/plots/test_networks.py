"""Networks and their frequencies are drawn where their numbers say."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from captum_dynamics.plots import (
    _base,
    panels,
    plot_embedding,
    plot_frequencies,
)


def test_networks_stand_at_their_places_in_the_colour_of_their_group() -> None:
    places = torch.tensor([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]])
    _, ax = plot_embedding(places, ["gru", "tanh", "gru"])
    gru, tanh = ax.collections
    assert np.asarray(gru.get_offsets()) == pytest.approx(places[[0, 2]].numpy())
    assert np.asarray(tanh.get_offsets()) == pytest.approx(places[[1]].numpy())
    assert tuple(gru.get_edgecolor()[0]) != tuple(tanh.get_edgecolor()[0])


def test_networks_in_one_place_are_rings_around_each_other() -> None:
    places = torch.full((3, 2), 1e-15, dtype=torch.float64)
    _, ax = plot_embedding(places, ["tanh", "gru", "lstm"])
    sizes = [float(rings.get_sizes()[0]) for rings in ax.collections]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == 3
    assert ax.get_xlim()[1] > 0.5


@pytest.mark.misuse
def test_a_place_without_a_group_is_refused() -> None:
    with pytest.raises(ValueError, match="`groups`"):
        plot_embedding(torch.zeros(3, 2), ["tanh"])


def test_frequencies_are_drawn_over_those_asked_for() -> None:
    wanted = torch.tensor([0.1, 0.2, 0.4])
    found = torch.tensor([0.12, math.nan, 0.39])
    _, ax = plot_frequencies(wanted, {"gru": found})
    agreed, line = ax.lines
    assert np.asarray(agreed.get_xydata()) == pytest.approx(
        np.array([[0.1, 0.1], [0.4, 0.4]])
    )
    assert np.asarray(line.get_xdata()) == pytest.approx(wanted.numpy())
    assert np.asarray(line.get_ydata()) == pytest.approx(found.numpy(), nan_ok=True)


def test_panels_stand_in_rows() -> None:
    figure, axes = panels(["a", "b", "c"], columns=2)
    figure.draw_without_rendering()
    a, b, c = (ax.get_window_extent() for ax in axes)
    assert a.y0 == pytest.approx(b.y0)
    assert a.x0 == pytest.approx(c.x0)
    assert c.y1 < a.y0
    assert a.x1 < b.x0


def test_the_title_of_a_panel_stands_above_a_legend_of_two_lines() -> None:
    figure, (ax,) = panels(["title"], width=6.4)
    for name in "abcdefgh":
        ax.plot([0, 1], label=f"a long name {name}")
    _base.legend_above(ax, ncols=4)
    figure.draw_without_rendering()
    box = ax.get_legend()
    assert box is not None
    (part,) = figure.subfigs
    title = part._suptitle.get_window_extent()
    assert title.y0 >= box.get_window_extent().y1


def test_no_panels_are_refused() -> None:
    with pytest.raises(ValueError, match="`titles`"):
        panels([])
