"""Several graphs over the same points, put into one."""

from __future__ import annotations

from dataclasses import dataclass

import networkx as nx
import torch

from captum_dynamics import _checks
from captum_dynamics._typing import Graph, OtherStates, States
from captum_dynamics.continuation import Branches
from captum_dynamics.topology.manifold import SlowManifold
from captum_dynamics.topology.transitions import TransitionGraph

SAME = 1e-6  # of two points, times 1 + |h|: both are solved to far below


@dataclass(frozen=True, eq=False)
class Layers:
    """What is known of the points of a graph beside their connections.

    Attributes:
        transitions: one edge for each symbol at each attractor.
        manifold: slow points as nodes, with an edge from each to the next.
        branches: one edge for each branch, to what its point becomes.
    """

    transitions: TransitionGraph | None
    manifold: SlowManifold | None
    branches: Branches | None

    def check(self, points: States) -> None:
        """Refuse layers about other points than those of the graph."""
        self.add_to(nx.MultiDiGraph(), points)

    def add_to(self, whole: Graph, points: States) -> None:
        """Add all layers to the graph of the points."""
        if self.transitions is not None:
            layer, attractors = self.transitions, self.transitions.attractors
            states = layer.linearization.points.states[attractors]
            rows = _rows("transitions", states, points)
            _add(whole, layer.graph, dict(zip(attractors, rows, strict=True)), "input")
        if self.manifold is not None:
            states = self.manifold.points.states
            _checks.check_matrix("manifold.points.states", states, points.shape[1])
            _add(whole, _in_order(self.manifold), {}, "slow")
        if self.branches is not None:
            rows = _rows("branches", self.branches.points.states, points)
            _add(whole, self.branches.graph, dict(enumerate(rows)), "continuation")


def _rows(name: str, states: States, points: OtherStates) -> list[int]:
    """The row of each state among the points of a graph; others are refused."""
    states = _checks.check_matrix(name, states, points.shape[1]).to(points)
    away, rows = torch.cdist(
        states, points, compute_mode="donot_use_mm_for_euclid_dist"
    ).min(1)
    strange = away > SAME * (1 + states.norm(dim=1))
    if bool(strange.any()):
        raise ValueError(
            f"Expected `{name}` to be about points of the graph, got one that is "
            f"{float(away[strange][0]):.2g} away from all of them; make it from the "
            f"graph's own `linearization`."
        )
    found: list[int] = rows.tolist()
    return found


def _in_order(manifold: SlowManifold) -> Graph:
    part: Graph = nx.MultiDiGraph()
    norms = manifold.points.residual_norms.tolist()
    lengths = manifold.points.states.diff(dim=0).norm(dim=1)
    for row, theta in enumerate(manifold.theta.tolist()):
        part.add_node(row, kind="slow_point", theta=theta, residual_norm=norms[row])
    for row, length in enumerate(lengths.tolist()):
        part.add_edge(row, row + 1, length=length)
    return part


def _add(whole: Graph, part: Graph, shared: dict[int, int], layer: str) -> None:
    """Add a graph; nodes that it does not share are numbered after all others."""
    names = dict(shared)
    for node, data in part.nodes(data=True):
        if node not in names:
            names[node] = max(whole, default=-1) + 1
            whole.add_node(names[node], layer=layer, **data)
    for source, target, data in part.edges(data=True):
        whole.add_edge(names[source], names[target], layer=layer, **data)
