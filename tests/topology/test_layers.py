"""Several results about the same points, in one container."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import networkx as nx
import pytest
import torch

import captum_dynamics as cd
from captum_dynamics.export import from_graphml, from_json, to_graphml, to_json


def switch(h: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return torch.tanh(2 * h + x)


DYNAMICS = cd.FunctionAdapter(switch, 1, 1)
NONE = torch.zeros(1, 1, dtype=torch.float64)


def connected() -> cd.FixedPointGraph:
    starts = torch.tensor([[-1.0], [0.1], [1.0]], dtype=torch.float64)
    points = cd.find_fixed_points(DYNAMICS, starts, NONE)
    return cd.connect(DYNAMICS, cd.linearize(DYNAMICS, points), basin_samples=0)


def with_all_layers() -> cd.FixedPointGraph:
    graph = connected()
    pulses = {"up": torch.tensor([3.0]), "down": torch.tensor([-3.0])}
    states = torch.linspace(-0.01, 0.01, 40, dtype=torch.float64)[:, None]
    return graph.with_layers(
        transitions=cd.find_transitions(DYNAMICS, graph.linearization, pulses),
        manifold=cd.topology.trace_slow_manifold(
            DYNAMICS, states, NONE, task_step=1.0, steps=1
        ),
        branches=cd.continue_points(
            DYNAMICS, graph.linearization.points, NONE[0], torch.tensor([0.8])
        ),
    )


def test_every_layer_is_there_with_its_edges() -> None:
    graph = with_all_layers()
    assert graph.transitions is not None
    assert graph.manifold is not None
    assert graph.branches is not None
    layers = Counter(layer for *_, layer in graph.layered.edges(data="layer"))
    assert layers == {
        "autonomous": graph.graph.number_of_edges(),
        "input": graph.transitions.graph.number_of_edges(),
        "slow": len(graph.manifold) - 1,
        "continuation": len(graph.branches),
    }
    assert layers["slow"] > 1


def test_transitions_lead_between_the_nodes_of_the_graph() -> None:
    graph = with_all_layers()
    switched = {
        (source, target)
        for source, target, data in graph.layered.edges(data=True)
        if data["layer"] == "input" and data["switches"]
    }
    low, high = graph.attractors
    assert switched == {(low, high), (high, low)}


def test_layers_that_are_not_given_stay() -> None:
    graph = with_all_layers()
    again = graph.with_layers(manifold=graph.manifold)
    assert again.transitions is graph.transitions
    assert again.graph is graph.graph


def test_the_graph_itself_gets_no_layers() -> None:
    graph = with_all_layers()
    assert not any("layer" in data for *_, data in graph.graph.edges(data=True))


def test_all_layers_survive_files(tmp_path: Path) -> None:
    layered = with_all_layers().layered
    to_graphml(layered, tmp_path / "graph.graphml")
    to_json(layered, tmp_path / "graph.json")
    assert nx.utils.graphs_equal(from_graphml(tmp_path / "graph.graphml"), layered)
    assert nx.utils.graphs_equal(from_json(tmp_path / "graph.json"), layered)


def test_layers_about_other_points_are_refused() -> None:
    graph = connected()
    other = cd.FunctionAdapter(lambda h, x: torch.tanh(3 * h + x), 1, 1)
    points = cd.find_fixed_points(other, torch.ones(1, 1, dtype=torch.float64), NONE)
    up = {"up": torch.tensor([3.0])}
    transitions = cd.find_transitions(other, cd.linearize(other, points), up)
    with pytest.raises(ValueError, match="`transitions` to be about points of the"):
        graph.with_layers(transitions=transitions)


def test_a_manifold_of_another_width_is_refused() -> None:
    leak = cd.FunctionAdapter(lambda h, x: 0.999 * h, 2, 0)
    states = torch.randn(40, 2, generator=torch.Generator().manual_seed(0))
    manifold = cd.topology.trace_slow_manifold(
        leak, states, torch.zeros(1, 0), task_step=1.0
    )
    with pytest.raises(ValueError, match=r"`manifold\.points\.states`.*\(n, 1\)"):
        connected().with_layers(manifold=manifold)
