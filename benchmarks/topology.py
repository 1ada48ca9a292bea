"""Graphs of systems that are known exactly, and what the audit notices.

python benchmarks/topology.py --nets tests/data/flipflop_gru.safetensors
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections import Counter
from collections.abc import Iterable

import networkx as nx
import torch

import captum_dynamics as cd
from captum_dynamics.tasks.flipflop import load_flipflop
from captum_dynamics.testing import systems
from captum_dynamics.topology import AuditVerdict, audit_graph

Graph = nx.MultiDiGraph


def main() -> None:
    """Print one row a system, then one a network."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nets", nargs="*", default=[], help="trained flip-flops")
    parser.add_argument("--starts", type=int, default=200)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    row("system", "nodes", "edges that drop 1", "as known", "audit", "seconds")
    row(*["---"] * 6)
    for system in (*systems.all_systems(), systems.uncoupled_switches(3)):
        report_system(system, given.starts)
    if given.nets:
        print()
        names = ("points", "edges", "Betti numbers", "one point", "two points", "edge")
        row("network", *names)
        row(*["---"] * 7)
    for path in given.nets:
        report_audit(path)


def row(*cells: object) -> None:
    """Print one row of a table."""
    print("|", " | ".join(str(cell) for cell in cells), "|", flush=True)


def report_system(system: systems.KnownSystem, starts: int) -> None:
    """Connect what random starts find, and compare it with what is known."""
    low, high = system.region
    generator = torch.Generator().manual_seed(0)
    draws = torch.rand(starts, system.dynamics.state_dim, generator=generator)
    points = cd.find_fixed_points(
        system.dynamics, low + (high - low) * draws.double(), system.inputs
    )
    points = points[points.kind == cd.Kind.FIXED].unique()
    began = time.perf_counter()
    graph = cd.connect(
        system.dynamics, cd.linearize(system.dynamics, points), generator=generator
    )
    seconds = time.perf_counter() - began
    kinds = Counter(
        f"{data['kind']} u={data['unstable_dim']}"
        for _, data in graph.graph.nodes(data=True)
    )
    nodes = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    audit = graph.audit
    verdict = audit.objection or f"{audit.verdict.name.lower()} {audit.betti}"
    edges = len(edges_that_drop_one(graph.graph))
    name = f"{system.name}, {system.dynamics.state_dim}-D"
    row(name, nodes, edges, as_known(system, graph), verdict, f"{seconds:.2f}")


def as_known(system: systems.KnownSystem, graph: cd.FixedPointGraph) -> str:
    """Say whether points, and edges where they are stated, are those of the system."""
    found = graph.linearization.points.states
    away = torch.cdist(system.states, found).min(1)
    tolerance = 1e-3 if system.name == "pitchfork" else 1e-9
    if len(found) != len(system.states):
        return "no: other points"
    isolated = torch.ones(len(system.states), dtype=torch.bool)
    if graph.continua:
        isolated[-1] = False
    if float(away.values[isolated].max() if isolated.any() else 0) > tolerance:
        return "no: other places"
    rows = away.indices.tolist()
    stated = {(rows[a], rows[b]) for a, b in system.edges}
    dropped = edges_that_drop_one(graph.graph)
    known = {(a, b) for a, b, _ in dropped if max(a, b) < len(found)}
    if system.edges and stated != known:
        return "no: other edges"
    return "points, edges" if system.edges else "points"


def edges_that_drop_one(graph: Graph) -> list[tuple[int, int, int]]:
    """Verified edges that lose one unstable dimension."""
    return [
        (source, target, key)
        for source, target, key, data in graph.edges(keys=True, data=True)
        if data["verified"] and data["unstable_drop"] == 1
    ]


def report_audit(path: str) -> None:
    """Remove points, pairs and connections of a network; count what is noticed."""
    dynamics = cd.adapt(load_flipflop(path).rnn)
    generator = torch.Generator().manual_seed(0)
    visited = torch.randn(64, dynamics.state_dim, generator=generator).double().tanh()
    none = torch.zeros(1, dynamics.input_dim, dtype=torch.float64)
    survey = cd.survey_fixed_points(dynamics, visited, none, generator=generator)
    linear = cd.linearize(dynamics, survey.points)
    graph = cd.connect(dynamics, linear, generator=generator).graph
    edges, points = edges_that_drop_one(graph), range(len(linear))
    row(
        path.rsplit("/", maxsplit=1)[-1],
        len(points),
        len(edges),
        audit_graph(graph).betti,
        noticed(without(graph, {point}) for point in points),
        noticed(without(graph, {*pair}) for pair in itertools.combinations(points, 2)),
        noticed(without_edge(graph, edge) for edge in edges),
    )


def without(graph: Graph, gone: set[int]) -> Graph:
    """The graph without some nodes."""
    return graph.subgraph([node for node in graph if node not in gone])


def without_edge(graph: Graph, edge: tuple[int, int, int]) -> Graph:
    """The graph without one connection."""
    part = graph.copy()
    part.remove_edge(*edge)
    return part


def noticed(graphs: Iterable[Graph]) -> str:
    """How many of some graphs the audit refutes."""
    verdicts = [audit_graph(graph).verdict for graph in graphs]
    refuted = sum(verdict is AuditVerdict.REFUTED for verdict in verdicts)
    return f"{refuted} of {len(verdicts)}"


if __name__ == "__main__":
    main()
