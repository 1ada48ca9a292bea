"""The audit knows the homology of known spaces, and misses little of a cube."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import networkx as nx
import pytest
import torch

import captum_dynamics as cd
from captum_dynamics.completeness import assess_completeness
from captum_dynamics.testing import systems
from captum_dynamics.topology import AuditVerdict, audit_graph
from captum_dynamics.topology._homology import ChainComplex

# Minimal triangulations: the hollow tetrahedron, and the projective plane of 6 vertices
# (Kuehnel and Banchoff 1983 call its double cover's quotient RP^2_6).
SPHERE = ["012", "013", "023", "123"]
PROJECTIVE_PLANE = [
    "012", "023", "034", "045", "051", "124", "235", "341", "452", "513",
]  # fmt: skip


def graph_of(system: systems.KnownSystem) -> nx.MultiDiGraph:
    points = cd.find_fixed_points(system.dynamics, system.states, system.inputs)
    linear = cd.linearize(system.dynamics, points)
    generator = torch.Generator().manual_seed(0)
    return cd.connect(
        system.dynamics, linear, basin_samples=0, generator=generator
    ).graph


@pytest.fixture(scope="module")
def cube() -> nx.MultiDiGraph:
    """The graph of three uncoupled switches: the faces of a cube."""
    return graph_of(systems.uncoupled_switches(3))


def triangulated(facets: list[str]) -> ChainComplex:
    """The simplices of a triangulation as cells, numbered as they come."""
    simplices = sorted(
        {face for f in facets for n in (1, 2, 3) for face in map("".join, faces(f, n))},
        key=len,
    )
    rows = {simplex: row for row, simplex in enumerate(simplices)}
    return ChainComplex(
        [[rows[s] for s in simplices if len(s) == n] for n in (1, 2, 3)],
        {
            rows[s]: frozenset(
                rows["".join(face)] for face in faces(s, len(s) - 1) if face
            )
            for s in simplices
        },
    )


def faces(simplex: str, size: int) -> itertools.combinations[tuple[str, ...]]:
    return itertools.combinations("".join(sorted(simplex)), size)


@pytest.mark.parametrize(
    ("facets", "betti"), [(SPHERE, (1, 0, 1)), (PROJECTIVE_PLANE, (1, 1, 1))]
)
def test_betti_numbers_are_those_of_textbooks(
    facets: list[str], betti: tuple[int, ...]
) -> None:
    complex_ = triangulated(facets)
    assert complex_.gaps == ()
    assert complex_.betti == betti


@pytest.mark.parametrize(
    ("system", "cells", "betti"),
    [
        (systems.bistable(), (2, 1), (1, 0)),
        (systems.uncoupled_switches(2), (4, 4, 1), (1, 0, 0)),
        (systems.uncoupled_switches(3), (8, 12, 6, 1), (1, 0, 0, 0)),
        (systems.hopfield(), (4, 4, 1), (1, 0, 0)),
        (systems.coupled_switches(), (4, 4, 1), (1, 0, 0)),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_known_systems_have_the_homology_of_a_ball(
    system: systems.KnownSystem, cells: tuple[int, ...], betti: tuple[int, ...]
) -> None:
    audit = audit_graph(graph_of(system))
    assert (audit.cells, audit.betti, audit.gaps) == (cells, betti, ())
    assert audit.verdict is AuditVerdict.CONSISTENT


def test_without_any_one_node_the_cube_is_refuted(cube: nx.MultiDiGraph) -> None:
    verdicts = [audit_graph(without(cube, node)).verdict for node in range(27)]
    assert verdicts == [AuditVerdict.REFUTED] * 27


def test_without_two_nodes_the_cube_is_refuted_in_345_of_351_pairs(
    cube: nx.MultiDiGraph,
) -> None:
    pairs = itertools.combinations(range(27), 2)
    verdicts = [audit_graph(without(cube, *pair)).verdict for pair in pairs]
    assert len(verdicts) == 351
    assert verdicts.count(AuditVerdict.REFUTED) >= 345


def test_without_any_one_drop_one_edge_the_cube_is_refuted(
    cube: nx.MultiDiGraph,
) -> None:
    edges = [e for e in cube.edges(keys=True) if cube.edges[e]["unstable_drop"] == 1]
    assert len(edges) == 54
    for edge in edges:
        less = cube.copy()
        less.remove_edge(*edge)
        assert audit_graph(less).verdict is AuditVerdict.REFUTED


def test_two_orbits_between_the_same_points_cancel(cube: nx.MultiDiGraph) -> None:
    more = cube.copy()
    edge = next(e for e in more.edges(data=True) if e[2]["unstable_drop"] == 1)
    more.add_edge(edge[0], edge[1], **edge[2])
    assert audit_graph(more).verdict is AuditVerdict.REFUTED
    more.add_edge(edge[0], edge[1], **edge[2])
    assert audit_graph(more).verdict is AuditVerdict.CONSISTENT


def test_an_unverified_edge_does_not_count(cube: nx.MultiDiGraph) -> None:
    less = cube.copy()
    edge = next(e for e in less.edges(keys=True) if less.edges[e]["unstable_drop"] == 1)
    less.edges[edge]["verified"] = False
    audit = audit_graph(less)
    assert (audit.unverified, audit.verdict) == (1, AuditVerdict.REFUTED)
    assert "1 connections not verified" in audit.summary()


def test_the_gaps_stand_around_the_node_that_is_missing(cube: nx.MultiDiGraph) -> None:
    dims = nx.get_node_attributes(cube, "unstable_dim")
    missing = next(node for node, dim in dims.items() if dim == 1)
    drop_one = nx.MultiDiGraph(
        (a, b) for a, b, drop in cube.edges(data="unstable_drop") if drop == 1
    )
    expected = itertools.product(
        drop_one.predecessors(missing), drop_one.successors(missing)
    )
    audit = audit_graph(without(cube, missing))
    assert set(audit.gaps) == set(expected)
    assert set(audit.suspects) == set(nx.all_neighbors(drop_one, missing))
    assert "is missing between" in audit.summary()


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (systems.spiral, "node 1 is a cycle"),
        (systems.flip, "node 0 has a multiplier below -1"),
        (systems.perturbed_ring, "no box is known"),
        (systems.pitchfork, "node 0 is degenerate or marginal"),
        (systems.threshold_linear, "node 2 has a multiplier below -1"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_where_the_rules_do_not_hold_it_says_why(
    make: Callable[[], systems.KnownSystem], reason: str
) -> None:
    audit = audit_graph(graph_of(make()))
    assert audit.verdict is AuditVerdict.NOT_APPLICABLE
    assert reason in audit.summary()


def test_a_report_that_refutes_the_points_refutes_the_graph() -> None:
    system = systems.bistable()
    points = cd.find_fixed_points(system.dynamics, system.states, system.inputs)
    (report,) = assess_completeness(
        system.dynamics,
        points[1:],
        system.inputs,
        endings=torch.tensor([[2, 0, 0, 0]]),
        saturated=torch.tensor([False]),
    )
    audit = audit_graph(graph_of(system), report)
    assert audit.completeness is report
    assert audit.verdict is AuditVerdict.REFUTED
    assert "do not add up to 1" in audit.summary()


def test_a_graph_without_fixed_points_has_nothing_to_audit() -> None:
    assert "there is no fixed point" in audit_graph(nx.MultiDiGraph()).summary()


def test_the_summary_of_a_graph_ends_with_its_audit() -> None:
    system = systems.bistable()
    points = cd.find_fixed_points(system.dynamics, system.states, system.inputs)
    graph = cd.connect(system.dynamics, cd.linearize(system.dynamics, points))
    assert graph.summary().splitlines()[-1].strip() == graph.audit.summary()


def without(graph: nx.MultiDiGraph, *nodes: int) -> nx.MultiDiGraph:
    less = graph.copy()
    less.remove_nodes_from(nodes)
    return less
