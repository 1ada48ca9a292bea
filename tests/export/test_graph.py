"""Graphs survive a round trip, and foreign files are refused in one sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import networkx as nx
import pytest
import torch

import captum_dynamics as cd
from captum_dynamics.export import from_graphml, from_json, to_graphml, to_json


@pytest.fixture(scope="module")
def graph() -> nx.MultiDiGraph:
    switch = cd.FunctionAdapter(lambda h, x: torch.tanh(2 * h), 1, 0)
    starts = torch.tensor([[-1.0], [0.1], [1.0]], dtype=torch.float64)
    none = torch.zeros(1, 0, dtype=torch.float64)
    points = cd.find_fixed_points(switch, starts, none)
    return cd.connect(switch, cd.linearize(switch, points)).graph


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
