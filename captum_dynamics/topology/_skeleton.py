"""What graphs of fixed points are compared by: labelled points and single orbits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import networkx as nx
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    Graph = nx.MultiDiGraph[int]
else:  # where it runs, the class takes no parameters
    Graph = nx.MultiDiGraph

Label = tuple[str, int]  # kind, unstable dimensions
Orbits = NDArray[np.int64]
# Their number depends on the search: they are no invariant sets.
NOT_COUNTED = ("slow_point", "spurious", "unconverged", "unresolved")


@dataclass(frozen=True, eq=False)
class Skeleton:
    """Points by stability, and how many orbits lead down by one unstable dimension.

    Attributes:
        nodes: numbers of the n nodes that count.
        labels: kind and unstable dimensions of each.
        orbits: number (n, n) of verified edges from one to another that lose exactly
            one unstable dimension.
    """

    nodes: tuple[int, ...]
    labels: tuple[Label, ...]
    orbits: Orbits

    @property
    def size(self) -> int:
        """Number of nodes."""
        return len(self.nodes)


def skeleton(name: str, graph: Graph) -> Skeleton:
    """Leave out of a graph what depends on how it was searched."""
    if not isinstance(graph, nx.MultiDiGraph):
        raise TypeError(
            f"Expected `{name}` to be a networkx MultiDiGraph, such as the `graph` of "
            f"a FixedPointGraph, got {type(graph).__name__}."
        )
    kept = {
        node: (str(data["kind"]), int(data["unstable_dim"]))
        for node, data in graph.nodes(data=True)
        if data["kind"] not in NOT_COUNTED
    }
    place = {node: row for row, node in enumerate(kept)}
    orbits = np.zeros((len(kept), len(kept)), dtype=np.int64)
    for source, target, data in graph.edges(data=True):
        drops = data.get("verified") and data.get("unstable_drop") == 1
        if drops and source in place and target in place:
            orbits[place[source], place[target]] += 1
    return Skeleton(tuple(kept), tuple(kept.values()), orbits)


def isomorphism(first: Skeleton, second: Skeleton) -> dict[int, int] | None:
    """Places in the second of those in the first, all labels and orbits kept."""
    colours = _refine((first, second))
    if sorted(colours[0]) != sorted(colours[1]):
        return None
    matcher = nx.isomorphism.DiGraphMatcher(
        _coloured(first, colours[0]),
        _coloured(second, colours[1]),
        node_match=_equal,
        edge_match=_equal,
    )
    try:
        return dict(matcher.mapping) if matcher.is_isomorphic() else None
    finally:
        matcher.reset_recursion_limit()  # which it raised, for the whole process


def _equal(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one == other


def _coloured(graph: Skeleton, colours: list[int]) -> nx.DiGraph[int]:
    plain: nx.DiGraph[int] = nx.DiGraph()
    plain.add_nodes_from((row, {"colour": c}) for row, c in enumerate(colours))
    for source, target in np.argwhere(graph.orbits).tolist():
        plain.add_edge(source, target, orbits=int(graph.orbits[source, target]))
    return plain


def _refine(graphs: Sequence[Skeleton]) -> list[list[int]]:
    """Colours that nodes of several graphs share where they look alike.

    Weisfeiler and Leman's refinement: a colour stands for a node's label and for the
    colours around it, until no further round splits any. It spares the search of an
    isomorphism most of its choices.
    """
    keys: list[list[Any]] = [list(graph.labels) for graph in graphs]
    known = 0
    while True:
        distinct = sorted({key for column in keys for key in column})
        names = {key: colour for colour, key in enumerate(distinct)}
        colours = [[names[key] for key in column] for column in keys]
        if len(distinct) == known:
            return colours
        known = len(distinct)
        keys = [
            [
                (
                    colour,
                    _around(graph.orbits[row], column),
                    _around(graph.orbits[:, row], column),
                )
                for row, colour in enumerate(column)
            ]
            for graph, column in zip(graphs, colours, strict=True)
        ]


def _around(orbits: Orbits, colours: list[int]) -> tuple[tuple[int, int], ...]:
    near = np.flatnonzero(orbits).tolist()
    return tuple(sorted((int(orbits[row]), colours[row]) for row in near))
