"""A part of a graph is a graph: rows, numbers and edges still belong together."""

from __future__ import annotations

import math

import networkx as nx
import pytest
import torch

import captum_dynamics as cd
from captum_dynamics.testing.systems import (
    KnownSystem,
    ring,
    spiral,
    uncoupled_switches,
)
from captum_dynamics.topology import AuditVerdict, select_nodes


def connected(system: KnownSystem) -> cd.FixedPointGraph:
    points = cd.find_fixed_points(system.dynamics, system.states, system.inputs)
    linear = cd.linearize(system.dynamics, points)
    return cd.connect(system.dynamics, linear, basin_samples=0, max_steps=500)


@pytest.fixture(scope="module")
def square() -> cd.FixedPointGraph:
    return connected(uncoupled_switches(2))


def test_nodes_stay_rows_of_the_linearization(square: cd.FixedPointGraph) -> None:
    part = select_nodes(square, {8, 0, 4})
    assert dict(part.graph.nodes(data="origin")) == {0: 0, 1: 4, 2: 8}
    for node, origin in part.graph.nodes(data="origin"):
        old, new = square.linearization, part.linearization
        assert torch.equal(new.points.states[node], old.points.states[origin])
        assert torch.equal(new.jacobians[node], old.jacobians[origin])
        assert torch.equal(new.eigenvalues[node], old.eigenvalues[origin])
        assert new.unstable_dims[node] == part.graph.nodes[node]["unstable_dim"]
    assert len(part.linearization.condition) == len(part.linearization.points) == 3


def test_edges_are_those_of_the_induced_subgraph(square: cd.FixedPointGraph) -> None:
    kept = [node for node, dim in square.graph.nodes(data="unstable_dim") if dim < 2]
    part = select_nodes(square, kept)
    induced = square.graph.subgraph(kept)
    again = nx.relabel_nodes(part.graph, dict(part.graph.nodes(data="origin")))
    assert set(again.edges(keys=True)) == set(induced.edges(keys=True))
    for edge in induced.edges(keys=True):
        assert again.edges[edge] == induced.edges[edge]
    assert len(induced.edges) == 8


def test_a_part_of_a_part_remembers_where_it_came_from(
    square: cd.FixedPointGraph,
) -> None:
    part = select_nodes(select_nodes(square, range(3, 9)), [0, 5])
    assert [origin for _, origin in part.graph.nodes(data="origin")] == [3, 8]


def test_coordinates_are_principal_components_of_what_is_left(
    square: cd.FixedPointGraph,
) -> None:
    states = square.linearization.points.states
    part = select_nodes(square, [0, 8])
    nodes = part.graph.nodes
    gap = math.hypot(
        nodes[0]["x"] - nodes[1]["x"],
        nodes[0]["y"] - nodes[1]["y"],
    )
    assert gap == pytest.approx(float((states[0] - states[8]).norm()))
    assert nodes[0]["y"] == pytest.approx(0)


def test_the_whole_graph_keeps_its_verdict_and_a_part_has_none(
    square: cd.FixedPointGraph,
) -> None:
    whole = select_nodes(square, range(9))
    assert whole.audit.verdict is AuditVerdict.CONSISTENT
    part = select_nodes(square, range(8))
    assert "a part of another" in part.audit.summary()
    assert square.audit.verdict is AuditVerdict.CONSISTENT
    assert "origin" not in square.graph.nodes[0]


def test_a_cycle_stays_with_its_source() -> None:
    system = spiral()
    points = cd.find_fixed_points(system.dynamics, system.states, system.inputs)
    graph = cd.connect(system.dynamics, cd.linearize(system.dynamics, points))
    (cycle,) = [n for n, kind in graph.graph.nodes(data="kind") if kind == "cycle"]
    part = select_nodes(graph, [0])
    assert part.graph.nodes[1]["kind"] == "cycle"
    assert part.graph.nodes[1]["origin"] == cycle
    assert list(part.graph.edges()) == [(0, 1)]
    assert part.endings == graph.endings


def test_a_continuum_keeps_its_sample_under_its_new_number() -> None:
    system = ring()
    angles = torch.linspace(0, 6, 60, dtype=torch.float64)
    states = torch.stack([angles.cos(), angles.sin()], 1)
    states = torch.cat([torch.zeros(1, 2, dtype=torch.float64), states])
    points = cd.find_fixed_points(system.dynamics, states, system.inputs).unique()
    graph = cd.connect(system.dynamics, cd.linearize(system.dynamics, points))
    (continuum,) = graph.continua
    part = select_nodes(graph, [continuum.node])
    assert part.continua[0].node == 0
    assert part.continua[0].points is continuum.points


@pytest.mark.parametrize(
    ("nodes", "complaint"),
    [([0, 99], r"`nodes` to be nodes of the graph, got \[99\]"), ([], "at least one")],
)
def test_nodes_that_are_none_are_refused(
    square: cd.FixedPointGraph, nodes: list[int], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        select_nodes(square, nodes)
