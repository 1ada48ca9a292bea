"""Graphs as GEXF, which Gephi and its relatives read."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import networkx as nx
from networkx.readwrite.gexf import GEXFWriter

from captum_dynamics.exceptions import FileFormatError

VERSION = "1.2draft"
NAMESPACE = f"{{http://www.gexf.net/{VERSION}}}"
HEADER = '<?xml version="1.0" encoding="utf-8"?>'
KEY = "edge_key"  # networkx drops keys on reading where no edges are parallel
# GEXF gives these a meaning, or networkx does on the way to it.
RESERVED = frozenset(
    {"end", "id", "key", "label", "networkx_key", "parents", "pid", "slices"}
    | {"spells", "start", "type", "viz", "weight", KEY}
)


def to_gexf(graph: nx.MultiDiGraph[int], path: str | Path) -> None:
    """Write a graph with plain scalar attributes as GEXF 1.2.

    GEXF knows no attributes of the whole graph: they are kept as JSON in the
    description of the file. An attribute has one type in all nodes, and one in all
    edges.

    Args:
        graph: numbered nodes, attributes of type bool, int, float or str.
        path: the file to write.

    Raises:
        TypeError: when an attribute has another type, or two types.
        ValueError: when an attribute has a name that GEXF uses itself, such as
            "label", or a number that is not finite.

    References:
        GEXF Working Group, https://gexf.net.

    Example:
        >>> import tempfile, networkx as nx
        >>> graph = nx.MultiDiGraph()
        >>> graph.add_edge(0, 1, steps=3)
        0
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     to_gexf(graph, f"{folder}/graph.gexf")
        ...     nx.utils.graphs_equal(from_gexf(f"{folder}/graph.gexf"), graph)
        True
    """
    description = json.dumps(graph.graph, allow_nan=False)
    _check_attributes("nodes", [data for _, data in graph.nodes(data=True)])
    _check_attributes("edges", [data for *_, data in graph.edges(data=True)])
    plain: nx.MultiDiGraph[int] = nx.MultiDiGraph()
    plain.add_nodes_from((node, dict(data)) for node, data in graph.nodes(data=True))
    for source, target, key, data in graph.edges(keys=True, data=True):
        plain.add_edge(source, target, key, **data, **{KEY: key})
    writer = GEXFWriter(plain, version=VERSION)
    ElementTree.SubElement(writer.xml.find("meta"), "description").text = description
    Path(path).write_text(f"{HEADER}\n{writer}\n", encoding="utf-8")


def from_gexf(path: str | Path) -> nx.MultiDiGraph[int]:
    """Read a graph that `to_gexf` wrote; raise FileFormatError for other files."""
    try:
        read = nx.read_gexf(str(path), node_type=int, version=VERSION)
        described = ElementTree.parse(path).find(f".//{NAMESPACE}description")
        if described is None:
            raise ValueError("it has no description")
        graph: nx.MultiDiGraph[int] = nx.MultiDiGraph()
        graph.graph.update(json.loads(described.text or ""))
        for node, data in read.nodes(data=True):
            graph.add_node(node, **_without(data, "label"))
        for source, target, data in read.edges(data=True):
            graph.add_edge(source, target, data[KEY], **_without(data, KEY, "id"))
    except _FOREIGN as error:
        raise FileFormatError(f"{path} is not a GEXF graph: {error}.") from error
    return graph


_FOREIGN = (
    ElementTree.ParseError,
    nx.NetworkXError,
    AttributeError,
    KeyError,
    RuntimeError,
    TypeError,
    ValueError,
)


def _without(data: dict[str, Any], *added: str) -> dict[str, Any]:
    """Attributes that were ours before networkx wrote the file."""
    return {name: value for name, value in data.items() if name not in added}


def _check_attributes(what: str, columns: list[dict[str, Any]]) -> None:
    types: dict[str, type] = {}
    for data in columns:
        for name, value in data.items():
            if name in RESERVED:
                raise ValueError(
                    f"Expected attributes of {what} in `graph` without names that "
                    f"GEXF uses itself, got {name!r}; rename it."
                )
            known = types.setdefault(name, type(value))
            if known not in (bool, int, float, str) or type(value) is not known:
                raise TypeError(
                    f"Expected the attribute {name!r} of {what} in `graph` to be "
                    f"all bool, int, float or str, got {known.__name__} and "
                    f"{type(value).__name__}."
                )
            # json refuses what is not finite, here as in the other formats.
            json.dumps(value, allow_nan=False)
