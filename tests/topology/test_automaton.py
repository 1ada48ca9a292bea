"""Minimal machines, against what words of symbols can tell apart by definition."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import captum_dynamics as cd
from captum_dynamics.topology._hopcroft import equivalent_states

Machine = tuple[list[list[int]], list[int]]


@st.composite
def machines(draw: st.DrawFn) -> Machine:
    states = draw(st.integers(1, 6))
    symbols = draw(st.integers(1, 2))
    state = st.integers(0, states - 1)
    row = st.lists(state, min_size=symbols, max_size=symbols)
    table = draw(st.lists(row, min_size=states, max_size=states))
    outputs = draw(st.lists(st.integers(0, 1), min_size=states, max_size=states))
    return table, outputs


def answers(machine: Machine, state: int) -> list[int]:
    """Outputs after every word that is long enough to tell any two states apart."""
    table, outputs = machine
    said = []
    for word in itertools.product(range(len(table[0])), repeat=len(table)):
        here = state
        said.append(outputs[here])
        for symbol in word:
            here = table[here][symbol]
            said.append(outputs[here])
    return said


@given(machines())
def test_states_are_merged_exactly_where_no_word_tells_them_apart(
    machine: Machine,
) -> None:
    classes = equivalent_states(*machine)
    said = [answers(machine, state) for state in range(len(classes))]
    for a, b in itertools.combinations(range(len(classes)), 2):
        assert (classes[a] == classes[b]) == (said[a] == said[b])


@given(machines())
def test_the_minimal_machine_answers_as_the_whole_one(machine: Machine) -> None:
    table, outputs = machine
    symbols = [f"s{column}" for column in range(len(table[0]))]
    nodes = list(range(10, 10 + len(table)))
    small = cd.Automaton.minimal(table, [str(o) for o in outputs], symbols, nodes)
    assert sorted(sum(small.members, ())) == nodes
    word = (symbols * 6)[:7]
    for start, group in enumerate(small.members):
        for node in group:
            here, said = node - 10, [str(outputs[node - 10])]
            for name in word:
                here = table[here][symbols.index(name)]
                said.append(str(outputs[here]))
            assert small.run(start, word) == said


def test_a_counter_modulo_six_that_shows_its_parity_has_two_states() -> None:
    table = [[(state + 1) % 6] for state in range(6)]
    assert equivalent_states(table, [0, 1] * 3) == [0, 1] * 3


def test_a_late_difference_is_carried_back_along_a_long_chain() -> None:
    length = 500
    table = [[min(state + 1, length - 1)] for state in range(length)]
    outputs = [0] * (length - 1) + [1]
    assert equivalent_states(table, outputs) == list(range(length))


def machine() -> cd.Automaton:
    return cd.Automaton.minimal(
        [[1, 0], [1, 2], [1, 0]], ["a", "b", "a"], ["up", "down"], [4, 5, 9]
    )


def test_members_name_the_nodes_behind_a_state() -> None:
    assert machine().members == ((4, 9), (5,))
    assert machine().table.tolist() == [[1, 0], [1, 0]]
    assert "0: output a, nodes 4, 9" in machine().summary()


def test_the_graph_of_a_machine_has_an_edge_for_every_symbol() -> None:
    graph = machine().graph
    assert graph.nodes[0] == {"output": "a", "members": "4,9"}
    edges = sorted(graph.edges(data="symbol"))
    assert edges == [(0, 0, "down"), (0, 1, "up"), (1, 0, "down"), (1, 1, "up")]


def test_words_that_the_machine_cannot_read_are_refused() -> None:
    with pytest.raises(ValueError, match=r"`word`.*'left'"):
        machine().run(0, ["up", "left"])
    with pytest.raises(ValueError, match="`start`"):
        machine().run(2, ["up"])


def test_outputs_are_written_as_bits_or_numbers() -> None:
    switch = cd.FunctionAdapter(lambda h, x: torch.tanh(2 * h + x), 1, 1)
    starts = torch.tensor([[-1.0], [1.0]], dtype=torch.float64)
    points = cd.find_fixed_points(switch, starts, torch.zeros(1, 1))
    linear = cd.linearize(switch, points)
    found = cd.find_transitions(switch, linear, {"up": torch.tensor([3.0])})
    bits = found.automaton(lambda h: torch.cat([h > 0, h < 0], dim=1))
    numbers = found.automaton(lambda h: torch.cat([h.round(), 12 * h], dim=1).int())
    assert bits.outputs == ("01", "10")
    assert numbers.outputs == ("-1,-11", "1,11")
