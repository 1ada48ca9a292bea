"""GEXF keeps a graph as it is, whatever plain attributes it carries."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import networkx as nx
import pytest
from hypothesis import given
from hypothesis import strategies as st

import captum_dynamics as cd
from captum_dynamics.export import from_gexf, to_gexf
from captum_dynamics.testing.systems import uncoupled_switches

# XML has no word for control characters and surrogates.
text = st.text(st.characters(min_codepoint=32, exclude_categories=["Cs", "Cc"])).filter(
    lambda value: "￾" not in value and "￿" not in value
)
columns = {
    "flag": st.booleans(),
    "count": st.integers(),
    "size": st.floats(allow_nan=False, allow_infinity=False),
    "name": text,
}
attributes = st.fixed_dictionaries({}, optional=columns)


@st.composite
def graphs(draw: st.DrawFn) -> nx.MultiDiGraph:
    graph = nx.MultiDiGraph(**draw(attributes))
    for node in range(draw(st.integers(0, 4))):
        graph.add_node(node, **draw(attributes))
    for _ in range(draw(st.integers(0, 6)) if len(graph) else 0):
        ends = draw(st.tuples(*[st.sampled_from(sorted(graph))] * 2))
        graph.add_edge(*ends, key=draw(st.integers(0, 3)), **draw(attributes))
    return graph


def again(graph: nx.MultiDiGraph) -> nx.MultiDiGraph:
    with TemporaryDirectory() as folder:
        to_gexf(graph, Path(folder) / "graph.gexf")
        return from_gexf(Path(folder) / "graph.gexf")


def typed(graph: nx.MultiDiGraph) -> list[Any]:
    """Everything in a graph with its type: True is not 1, and 1 is not 1.0."""
    data = [graph.graph, *(d for _, d in graph.nodes(data=True))]
    data += [graph.edges[edge] for edge in sorted(graph.edges(keys=True))]
    return [{name: (type(v), v) for name, v in d.items()} for d in data]


@given(graphs())
def test_a_round_trip_is_the_identity(graph: nx.MultiDiGraph) -> None:
    before = graph.copy()
    read = again(graph)
    assert nx.utils.graphs_equal(read, graph)
    assert typed(read) == typed(graph)
    assert nx.utils.graphs_equal(graph, before)


def test_a_connected_graph_survives_a_round_trip() -> None:
    system = uncoupled_switches(2)
    points = cd.find_fixed_points(system.dynamics, system.states, system.inputs)
    graph = cd.connect(system.dynamics, cd.linearize(system.dynamics, points)).graph
    assert "index_rule" in graph.graph
    assert nx.utils.graphs_equal(again(graph), graph)


def test_any_reader_of_gexf_finds_the_attributes(tmp_path: Path) -> None:
    graph = nx.MultiDiGraph()
    graph.add_node(0, kind="fixed_point", unstable_dim=1, degenerate=False)
    graph.add_node(1, kind="fixed_point", unstable_dim=0, degenerate=True)
    graph.add_edge(0, 1, transit_steps=7, distance=1e-5)
    to_gexf(graph, tmp_path / "graph.gexf")
    read = nx.read_gexf(tmp_path / "graph.gexf")
    for node in graph:
        assert read.nodes[str(node)].items() >= graph.nodes[node].items()
    assert read.edges["0", "1"].items() >= graph.edges[0, 1, 0].items()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_refused(value: float, tmp_path: Path) -> None:
    graph = nx.MultiDiGraph()
    graph.add_node(0, size=value)
    with pytest.raises(ValueError, match="not JSON compliant"):
        to_gexf(graph, tmp_path / "graph.gexf")


def test_a_name_that_gexf_uses_itself_is_refused(tmp_path: Path) -> None:
    graph = nx.MultiDiGraph()
    graph.add_node(0, label="a")
    with pytest.raises(ValueError, match=r"nodes in `graph` .* got 'label'; rename it"):
        to_gexf(graph, tmp_path / "graph.gexf")


def test_an_attribute_of_two_types_is_refused(tmp_path: Path) -> None:
    graph = nx.MultiDiGraph()
    graph.add_node(0, size=1)
    graph.add_node(1, size=1.5)
    with pytest.raises(TypeError, match=r"'size' of nodes in `graph`.*int and float"):
        to_gexf(graph, tmp_path / "graph.gexf")


@pytest.mark.parametrize("content", ["", "{", "[1, 2]", "<a/>", "<a", '{"graph": {}}'])
def test_foreign_files_are_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "foreign"
    path.write_text(content)
    with pytest.raises(cd.FileFormatError, match="foreign is not a GEXF graph"):
        from_gexf(path)


def test_gexf_of_others_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "foreign"
    nx.write_gexf(nx.path_graph(3), path)
    with pytest.raises(cd.FileFormatError, match="no description"):
        from_gexf(path)
