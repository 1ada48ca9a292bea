"""Effects of tokens on later ones: what is drawn is what was found."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from captum_dynamics.attr import ContextEffects
from captum_dynamics.plots import plot_context

TOKENS = ("not", "good", "at", "all")


def effects() -> ContextEffects:
    """Two examples; in the second, one token changes the next two."""
    found = torch.zeros(2, 5, 5)
    found[1, 0, 1:3] = torch.tensor([-2.0, 0.5])
    return ContextEffects(found, torch.tensor([[0.0] * 5, [0.1, -1, 0, 0, 0]]))


def test_the_matrix_and_the_lines_hold_the_effects() -> None:
    figure, ax = plot_context(effects(), TOKENS, document=1)
    shown = ax.get_images()[0].get_array()
    assert shown.shape == (4, 4)
    assert shown[0].compressed().tolist() == [-2.0, 0.5, 0.0]
    assert np.ma.count(shown) == 6
    assert [label.get_text() for label in ax.get_xticklabels()] == list(TOKENS)
    texts = [text.get_text() for text in ax.texts]
    assert texts == ["+0.10", "-1.00", "+0.00", "+0.00", "-2.00", "+0.50"]
    (beside,) = (other for other in figure.axes if other is not ax)
    _, line = beside.get_lines()
    assert line.get_label() == "not (1)"
    assert line.get_xdata().tolist() == [1, 2, 3]
    assert line.get_ydata().tolist() == [-2.0, 0.5, 0.0]


def test_it_draws_on_given_axes_and_without_effects() -> None:
    figure = Figure()
    given = figure.add_subplot()
    drawn, ax = plot_context(effects(), ("a",), ax=given)
    assert (drawn, ax) == (figure, given)
    (beside,) = (other for other in figure.axes if other is not ax)
    assert beside.texts[0].get_text() == "No token changes a later one."
    figure.canvas.draw()


def test_long_examples_show_colours_alone() -> None:
    found = torch.ones(1, 30, 30).triu(1)
    _, ax = plot_context(ContextEffects(found, torch.ones(1, 30)), ["w"] * 30)
    assert not ax.texts


@pytest.mark.parametrize("count", [0, 6])
def test_tokens_fit_the_steps(count: int) -> None:
    with pytest.raises(ValueError, match="`tokens` for 1 to 5 steps"):
        plot_context(effects(), ["a"] * count)
