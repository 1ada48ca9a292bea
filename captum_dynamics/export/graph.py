"""Graphs as GraphML and as JSON."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import networkx as nx

from captum_dynamics.exceptions import FileFormatError


def to_graphml(graph: nx.MultiDiGraph[int], path: str | Path) -> None:
    """Write a graph with plain scalar attributes as GraphML.

    Example:
        >>> import tempfile, networkx as nx
        >>> graph = nx.MultiDiGraph()
        >>> graph.add_edge(0, 1, steps=3)
        0
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     to_graphml(graph, f"{folder}/graph.graphml")
        ...     nx.utils.graphs_equal(from_graphml(f"{folder}/graph.graphml"), graph)
        True
    """
    nx.write_graphml_xml(graph, str(path))


def from_graphml(path: str | Path) -> nx.MultiDiGraph[int]:
    """Read a graph that `to_graphml` wrote; raise FileFormatError for other files."""
    try:
        read = nx.read_graphml(str(path), node_type=int, force_multigraph=True)
        graph: nx.MultiDiGraph[int] = nx.MultiDiGraph(read)
        if not len(graph):
            raise ValueError("it holds no graph")
    except (ElementTree.ParseError, nx.NetworkXError, ValueError, KeyError) as error:
        raise FileFormatError(f"{path} is not a GraphML graph: {error}.") from error
    for added_by_reader in ("node_default", "edge_default"):
        graph.graph.pop(added_by_reader, None)
    return graph


def to_json(graph: nx.MultiDiGraph[int], path: str | Path) -> None:
    """Write a graph as node-link JSON, for d3 and the like."""
    text = json.dumps(graph_to_dict(graph), indent=1, allow_nan=False)
    Path(path).write_text(text, encoding="utf-8")


def from_json(path: str | Path) -> nx.MultiDiGraph[int]:
    """Read a graph that `to_json` wrote; raise FileFormatError for other files."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        return graph_from_dict(content)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FileFormatError(f"{path} is not a graph in JSON: {error!r}.") from error


# networkx changed its node-link names between releases; ours stay.


def graph_to_dict(graph: nx.MultiDiGraph[int]) -> dict[str, Any]:
    """A graph as plain lists and dicts, in node-link form."""
    return {
        "directed": True,
        "multigraph": True,
        "graph": dict(graph.graph),
        "nodes": [{"id": node, **data} for node, data in graph.nodes(data=True)],
        "edges": [
            {"source": source, "target": target, "key": key, **data}
            for source, target, key, data in graph.edges(keys=True, data=True)
        ],
    }


def graph_from_dict(content: dict[str, Any]) -> nx.MultiDiGraph[int]:
    """The graph that `graph_to_dict` wrote down."""
    graph: nx.MultiDiGraph[int] = nx.MultiDiGraph()
    graph.graph.update(content["graph"])
    for entry in content["nodes"]:
        node = dict(entry)
        graph.add_node(node.pop("id"), **node)
    for entry in content["edges"]:
        edge = dict(entry)
        ends = edge.pop("source"), edge.pop("target"), edge.pop("key")
        graph.add_edge(*ends, **edge)
    return graph
