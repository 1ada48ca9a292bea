"""Connections between saddles: each of them, once, and no other."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

import captum_dynamics as cd
from captum_dynamics.tasks.flipflop import flipflop_fixed_points, load_flipflop
from captum_dynamics.testing import systems
from captum_dynamics.testing.systems import KnownSystem
from captum_dynamics.topology import AuditVerdict
from captum_dynamics.topology._attracting import attracting_sets
from captum_dynamics.topology._deadline import Deadline
from captum_dynamics.topology._flow import Flow
from captum_dynamics.topology._landing import land
from captum_dynamics.topology._saddle import Saddle, saddle

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
    # The centre leads to all twelve; which of them a sample shows depends on the draw.
    assert len({(a, b) for a, b, _ in families}) == len(families)
    assert 8 <= len(families) <= 12
    assert {drop for *_, drop in families} == {2}


def tilted_rings() -> tuple[cd.DynamicsMap, torch.Tensor]:
    """Two rings side by side, each with one attractor and, opposite, one saddle.

    Together they are a torus: two ways lead around each ring from saddle to attractor.
    """
    tilt = torch.tensor([0.15, 0.0], dtype=torch.float64)

    def one(h: torch.Tensor) -> torch.Tensor:
        return h * (1.5 - 0.5 * h.square().sum(1, keepdim=True)) + tilt

    dynamics = cd.FunctionAdapter(
        lambda h, x: torch.cat([one(h[:, :2]), one(h[:, 2:])], 1),
        4,
        0,
        box=(-1.2 * torch.ones(4), 1.2 * torch.ones(4)),
    )
    # On the axis r / 2 - r^3 / 2 + tilt = 0; the root between these is the origin's.
    low, _, high = sorted(np.roots([-0.5, 0.0, 0.5, 0.15]).real)
    states = [[a, 0.0, b, 0.0] for a in (low, high) for b in (low, high)]
    return dynamics, torch.tensor(states, dtype=torch.float64)


def test_two_orbits_between_the_same_points_are_two_edges() -> None:
    dynamics, states = tilted_rings()
    points = cd.find_fixed_points(dynamics, states, torch.zeros(1, 0))
    linear = cd.linearize(dynamics, points)
    assert linear.unstable_dims.tolist() == [2, 1, 1, 0]
    graph = cd.connect(dynamics, linear, basin_samples=0, searches=0)
    pairs = [(0, 1), (0, 2), (1, 3), (2, 3)]
    assert Counter(drop_one(graph.graph)) == Counter(2 * pairs)
    # The homology is that of a torus. The sources inside of the rings are missing, so
    # that it is not that of a ball.
    assert graph.audit.betti == (1, 2, 1)
    assert graph.audit.verdict is AuditVerdict.REFUTED


def test_a_border_that_comes_to_no_known_saddle_is_shown() -> None:
    system = systems.uncoupled_switches(2)
    gone = int(torch.nonzero(system.unstable_dims == 1)[-1, 0])
    kept = system.states[torch.arange(9) != gone]
    points = cd.find_fixed_points(system.dynamics, kept, system.inputs)
    graph = cd.connect(
        system.dynamics,
        cd.linearize(system.dynamics, points),
        basin_samples=0,
        searches=0,
    )
    (border,) = (
        (a, b, data)
        for a, b, data in graph.graph.edges(data=True)
        if data["kind"] == "border"
    )
    assert graph.graph.nodes[border[0]]["unstable_dim"] == 2
    assert not border[2]["verified"]
    assert f"-> {border[1]} (no known saddle): the border" in graph.summary()
    assert "is no known point" in graph.audit.summary()


def slow_saddle() -> tuple[Flow, Saddle]:
    """Multipliers 1.3 and .995: rounding grows before the slow mode decays."""
    rates = torch.tensor([1.3, 0.995], dtype=torch.float64)
    dynamics = cd.FunctionAdapter(lambda h, x: h * rates, 2, 0)
    start = torch.full((1, 2), 1e-3, dtype=torch.float64)
    points = cd.find_fixed_points(dynamics, start, torch.zeros(1, 0))
    linear = cd.linearize(dynamics, points)
    flow = Flow(
        dynamics, points.inputs[0], attracting_sets(linear, (), ()), 100, Deadline()
    )
    return flow, saddle(cd.linearize(dynamics, points), 0)


def test_landing_follows_a_slow_stable_manifold_to_its_end() -> None:
    flow, end = slow_saddle()
    state = torch.tensor([[1e-7, 9e-3]], dtype=torch.float64)
    distances, steps = land(flow, state, [end])
    assert float(distances[0]) <= 1e-4
    # The slow part decays from 9e-3 to 1e-4, whatever becomes of the other.
    assert int(steps[0]) == math.ceil(math.log(1e-4 / 9e-3) / math.log(0.995))


def test_landing_refuses_a_state_that_leaves_along_the_unstable_mode() -> None:
    flow, end = slow_saddle()
    state = torch.tensor([[1e-3, 9e-3]], dtype=torch.float64)
    distances, _ = land(flow, state, [end])
    assert float(distances[0]) > 1e-4


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


def test_a_flipflop_with_slow_saddles_has_them_connected_as_a_cube() -> None:
    net = load_flipflop(DATA / "flipflop_gru_slow.safetensors")
    dynamics, points = flipflop_fixed_points(net)
    linear = cd.linearize(dynamics, points)
    dims = linear.unstable_dims
    # What the net reads out tells the three bits of every point, 0 where undecided.
    decoded = net.readout(points.states.float()).detach()
    words: dict[int, tuple[int, ...]] = {}
    for dim in range(4):
        rows = torch.nonzero(dims == dim)[:, 0]
        cell = [w for w in itertools.product((-1, 0, 1), repeat=3) if w.count(0) == dim]
        costs = torch.cdist(decoded[rows], torch.tensor(cell).float())
        for point, place in zip(*linear_sum_assignment(costs), strict=True):
            words[int(rows[point])] = cell[place]
    expected = {
        (p, q)
        for p, q in itertools.permutations(words, 2)
        if dims[p] - dims[q] == 1
        and all(a in (0, b) for a, b in zip(words[p], words[q], strict=True))
    }
    assert len(expected) == 54
    graph = cd.connect(dynamics, linear, basin_samples=0, generator=SEED.clone_state())
    assert Counter(drop_one(graph.graph)) == Counter(expected)
    assert graph.audit.betti == (1, 0, 0, 0)
