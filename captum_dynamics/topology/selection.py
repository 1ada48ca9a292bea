"""A part of a graph of fixed points, as a graph of its own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields, replace
from typing import Any

import networkx as nx
import torch
from torch import Tensor

from captum_dynamics.linearization import Linearization
from captum_dynamics.topology._nodes import components, known_states
from captum_dynamics.topology.graph import FixedPointGraph


def select_nodes(graph: FixedPointGraph, nodes: Iterable[int]) -> FixedPointGraph:
    """Keep some nodes of a graph, the points behind them, and the edges between them.

    Points keep their order and are numbered anew, so that node i is again row i of the
    linearization; their old number is the attribute `origin`, which a second selection
    leaves as it is. Ends that are no known point stay when a kept point leads to them,
    and when they are named. The plane coordinates `x` and `y` are those of what is
    left. The audit does not apply to a part of a graph, and says so; layers of
    `with_layers` are not kept.

    Args:
        graph: what `connect` returned; it is left as it is.
        nodes: numbers of the nodes to keep, in any order.

    Returns:
        The part. Basin fractions are still shares of all sampled states.

    Raises:
        ValueError: when a number is no node, or none of them is a point.

    Example:
        >>> import torch, captum_dynamics as cd
        >>> switch = cd.FunctionAdapter(lambda h, x: torch.tanh(2 * h), 1, 0)
        >>> starts = torch.tensor([[-1.0], [0.1], [1.0]])
        >>> points = cd.find_fixed_points(switch, starts, torch.zeros(1, 0))
        >>> graph = cd.connect(switch, cd.linearize(switch, points))
        >>> part = select_nodes(graph, [2, 1])
        >>> list(part.graph.nodes(data="origin")), list(part.graph.edges())
        ([(0, 1), (1, 2)], [(0, 1)])
    """
    whole, count = graph.graph, len(graph.linearization)
    named = set(nodes)
    unknown = sorted(node for node in named if node not in whole)
    if unknown:
        raise ValueError(f"Expected `nodes` to be nodes of the graph, got {unknown}.")
    rows = sorted(node for node in named if node < count)
    if not rows:
        raise ValueError("Expected `nodes` to name at least one point, got none.")
    reached = {end for row in rows for end in whole.successors(row) if end >= count}
    others = sorted(reached | {node for node in named if node >= count})
    kept = {old: new for new, old in enumerate(rows + others)}
    linearization = _rows(graph.linearization, rows)
    part: nx.MultiDiGraph[int] = nx.MultiDiGraph(**whole.graph)
    for old, new in kept.items():
        data = whole.nodes[old]
        part.add_node(new, **{**data, "origin": data.get("origin", old)})
    continua = tuple(
        replace(continuum, node=kept[continuum.node])
        for continuum in graph.continua
        if continuum.node in kept
    )
    endings = tuple(
        ending for node, ending in enumerate(graph.endings, start=count) if node in kept
    )
    states = known_states(linearization, continua, endings)
    firsts = [ending.states[:1] for ending in endings]
    places = components(torch.cat([linearization.points.states, *firsts]), states)
    for node, (x, y, _) in enumerate(places.tolist()):
        part.nodes[node].update(x=x, y=y)
    for source, target, key, data in whole.edges(keys=True, data=True):
        if source in kept and target in kept:
            part.add_edge(kept[source], kept[target], key, **data)
    if len(part) < len(whole):
        part.graph.update(
            index_rule=False, index_objection="the graph is a part of another"
        )
    return FixedPointGraph(part, linearization, continua, endings)


def _rows(linearization: Linearization, rows: list[int]) -> Linearization:
    """Some points of a linearization, in the given order."""
    chosen = torch.tensor(rows, device=linearization.jacobians.device)
    values: dict[str, Any] = {
        field.name: getattr(linearization, field.name)
        for field in fields(linearization)
    }
    columns = {
        name: value[chosen]
        for name, value in values.items()
        if isinstance(value, Tensor)
    }
    return Linearization(
        **{**values, **columns, "points": linearization.points[chosen]}
    )
