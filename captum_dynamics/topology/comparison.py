"""How alike the graphs of two networks are, by stability and connections alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from captum_dynamics import _checks
from captum_dynamics.topology._edit_distance import Edit, edit_distance
from captum_dynamics.topology._heat_trace import heat_traces, trace_distance
from captum_dynamics.topology._skeleton import Graph, Skeleton, isomorphism, skeleton

MOST_NAMED = 6  # nodes in a summary


@dataclass(frozen=True)
class GraphComparison:
    """How alike two graphs are.

    Attributes:
        isomorphic: whether one is the other with its nodes numbered differently.
        mapping: node of the second for nodes of the first: the isomorphism where there
            is one, else the mapping of the cheapest edit that was found.
        edit_lower: the edit distance is at least this.
        edit_upper: and at most this: `mapping` costs it.
        spectral_distance: distance of their heat traces, in nodes; 0 for isomorphic
            graphs, and for few others.
        points: number of nodes that count, in each.
        connections: number of edges that count, in each.
        only_first: nodes of the first that are mapped to none.
        only_second: nodes of the second to which none is mapped.
    """

    isomorphic: bool
    mapping: dict[int, int]
    edit_lower: int
    edit_upper: int
    spectral_distance: float
    points: tuple[int, int]
    connections: tuple[int, int]
    only_first: tuple[int, ...]
    only_second: tuple[int, ...]

    @property
    def edit_exact(self) -> bool:
        """Whether the edit distance is known, not only bounded."""
        return self.edit_lower == self.edit_upper

    def summary(self) -> str:
        """Say how alike the two are, in one line."""
        if self.isomorphic:
            (points, _), (edges, _) = self.points, self.connections
            return f"isomorphic: {points} points, {edges} connections in both"
        edits = f"{self.edit_upper}"
        if not self.edit_exact:
            edits = f"between {self.edit_lower} and {self.edit_upper}"
        text = (
            f"not isomorphic: {self.points[0]} and {self.points[1]} points, "
            f"{self.connections[0]} and {self.connections[1]} connections; edit "
            f"distance {edits}, spectral distance {self.spectral_distance:.3g}"
        )
        for name, nodes in (("first", self.only_first), ("second", self.only_second)):
            if nodes:
                named = ", ".join(map(str, nodes[:MOST_NAMED]))
                more = ", ..." if len(nodes) > MOST_NAMED else ""
                text += f"; only in the {name}: {named}{more}"
        return text


def compare_graphs(
    first: Graph, second: Graph, *, time_limit: float = 2.0
) -> GraphComparison:
    """Compare two graphs of fixed points: isomorphism, edit and spectral distance.

    Only what does not depend on the search counts. Nodes are invariant sets, labelled
    by `kind` and `unstable_dim`; slow points, ends that are no known point and searches
    that failed are left out. Edges are the verified ones with an `unstable_drop` of 1:
    such orbits are isolated, and `connect` looks for all of them, while orbits that
    drop more come in families, and are added where they are seen. Where points are,
    and how strongly they attract, plays no part.

    The edit distance counts the nodes and edges to add or remove, and the labels to
    change. Its upper bound is the cost of the best mapping found (quadratic assignment
    by integer projected fixed points), its lower bound one of linear assignment; they
    often meet. Where they do not, graphs of up to eight nodes are searched through.

    Args:
        first: the `graph` of a `FixedPointGraph`, or one that was read from a file.
        second: another one.
        time_limit: seconds that this last search may take.

    Returns:
        The comparison. Which edit is the cheapest need not be unique.

    Raises:
        TypeError: when one is no networkx MultiDiGraph.
        ValueError: when `time_limit` is not positive.

    References:
        Bougleux et al. (2017), Graph edit distance as a quadratic assignment problem,
        Pattern Recognition Letters 87; Blumenthal and Gamper (2018), Improved lower
        bounds for graph edit distance, IEEE TKDE 30; Tsitsulin et al. (2018), NetLSD:
        hearing the shape of a graph, KDD.

    Example:
        >>> import captum_dynamics as cd
        >>> from captum_dynamics.testing.systems import coupled_switches, hopfield
        >>> def graph(known):
        ...     dynamics = known.dynamics
        ...     points = cd.find_fixed_points(dynamics, known.states, known.inputs)
        ...     return cd.connect(dynamics, cd.linearize(dynamics, points)).graph
        >>> square, memory = graph(coupled_switches()), graph(hopfield())
        >>> compare_graphs(square, memory).summary()
        'isomorphic: 9 points, 12 connections in both'
        >>> memory.remove_node(0)
        >>> compare_graphs(square, memory).edit_upper
        3
    """
    _checks.check_positive("time_limit", time_limit)
    one, other = skeleton("first", first), skeleton("second", second)
    same = isomorphism(one, other)
    edit = edit_distance(one, other, time_limit) if same is None else Edit(0, 0, same)
    mapping = {one.nodes[a]: other.nodes[b] for a, b in edit.mapping.items()}
    return GraphComparison(
        same is not None,
        mapping,
        edit.lower,
        edit.upper,
        trace_distance(heat_traces(one), heat_traces(other)),
        (one.size, other.size),
        (_edges(one), _edges(other)),
        tuple(node for node in one.nodes if node not in mapping),
        tuple(node for node in other.nodes if node not in mapping.values()),
    )


def _edges(graph: Skeleton) -> int:
    return int(graph.orbits.sum())


def graph_distances(graphs: Sequence[Graph]) -> Float[Tensor, "n n"]:
    """Spectral distances between many graphs, for an embedding of them (MDS).

    The distance is that of `compare_graphs`. Let heat flow along the edges, and note at
    each of 250 times how much is left on nodes of every kind and unstable dimension;
    the distance is the root mean square difference of these curves, in nodes. It is
    Euclidean, so that multidimensional scaling in enough dimensions is exact.

    Args:
        graphs: n graphs, as `compare_graphs` takes them.

    Returns:
        Distances (n, n) in float64.

    Raises:
        TypeError: when one is no networkx MultiDiGraph.

    References:
        Tsitsulin et al. (2018), NetLSD: hearing the shape of a graph, KDD; Sun,
        Ovsjanikov and Guibas (2009), Computer Graphics Forum 28, for heat by node.

    Example:
        >>> import networkx as nx
        >>> one = nx.MultiDiGraph()
        >>> one.add_node(0, kind="fixed_point", unstable_dim=0)
        >>> two = one.copy()
        >>> two.add_node(1, kind="fixed_point", unstable_dim=0)
        >>> graph_distances([one, two]).tolist()
        [[0.0, 1.0], [1.0, 0.0]]
    """
    traces = [
        heat_traces(skeleton(f"graphs[{row}]", graph))
        for row, graph in enumerate(graphs)
    ]
    distances = torch.zeros(len(traces), len(traces), dtype=torch.float64)
    for row, first in enumerate(traces):
        for column, second in enumerate(traces[:row]):
            distances[row, column] = trace_distance(first, second)
    return distances + distances.T
