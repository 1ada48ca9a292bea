"""Which points are neighbours: spanning tree, mutual nearest ones, the longest way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import networkx as nx
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import pdist, squareform

if TYPE_CHECKING:
    Graph = nx.Graph[int]
else:  # where it runs, the class takes no parameters
    Graph = nx.Graph
Numbers = NDArray[np.float64]
NEIGHBOURS = 6
# A twig of the tree shorter than this share of its longest way is noise.
TWIG = 0.1


def distances_of(points: Numbers) -> Numbers:
    """Euclidean distances (n, n) of points (n, d)."""
    matrix: Numbers = squareform(pdist(points))
    return matrix


def spanning_tree(distances: Numbers) -> Graph:
    """The tree of least length that joins all points; edges carry their `length`."""
    return nx.minimum_spanning_tree(_complete(distances), weight="length")


def neighbourhood(distances: Numbers, *, neighbours: int = NEIGHBOURS) -> Graph:
    """Join points that are among each other's nearest, and all by a spanning tree."""
    nearest = np.argsort(distances, axis=1, kind="stable")[:, 1 : neighbours + 1]
    near = np.zeros_like(distances, dtype=bool)
    np.put_along_axis(near, nearest, True, axis=1)
    graph = spanning_tree(distances)
    for i, j in np.argwhere(np.triu(near & near.T, 1)).tolist():
        graph.add_edge(i, j, length=float(distances[i, j]))
    return graph


def edge_lengths(tree: Graph) -> Numbers:
    """Lengths of all edges, in decreasing order."""
    lengths = [data["length"] for *_, data in tree.edges(data=True)]
    ordered: Numbers = np.sort(np.array(lengths, dtype=float))[::-1]
    return ordered


def longest_way(tree: Graph) -> list[int]:
    """The nodes along the tree's diameter: the farthest two and all between them."""
    start = _farthest(tree, next(iter(tree)))
    return list(nx.dijkstra_path(tree, start, _farthest(tree, start), weight="length"))


def count_leaves(tree: Graph, *, twig: float = TWIG) -> int:
    """Ends of a tree once twigs shorter than a share of its diameter are cut.

    From the longest way on, the farthest branch is added as long as it is no twig.
    """
    kept = set(longest_way(tree))
    longest = nx.path_weight(tree, longest_way(tree), "length")
    leaves = 2
    while True:
        gaps = nx.multi_source_dijkstra_path_length(tree, kept, weight="length")
        end = max(gaps, key=lambda node: gaps[node])
        if gaps[end] <= twig * longest:
            return leaves
        ways = nx.multi_source_dijkstra_path(tree, kept, weight="length")
        kept.update(ways[end])
        leaves += 1


def _farthest(tree: Graph, node: int) -> int:
    reached = nx.single_source_dijkstra_path_length(tree, node, weight="length")
    return int(max(reached, key=lambda other: reached[other]))


def _complete(distances: Numbers) -> Graph:
    graph = Graph()
    graph.add_nodes_from(range(len(distances)))
    rows, columns = np.triu_indices(len(distances), 1)
    graph.add_weighted_edges_from(
        zip(
            rows.tolist(),
            columns.tolist(),
            distances[rows, columns].tolist(),
            strict=True,
        ),
        weight="length",
    )
    return graph
