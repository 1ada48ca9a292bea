"""The graph of fixed points, against systems whose graph is known exactly."""

from __future__ import annotations

import math
from pathlib import Path

import networkx as nx
import pytest
import torch

import captum_dynamics as cd
from captum_dynamics.export import from_graphml, from_json, to_graphml, to_json
from captum_dynamics.tasks.flipflop import load_flipflop
from captum_dynamics.topology._unstable import sphere, unstable_frame

DATA = Path(__file__).parents[1] / "data"


def switches(n: int) -> cd.FunctionAdapter:
    """T2: n uncoupled h' = tanh(2 h), 3^n fixed points."""
    return cd.FunctionAdapter(lambda h, x: torch.tanh(2 * h), n, 0)


def found(dynamics: cd.DynamicsMap, starts: torch.Tensor) -> cd.Linearization:
    none = torch.zeros(1, dynamics.input_dim, dtype=torch.float64)
    points = cd.find_fixed_points(dynamics, starts, none).unique()
    return cd.linearize(dynamics, points[points.kind == cd.Kind.FIXED])


def grid(n: int) -> torch.Tensor:
    axis = torch.tensor([-1.0, 0.05, 1.0], dtype=torch.float64)
    return torch.cartesian_prod(*[axis] * n).reshape(-1, n)


@pytest.mark.misuse
def test_points_that_are_not_linearized_are_refused() -> None:
    points = found(switches(1), grid(1)).points
    with pytest.raises(TypeError, match=r"`linearization`.*linearize.*FixedPoints"):
        cd.connect(switches(1), points)  # type: ignore[arg-type]


def test_saddle_of_a_bistable_switch_sends_one_branch_to_each_attractor() -> None:
    dynamics = switches(1)
    linear = found(dynamics, grid(1))
    graph = cd.connect(dynamics, linear).graph
    (saddle,) = [n for n, d in graph.nodes(data="unstable_dim") if d == 1]
    ends = {float(linear.points.states[t]) for _, t in graph.out_edges(saddle)}
    assert sorted(round(end, 6) for end in ends) == [-0.957504, 0.957504]
    assert {data["side"] for *_, data in graph.edges(data=True)} == {-1, 1}


@pytest.mark.parametrize(("n", "edges"), [(2, 8), (3, 24)])
def test_edges_of_uncoupled_switches_are_edges_of_the_cube(n: int, edges: int) -> None:
    dynamics = switches(n)
    linear = found(dynamics, grid(n))
    graph = cd.connect(dynamics, linear).graph
    branches = [
        (source, target)
        for source, target, data in graph.edges(data=True)
        if data["kind"] == "unstable_branch"
    ]
    assert len(branches) == edges
    signs = linear.points.states.round()
    for source, target in branches:
        # A branch decides exactly the one switch that its saddle left open.
        assert int((signs[source] != signs[target]).sum()) == 1


def test_weak_and_strong_directions_reach_all_attractors_of_t12() -> None:
    weights = torch.tensor([[1.6, -0.3], [-0.3, 1.6]], dtype=torch.float64)
    dynamics = cd.FunctionAdapter(lambda h, x: torch.tanh(h @ weights), 2, 0)
    linear = found(dynamics, grid(2) * 0.9 + 0.01)
    assert linear.unstable_dims.bincount().tolist() == [4, 4, 1]
    graph = cd.connect(dynamics, linear)
    (origin,) = [n for n, d in graph.graph.nodes(data="unstable_dim") if d == 2]
    reached = {target for _, target in graph.graph.out_edges(origin)}
    assert reached >= set(graph.attractors)
    assert len(graph.attractors) == 4


def test_scaled_starts_let_all_unstable_directions_grow_together() -> None:
    weights = torch.diag(torch.tensor([1.9, 1.3], dtype=torch.float64))
    dynamics = cd.FunctionAdapter(lambda h, x: torch.tanh(h @ weights), 2, 0)
    linear = found(dynamics, torch.full((1, 2), 1e-3, dtype=torch.float64))
    starts = unstable_frame(linear, 0).starts(sphere(2, 64, None))
    steps = math.log(1e9) / math.log(1.9)
    grown = (starts * torch.tensor([1.9, 1.3]) ** steps).abs().amax(0)
    assert 0.5 < float(grown[0] / grown[1]) < 2


def test_basins_of_symmetric_attractors_are_halves_within_their_interval() -> None:
    dynamics = switches(1)
    generator = torch.Generator().manual_seed(0)
    graph = cd.connect(dynamics, found(dynamics, grid(1)), generator=generator)
    assert sum(graph.basins.values()) == pytest.approx(1)
    for node in graph.attractors:
        data = graph.graph.nodes[node]
        assert data["basin_low"] < 0.5 < data["basin_high"]


def test_branch_to_a_cycle_ends_at_an_unresolved_node() -> None:
    turn = math.pi / 4
    rotation = torch.tensor(
        [[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]],
        dtype=torch.float64,
    )
    dynamics = cd.FunctionAdapter(lambda h, x: torch.tanh(1.5 * h @ rotation), 2, 0)
    linear = found(dynamics, torch.full((1, 2), 0.1, dtype=torch.float64))
    graph = cd.connect(dynamics, linear, max_steps=200).graph
    ((source, target, data),) = graph.edges(data=True)
    assert graph.nodes[target]["kind"] == "unresolved"
    assert not graph.nodes[target]["at_rest"]
    assert (source, data["verified"], data["directions"]) == (0, False, 64)


