"""Graphs survive a round trip, and foreign files are refused in one sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import networkx as nx
import pytest
import torch

import captum_dynamics as cd
from captum_dynamics.export import from_graphml, from_json, to_graphml, to_json


def one(value: float) -> torch.Tensor:
    return torch.tensor([value], dtype=torch.float64)


@pytest.fixture(scope="module")
def graph() -> nx.MultiDiGraph:
    switch = cd.FunctionAdapter(lambda h, x: torch.tanh(2 * h), 1, 0)
    starts = torch.tensor([[-1.0], [0.1], [1.0]], dtype=torch.float64)
    none = torch.zeros(1, 0, dtype=torch.float64)
    points = cd.find_fixed_points(switch, starts, none)
    return cd.connect(switch, cd.linearize(switch, points)).graph


@pytest.fixture(scope="module")
def transitions() -> nx.MultiDiGraph:
    """Two symbols that change nothing, and one under which the state runs off."""
    cubic = cd.FunctionAdapter(lambda h, x: 0.5 * h + h**3 + x, 1, 1)
    points = cd.find_fixed_points(cubic, torch.zeros(1, 1), torch.zeros(1, 1))
    symbols = {
        name: torch.tensor([float(x)])
        for name, x in zip("abc", [0.1, 2, 0.2], strict=True)
    }
    linear = cd.linearize(cubic, points)
    return cd.find_transitions(cubic, linear, symbols, max_steps=64).graph


@pytest.mark.parametrize(
    ("write", "read"), [(to_graphml, from_graphml), (to_json, from_json)]
)
def test_a_transition_graph_survives_a_round_trip(
    transitions: nx.MultiDiGraph,
    write: Callable[[nx.MultiDiGraph, Path], None],
    read: Callable[[Path], nx.MultiDiGraph],
    tmp_path: Path,
) -> None:
    assert [key for *_, key in transitions.edges(keys=True)] == [0, 2, 1]
    write(transitions, tmp_path / "transitions")
    again = read(tmp_path / "transitions")
    assert nx.utils.graphs_equal(again, transitions)
    assert again.edges[0, 1, 1]["symbol"] == "b"
    assert again.edges[0, 1, 1]["verified"] is False


def test_graphml_round_trip_is_the_identity(
    graph: nx.MultiDiGraph, tmp_path: Path
) -> None:
    to_graphml(graph, tmp_path / "graph.graphml")
    assert nx.utils.graphs_equal(from_graphml(tmp_path / "graph.graphml"), graph)


def test_json_round_trip_is_the_identity(
    graph: nx.MultiDiGraph, tmp_path: Path
) -> None:
    to_json(graph, tmp_path / "graph.json")
    assert nx.utils.graphs_equal(from_json(tmp_path / "graph.json"), graph)


@pytest.mark.parametrize("read", [from_graphml, from_json])
@pytest.mark.parametrize("content", ["", "{", "[1, 2]", "<a/>", "<a", '{"graph": {}}'])
def test_foreign_files_are_refused(
    read: Callable[[Path], object], content: str, tmp_path: Path
) -> None:
    path = tmp_path / "foreign"
    path.write_text(content)
    with pytest.raises(cd.FileFormatError, match="foreign is not a"):
        read(path)
