"""Connections between saddles: each of them, once, and no other."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import networkx as nx
import pytest
import torch

import captum_dynamics as cd
from captum_dynamics.tasks.flipflop import flipflop_fixed_points, load_flipflop
from captum_dynamics.testing import systems
from captum_dynamics.testing.systems import KnownSystem

DATA = Path(__file__).parents[1] / "data"
SEED = torch.Generator().manual_seed(0)


def connected(system: KnownSystem) -> tuple[nx.MultiDiGraph, Counter[tuple[int, int]]]:
    """The graph of a known system, and its drop-one edges as rows of the system."""
    points = cd.find_fixed_points(system.dynamics, system.states, system.inputs)
    linear = cd.linearize(system.dynamics, points)
    graph = cd.connect(
        system.dynamics, linear, basin_samples=0, generator=SEED.clone_state()
    ).graph
    rows = torch.cdist(linear.points.states, system.states).argmin(1).tolist()
    return graph, Counter((rows[a], rows[b]) for a, b in drop_one(graph))


def drop_one(graph: nx.MultiDiGraph) -> list[tuple[int, int]]:
    return [
        (a, b)
        for a, b, data in graph.edges(data=True)
        if data["unstable_drop"] == 1 and data["verified"]
    ]


@pytest.mark.parametrize(
    ("system", "count"),
    [
        (systems.bistable(), 2),
        (systems.uncoupled_switches(2), 12),
        (systems.uncoupled_switches(3), 54),
        (systems.hopfield(), 12),
        (systems.perturbed_ring(), 6),
        (systems.coupled_switches(), 12),
    ],
    ids=["bistable", "square", "cube", "hopfield", "ring", "coupled"],
)
def test_edges_that_drop_one_dimension_are_those_of_algebra(
    system: KnownSystem, count: int
) -> None:
    _, edges = connected(system)
    assert edges == Counter(system.edges)
    assert edges.total() == count


def test_orbits_between_saddles_pass_close_and_say_so() -> None:
    graph, _ = connected(systems.uncoupled_switches(3))
    orbits = [d for *_, d in graph.edges(data=True) if d["kind"] == "connecting_orbit"]
    assert len(orbits) == 30
    assert all(data["verified"] and data["distance"] < 1e-4 for data in orbits)
    # A multiplier of 2 takes at least log2(1e5) steps from the first step to size one.
    assert all(data["transit_steps"] > 16 for data in orbits)


def test_families_of_orbits_lead_from_the_centre_to_edges_of_the_cube() -> None:
    graph, _ = connected(systems.uncoupled_switches(3))
    families = [
        (a, b, data["unstable_drop"])
        for a, b, data in graph.edges(data=True)
        if data["kind"] == "connecting_family"
    ]
    assert len({(a, b) for a, b, _ in families}) == len(families) == 12
    assert {drop for *_, drop in families} == {2}


def face(graph: nx.MultiDiGraph, node: int) -> set[int]:
    """The attractors that directions from a point were seen to go to."""
    dims = nx.get_node_attributes(graph, "unstable_dim")
    if dims[node] == 0:
        return {node}
    return {end for end in graph.successors(node) if dims[end] == 0}


@pytest.mark.parametrize("cell", ["gru", "tanh", "lstm", "relu"])
def test_a_flipflop_has_the_face_lattice_of_a_cube(cell: str) -> None:
    net = load_flipflop(DATA / f"flipflop_{cell}.safetensors")
    dynamics, points = flipflop_fixed_points(net)
    graph = cd.connect(
        dynamics,
        cd.linearize(dynamics, points),
        basin_samples=0,
        generator=SEED.clone_state(),
    ).graph
    dims = nx.get_node_attributes(graph, "unstable_dim")
    faces = {node: face(graph, node) for node in graph if dims[node] < 3}
    # Plain runs tell the corners of every face, and those tell which face is in which.
    assert all(len(corners) == 2 ** dims[node] for node, corners in faces.items())
    (centre,) = (node for node in graph if dims[node] == 3)
    faces[centre] = set.union(*faces.values())
    expected = {
        (p, q)
        for p in graph
        for q in graph
        if dims[p] - dims[q] == 1 and faces[q] < faces[p]
    }
    assert len(expected) == 54
    assert Counter(drop_one(graph)) == Counter(expected)
    assert {data["kind"] for _, data in graph.nodes(data=True)} == {"fixed_point"}
