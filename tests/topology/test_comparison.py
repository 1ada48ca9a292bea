"""Graphs are compared by points and connections, whatever their numbers and places."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import captum_dynamics as cd
from captum_dynamics.tasks.flipflop import flipflop_fixed_points, load_flipflop
from captum_dynamics.testing import systems
from captum_dynamics.testing.systems import KnownSystem
from captum_dynamics.topology import compare_graphs, graph_distances, select_nodes

DATA = Path(__file__).parents[1] / "data"


def written(
    labels: Iterable[int], edges: Iterable[tuple[int, int]]
) -> nx.MultiDiGraph[int]:
    """A graph with these unstable dimensions, and verified edges that drop one."""
    graph = nx.MultiDiGraph()
    for node, dim in enumerate(labels):
        graph.add_node(node, kind="fixed_point", unstable_dim=dim)
    for source, target in edges:
        graph.add_edge(source, target, unstable_drop=1, verified=True)
    return graph


def known(system: KnownSystem) -> nx.MultiDiGraph[int]:
    return written(system.unstable_dims.tolist(), system.edges)


def renumbered(graph: nx.MultiDiGraph[int], order: list[int]) -> nx.MultiDiGraph[int]:
    """The same graph, its nodes put in another order and numbered anew."""
    shuffled = nx.MultiDiGraph()
    shuffled.add_nodes_from((order[n], d) for n, d in graph.nodes(data=True))
    shuffled.add_edges_from(
        (order[a], order[b], d) for a, b, d in graph.edges(data=True)
    )
    return shuffled


CUBE = known(systems.uncoupled_switches(3))


@cache
def flipflop(cell: str) -> cd.FixedPointGraph:
    dynamics, points = flipflop_fixed_points(
        load_flipflop(DATA / f"flipflop_{cell}.safetensors")
    )
    generator = torch.Generator().manual_seed(0)
    linear = cd.linearize(dynamics, points)
    return cd.connect(dynamics, linear, basin_samples=0, generator=generator)


@pytest.mark.parametrize("cell", ["gru", "tanh"])
def test_trained_flipflops_have_the_graph_of_the_cube(cell: str) -> None:
    found = compare_graphs(flipflop(cell).graph, CUBE)
    assert found.isomorphic
    assert found.connections == (54, 54)
    assert found.summary() == "isomorphic: 27 points, 54 connections in both"


def test_two_trained_architectures_are_isomorphic_node_by_node() -> None:
    first, second = flipflop("gru").graph, flipflop("tanh").graph
    found = compare_graphs(first, second)
    assert found.isomorphic
    assert sorted(found.mapping) == sorted(found.mapping.values()) == list(range(27))
    assert (found.edit_lower, found.edit_upper) == (0, 0)
    assert found.spectral_distance == pytest.approx(0, abs=1e-12)
    for node, image in found.mapping.items():
        dims = first.nodes[node]["unstable_dim"], second.nodes[image]["unstable_dim"]
        assert dims[0] == dims[1]
    assert {(found.mapping[a], found.mapping[b]) for a, b in singles(first)} == set(
        singles(second)
    )


def singles(graph: nx.MultiDiGraph[int]) -> list[tuple[int, int]]:
    return [(a, b) for a, b, drop in graph.edges(data="unstable_drop") if drop == 1]


def test_a_net_with_two_points_less_is_as_far_as_they_had_connections() -> None:
    whole = flipflop("gru")
    by_dim = dict(whole.graph.nodes(data="unstable_dim"))
    corner = next(node for node, dim in by_dim.items() if dim == 0)
    edge = next(
        node
        for node, dim in by_dim.items()
        if dim == 1 and corner not in whole.graph.successors(node)
    )
    part = select_nodes(whole, set(range(27)) - {corner, edge})
    found = compare_graphs(whole.graph, part.graph)
    # A corner of the cube has 3 edges; an edge 2 corners and 2 faces.
    assert not found.isomorphic
    assert found.points == (27, 25)
    assert (found.edit_lower, found.edit_upper) == (9, 9)
    assert found.edit_exact
    assert len(found.only_first) == 2
    assert found.only_second == ()
    assert found.spectral_distance > 0.1
    assert "27 and 25 points, 54 and 47 connections; edit distance 9" in found.summary()


@given(st.permutations(range(27)), st.sets(st.integers(0, 26), min_size=1, max_size=4))
def test_missing_nodes_of_a_renumbered_cube_are_counted_with_their_edges(
    order: list[int], lost: set[int]
) -> None:
    rest = CUBE.copy()
    rest.remove_nodes_from(lost)
    found = compare_graphs(CUBE, renumbered(rest, order))
    gone = len(lost) + len(CUBE.edges) - len(rest.edges)
    assert (found.edit_lower, found.edit_upper) == (gone, gone)


@st.composite
def small_graphs(draw: st.DrawFn) -> nx.MultiDiGraph[int]:
    labels = draw(st.lists(st.integers(0, 2), min_size=1, max_size=4))
    pairs = [(a, b) for a in range(len(labels)) for b in range(len(labels)) if a != b]
    # Parallel orbits between the same points are two connections.
    edges = draw(st.lists(st.sampled_from(pairs), max_size=6)) if pairs else []
    return written(labels, edges)


def networkx_distance(
    first: nx.MultiDiGraph[int], second: nx.MultiDiGraph[int]
) -> float:
    """The edit distance where every parallel edge costs 1, by exhaustive search."""
    merged = []
    for graph in (first, second):
        plain = nx.DiGraph()
        plain.add_nodes_from(graph.nodes(data=True))
        for a, b in graph.edges():
            plain.add_edge(a, b, count=graph.number_of_edges(a, b))
        merged.append(plain)
    distance: float = nx.graph_edit_distance(
        *merged,
        node_match=lambda a, b: a["unstable_dim"] == b["unstable_dim"],
        edge_subst_cost=lambda a, b: abs(a["count"] - b["count"]),
        edge_del_cost=lambda a: a["count"],
        edge_ins_cost=lambda a: a["count"],
    )
    return distance


@given(small_graphs(), small_graphs())
def test_the_edit_distance_of_small_graphs_is_exact(
    first: nx.MultiDiGraph[int], second: nx.MultiDiGraph[int]
) -> None:
    found = compare_graphs(first, second)
    assert found.edit_exact
    assert found.edit_upper == networkx_distance(first, second)
    assert found.isomorphic == (found.edit_upper == 0)


@given(small_graphs(), small_graphs())
def test_bounds_hold_without_an_exhaustive_search(
    first: nx.MultiDiGraph[int], second: nx.MultiDiGraph[int]
) -> None:
    found = compare_graphs(first, second, time_limit=1e-9)
    distance = networkx_distance(first, second)
    assert found.edit_lower <= distance <= found.edit_upper


def ring(*lengths: int) -> nx.MultiDiGraph[int]:
    """Rings of attractors with saddles between them."""
    labels: list[int] = []
    edges = []
    for length in lengths:
        first = len(labels)
        for step in range(length):
            saddle = first + 2 * step
            labels += [1, 0]
            edges += [
                (saddle, saddle + 1),
                (saddle, first + (2 * step - 1) % (2 * length)),
            ]
    return written(labels, edges)


def test_one_ring_is_not_two_though_every_node_looks_the_same() -> None:
    found = compare_graphs(ring(4), ring(2, 2))
    assert not found.isomorphic
    # Two edges are taken away, and two put in.
    assert (found.edit_lower, found.edit_upper) == (4, 4)
    assert found.spectral_distance > 0.01


def test_bounds_that_do_not_meet_are_said_to_be_bounds() -> None:
    found = compare_graphs(ring(8), ring(4, 4))
    assert not found.edit_exact
    assert (found.edit_lower, found.edit_upper) == (1, 4)
    assert "edit distance between 1 and 4" in found.summary()


def test_direction_and_number_of_connections_matter() -> None:
    one = written([1, 0], [(0, 1)])
    assert compare_graphs(one, written([1, 0], [(1, 0)])).edit_upper == 2
    twice = compare_graphs(one, written([1, 0], [(0, 1), (0, 1)]))
    assert not twice.isomorphic
    assert twice.edit_upper == 1
    assert compare_graphs(one, written([1, 1], [(0, 1)])).edit_upper == 1


def test_the_mapping_keeps_labels_and_numbers_of_connections() -> None:
    apart = compare_graphs(written([1, 0], []), written([0, 1], []))
    assert apart.mapping == {0: 1, 1: 0}
    # A ring whose edges are single and double in turn, and the same one step further.
    first = ring(4)
    second = renumbered(first, [(node + 2) % 8 for node in range(8)])
    for graph, double in ((first, 0), (second, 1)):
        for saddle in range(0, 8, 2):
            end = (saddle + 1) if double == 0 else (saddle - 1) % 8
            graph.add_edge(saddle, end, unstable_drop=1, verified=True)
    mapping = compare_graphs(first, second).mapping
    for a, b in first.edges():
        count = second.number_of_edges(mapping[a], mapping[b])
        assert count == first.number_of_edges(a, b)


def test_what_depends_on_the_search_does_not_count() -> None:
    plain = written([2, 1, 0], [(0, 1), (1, 2)])
    more = plain.copy()
    more.add_node(3, kind="unresolved", unstable_dim=-1)
    more.add_node(4, kind="slow_point", unstable_dim=0)
    more.add_edge(0, 3, unstable_drop=1, verified=False)
    more.add_edge(1, 4, unstable_drop=1, verified=True)
    more.add_edge(0, 2, unstable_drop=2, verified=True)
    more.add_edge(0, 1, unstable_drop=1, verified=False)
    found = compare_graphs(plain, more)
    assert found.isomorphic
    assert (found.points, found.connections) == ((3, 3), (2, 2))


def test_cycles_are_no_points() -> None:
    cycle = written([0], [])
    cycle.nodes[0]["kind"] = "cycle"
    found = compare_graphs(written([0], []), cycle)
    assert (found.isomorphic, found.edit_upper) == (False, 1)


def test_empty_graphs_are_isomorphic_and_every_node_is_an_edit() -> None:
    empty = nx.MultiDiGraph()
    assert compare_graphs(empty, empty).isomorphic
    found = compare_graphs(empty, CUBE)
    assert found.edit_upper == found.edit_lower == 27 + 54
    assert found.only_second == tuple(range(27))


def test_heat_traces_add_up_to_that_of_the_laplacian_of_networkx() -> None:
    graph = known(systems.hopfield())
    values = nx.normalized_laplacian_spectrum(nx.Graph(graph))
    expected = np.exp(-np.outer(values, np.logspace(-2, 2, 250))).sum(0)
    # All with one label, against nothing: the distance is the norm of the trace.
    alike = written([0] * 9, graph.edges())
    distances = graph_distances([alike, nx.MultiDiGraph()])
    assert float(distances[0, 1]) == pytest.approx(np.sqrt((expected**2).mean()))


@given(st.lists(small_graphs(), min_size=3, max_size=3), st.randoms())
def test_spectral_distances_are_metric_and_blind_to_numbers(
    graphs: list[nx.MultiDiGraph[int]], random: object
) -> None:
    order = list(range(len(graphs[0])))
    random.shuffle(order)  # type: ignore[attr-defined]
    distances = graph_distances([*graphs, renumbered(graphs[0], order)])
    assert torch.equal(distances, distances.T)
    assert distances.diagonal().tolist() == [0] * 4
    assert float(distances[0, 3]) < 1e-12
    assert distances[0, 1] <= distances[0, 2] + distances[2, 1] + 1e-12
    found = compare_graphs(graphs[0], graphs[1]).spectral_distance
    assert float(distances[0, 1]) == pytest.approx(found)


def test_stability_is_heard_where_the_shape_is_the_same() -> None:
    up, down = (
        written([1, 0, 0], [(0, 1), (0, 2)]),
        written([1, 1, 0], [(0, 2), (1, 2)]),
    )
    assert float(graph_distances([up, down])[0, 1]) > 0.1


def test_a_large_comparison_leaves_the_recursion_limit_as_it_was() -> None:
    before = sys.getrecursionlimit()
    many = written([0] * (before * 7 // 10), [])
    assert compare_graphs(many, many).isomorphic
    assert sys.getrecursionlimit() == before


@pytest.mark.misuse
def test_a_result_in_place_of_its_graph_is_refused() -> None:
    with pytest.raises(TypeError, match=r"`second` to be a networkx MultiDiGraph"):
        compare_graphs(CUBE, flipflop("gru"))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"`graphs\[0\]` to be a networkx"):
        graph_distances([flipflop("gru")])  # type: ignore[list-item]


def test_a_time_limit_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="`time_limit` to be positive"):
        compare_graphs(CUBE, CUBE, time_limit=0)
