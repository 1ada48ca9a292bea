"""An automaton is drawn with every state and every symbol, and stays legible."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
import torch
from matplotlib.patches import FancyArrowPatch
from matplotlib.path import Path

import captum_dynamics as cd
from captum_dynamics.plots import plot_transitions


def memory(bits: int) -> cd.Automaton:
    """The machine of the n-bit flip-flop: a state for each memory."""
    states = list(itertools.product((0, 1), repeat=bits))
    symbols = [f"{sign}{bit}" for bit in range(bits) for sign in "+-"]
    table = [
        [
            states.index((*state[:bit], int(sign == "+"), *state[bit + 1 :]))
            for bit in range(bits)
            for sign in "+-"
        ]
        for state in states
    ]
    outputs = ["".join(map(str, state)) for state in states]
    return cd.Automaton.minimal(table, outputs, symbols, range(len(states)))


def test_every_state_and_every_symbol_is_drawn() -> None:
    _, ax = plot_transitions(memory(2))
    texts = Counter(text.get_text() for text in ax.texts)
    assert texts.keys() >= {"00", "01", "10", "11"}
    # Each of the four symbols changes two states, and leaves two as they are.
    assert all(texts[name] == 2 for name in ("+0", "-0", "+1", "-1"))
    assert sum(texts.values()) == 4 + 8
    arrows = [p for p in ax.patches if isinstance(p, FancyArrowPatch)]
    assert len(arrows) == 8


def test_labels_of_eight_states_and_six_symbols_do_not_hide_each_other() -> None:
    figure, ax = plot_transitions(memory(3))
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in ax.texts]
    assert len(boxes) == 8 + 24
    hidden = [
        (a.get_text(), b.get_text())
        for (a, first), (b, second) in itertools.combinations(
            zip(ax.texts, boxes, strict=True), 2
        )
        if first.overlaps(second)
    ]
    assert hidden == []
    discs = np.stack([dots.get_offsets()[0] for dots in ax.collections])
    places = ax.transData.transform(discs)
    gaps = [np.linalg.norm(a - b) for a, b in itertools.combinations(places, 2)]
    # A disc of 620 square points is 28 points across, 39 pixels at 100 dpi.
    assert min(gaps) > 60


def test_a_label_lies_on_its_arrow() -> None:
    machine = cd.Automaton(torch.tensor([[1], [1]]), ("a", "b"), ("go",), ((0,), (1,)))
    figure, ax = plot_transitions(machine)
    figure.draw_without_rendering()
    (arrow,) = (p for p in ax.patches if isinstance(p, FancyArrowPatch))
    curves = arrow.get_path().transformed(arrow.get_transform())
    line = Path(curves.to_polygons(closed_only=False)[0]).interpolated(20).vertices
    (label,) = (text for text in ax.texts if text.get_text() == "go")
    place = ax.transData.transform(label.get_position())
    assert np.linalg.norm(line - place, axis=1).min() < 3


def test_many_symbols_on_one_arrow_are_counted() -> None:
    names = tuple(f"w{i}" for i in range(10))
    machine = cd.Automaton(
        torch.tensor([[1] * 10, [1] * 10]), ("a", "b"), names, ((0,), (1,))
    )
    _, ax = plot_transitions(machine)
    assert "w0, w1, w2, 7 more" in [text.get_text() for text in ax.texts]


def test_an_unresolved_end_is_a_question_in_a_square() -> None:
    machine = cd.Automaton(
        torch.tensor([[1], [1]]), ("a", "unresolved"), ("go",), ((0,), (1,))
    )
    _, ax = plot_transitions(machine)
    assert "?" in [text.get_text() for text in ax.texts]
    disc, square = ax.collections
    assert disc.get_paths()[0].vertices.shape != square.get_paths()[0].vertices.shape


@pytest.mark.parametrize("states", [0, 1, 2])
def test_machines_of_few_or_unconnected_states_are_drawn(states: int) -> None:
    machine = cd.Automaton(
        torch.arange(states)[:, None],
        tuple(str(state) for state in range(states)),
        ("rest",),
        tuple((state,) for state in range(states)),
    )
    figure, ax = plot_transitions(machine)
    figure.draw_without_rendering()
    assert len(ax.collections) == states
    assert np.isfinite([text.get_position() for text in ax.texts]).all()