@pytest.mark.parametrize("cell", ["gru", "lstm", "tanh", "relu"])
def test_flipflop_saddles_have_24_verified_branches(cell: str) -> None:
    dynamics = cd.adapt(load_flipflop(DATA / f"flipflop_{cell}.safetensors").rnn)
    generator = torch.Generator().manual_seed(0)
    steps = torch.rand(32, 200, 3, generator=generator, dtype=torch.float64)
    signs = torch.randn(32, 200, 3, generator=generator, dtype=torch.float64).sign()
    pulses = (steps < 0.1) * signs
    visited = dynamics.rollout(
        torch.zeros(32, dynamics.state_dim, dtype=torch.float64), pulses
    ).flatten(0, 1)
    none = torch.zeros(1, 3, dtype=torch.float64)
    points = cd.find_fixed_points(
        dynamics, visited[::16], none, extra_starts=600, generator=generator
    )
    points = points[points.kind == cd.Kind.FIXED].unique()
    graph = cd.connect(
        dynamics, cd.linearize(dynamics, points), basin_samples=0, generator=generator
    ).graph
    branches = [d for *_, d in graph.edges(data=True) if d["kind"] == "unstable_branch"]
    assert len(points) == 27
    assert len(branches) == 24
    assert all(data["verified"] for data in branches)


def test_attributes_are_plain_scalars() -> None:
    dynamics = switches(2)
    graph = cd.connect(dynamics, found(dynamics, grid(2))).graph
    values = [v for _, data in graph.nodes(data=True) for v in data.values()]
    values += [v for *_, data in graph.edges(data=True) for v in data.values()]
    assert {type(value) for value in values} <= {str, int, float, bool}
    assert isinstance(graph, nx.MultiDiGraph)


def test_points_of_several_inputs_are_refused() -> None:
    dynamics = cd.FunctionAdapter(lambda h, x: torch.tanh(2 * h + x), 1, 1)
    inputs = torch.tensor([[0.0], [0.1]], dtype=torch.float64)
    starts = torch.ones(2, 1, dtype=torch.float64)
    linear = cd.linearize(dynamics, cd.find_fixed_points(dynamics, starts, inputs))
    with pytest.raises(ValueError, match=r"`linearization`.*one constant input"):
        cd.connect(dynamics, linear)


def test_summary_names_nodes_edges_and_basins() -> None:
    dynamics = switches(1)
    text = cd.connect(dynamics, found(dynamics, grid(1))).summary()
    assert "2 attractor" in text
    assert "2 connections" in text
    assert "basin of" in text


def test_without_basin_samples_there_are_no_basins() -> None:
    dynamics = switches(1)
    graph = cd.connect(dynamics, found(dynamics, grid(1)), basin_samples=0)
    assert graph.basins == {}
    assert "basin" not in graph.summary()
    assert len(graph.attractors) == 2


def cubic() -> cd.FunctionAdapter:
    """h' = h + h^3: its one point, 0, is marginal; h' = 2 h + h^3 runs off from 0."""
    return cd.FunctionAdapter(lambda h, x: 2 * h + h**3, 1, 0)


def test_a_branch_that_runs_off_to_infinity_is_marked_and_can_be_written(
    tmp_path: Path,
) -> None:
    dynamics = cubic()
    linear = found(dynamics, torch.full((1, 1), 1e-3, dtype=torch.float64))
    graph = cd.connect(dynamics, linear, basin_samples=4).graph
    ends = [data for _, data in graph.nodes(data=True) if data["kind"] == "unresolved"]
    assert [(end["diverged"], end["at_rest"]) for end in ends] == [(True, False)] * 2
    assert not any("residual_norm" in end for end in ends)
    assert not any("distance" in data for *_, data in graph.edges(data=True))
    to_json(graph, tmp_path / "graph.json")
    to_graphml(graph, tmp_path / "graph.graphml")
    assert nx.utils.graphs_equal(from_json(tmp_path / "graph.json"), graph)
    assert nx.utils.graphs_equal(from_graphml(tmp_path / "graph.graphml"), graph)


@pytest.mark.parametrize(
    ("states", "complaint"),
    [
        (torch.zeros(3, 2), r"`basin_states` to have shape \(n, 1\), got \(3, 2\)"),
        (torch.full((3, 1), torch.nan), "`basin_states` to be finite"),
        (torch.zeros(3, 1, dtype=torch.long), "`basin_states` to be a floating"),
        (torch.zeros(3, 1, device="meta"), "`basin_states`"),
    ],
    ids=["width", "nan", "whole numbers", "device"],
)
@pytest.mark.misuse
def test_basin_states_that_do_not_fit_are_refused(
    states: torch.Tensor, complaint: str
) -> None:
    dynamics = switches(1)
    with pytest.raises((TypeError, ValueError), match=complaint):
        cd.connect(dynamics, found(dynamics, grid(1)), basin_states=states)


def test_basin_states_may_be_in_single_precision() -> None:
    dynamics = switches(1)
    graph = cd.connect(
        dynamics, found(dynamics, grid(1)), basin_states=torch.tensor([[0.5], [0.4]])
    )
    assert sorted(graph.basins.values()) == [0.0, 1.0]


@pytest.mark.parametrize(
    "bad", [{"basin_samples": -1}, {"max_steps": 0}, {"directions": 0}]
)
def test_counts_that_mean_nothing_are_refused(bad: dict[str, int]) -> None:
    dynamics = switches(1)
    (name,) = bad
    with pytest.raises(ValueError, match=f"`{name}`"):
        cd.connect(dynamics, found(dynamics, grid(1)), **bad)  # type: ignore[arg-type]
