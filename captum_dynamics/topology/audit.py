"""Whether a graph of fixed points can be all there is: a check by Morse homology."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import IntEnum

from captum_dynamics._typing import Graph
from captum_dynamics.completeness import CompletenessReport
from captum_dynamics.completeness import Verdict as Completeness
from captum_dynamics.topology._homology import ChainComplex

MOST_NAMED = 4  # pairs of nodes in a summary
# Kinds of nodes that the rules for simple fixed points say nothing about.
NO_POINTS = {
    "continuum": "a continuum of fixed points",
    "cycle": "a cycle",
    "quasi_periodic": "a quasi-periodic set",
    "chaotic": "a chaotic set",
}


class AuditVerdict(IntEnum):
    """What the audit says of a graph. None of these is "complete"."""

    REFUTED = 0
    """Points or connections are missing, or wrong."""
    CONSISTENT = 1
    """Nothing speaks against the graph; what is missing may be missing in pairs."""
    NOT_APPLICABLE = 2
    """The rules of the audit do not hold here; see `objection`."""


@dataclass(frozen=True)
class GraphAudit:
    """The check that points and connections fit together as cells of a ball do.

    A fixed point with u unstable dimensions is a cell of dimension u, and the points
    with u - 1 to which an odd number of orbits connects it are its boundary. If these
    are all points of a map of a ball into itself, boundaries have no boundary, and the
    Betti numbers are those of a ball: 1, 0, 0, ...

    Attributes:
        cells: number of points with 0, 1, 2, ... unstable dimensions.
        betti: Betti numbers over two elements; empty where boundaries have boundaries.
        gaps: pairs (p, r) of nodes, two unstable dimensions apart, with an odd number
            of ways from p over one node to r: near them something is missing.
        unverified: connections that lose one unstable dimension and were left out
            because they are not verified.
        objection: why the audit does not apply; empty where it does.
        completeness: the report on the set of points, where one was given.
    """

    cells: tuple[int, ...]
    betti: tuple[int, ...]
    gaps: tuple[tuple[int, int], ...]
    unverified: int
    objection: str
    completeness: CompletenessReport | None = None

    @property
    def expected_betti(self) -> tuple[int, ...]:
        """Betti numbers of a ball: 1, 0, 0, ..."""
        return tuple(int(dim == 0) for dim in range(max(1, len(self.cells))))

    @property
    def suspects(self) -> tuple[int, ...]:
        """Nodes of the gaps, those in most of them first."""
        counts = Counter(node for pair in self.gaps for node in pair)
        return tuple(node for node, _ in counts.most_common())

    @property
    def verdict(self) -> AuditVerdict:
        """What follows."""
        if self.objection:
            return AuditVerdict.NOT_APPLICABLE
        report = self.completeness
        points_refuted = report is not None and report.verdict is Completeness.REFUTED
        if self.gaps or self.betti != self.expected_betti or points_refuted:
            return AuditVerdict.REFUTED
        return AuditVerdict.CONSISTENT

    def summary(self) -> str:
        """Say the verdict and what it rests on, in one line."""
        if self.objection:
            return f"audit not applicable: {self.objection}"
        if self.verdict is AuditVerdict.CONSISTENT:
            return (
                f"audit consistent: Betti numbers {_listed(self.betti)}; this is no "
                f"proof that nothing is missing"
            )
        return f"audit refuted: {self._contradiction()}{self._left_out()}"

    def _contradiction(self) -> str:
        if self.gaps:
            named = ", ".join(f"{p} and {r}" for p, r in self.gaps[:MOST_NAMED])
            more = ", ..." if len(self.gaps) > MOST_NAMED else ""
            return f"a point or connection is missing between {named}{more}"
        if self.betti != self.expected_betti:
            return (
                f"Betti numbers {_listed(self.betti)} instead of "
                f"{_listed(self.expected_betti)}: points or connections are missing"
            )
        return "the indices of the points do not add up to 1: points are missing"

    def _left_out(self) -> str:
        if not self.unverified:
            return ""
        return f" ({self.unverified} connections not verified, and left out)"


def audit_graph(graph: Graph, report: CompletenessReport | None = None) -> GraphAudit:
    """Check points and connections of a graph against each other.

    It is a necessary condition, and a sharper one than the index sum: that of the
    points of a cube is right when a point of even and one of odd unstable dimension are
    missing together, while the audit refutes nearly all such pairs.

    Args:
        graph: the `graph` of a `FixedPointGraph`, or one of its node and edge data.
        report: what is known of the completeness of its points.

    Returns:
        The audit; where it does not apply, it says why.

    References:
        Floer (1989), J. Differential Geom. 30: Witten's complex and infinite
        dimensional Morse theory; Franzosa (1989), Trans. AMS 311: connection matrices.

    Example:
        >>> import captum_dynamics as cd
        >>> from captum_dynamics.testing.systems import coupled_switches
        >>> known = coupled_switches()
        >>> points = cd.find_fixed_points(known.dynamics, known.states, known.inputs)
        >>> linear = cd.linearize(known.dynamics, points)
        >>> graph = cd.connect(known.dynamics, linear).graph
        >>> audit_graph(graph).betti
        (1, 0, 0)
        >>> graph.remove_node(0)
        >>> audit_graph(graph).verdict.name
        'REFUTED'
    """
    dims = {
        node: int(data["unstable_dim"])
        for node, data in graph.nodes(data=True)
        if data["kind"] == "fixed_point"
    }
    orbits: Counter[tuple[int, int]] = Counter()
    unverified = 0
    for source, target, data in graph.edges(data=True):
        if source in dims and dims[source] - dims.get(target, -1) == 1:
            orbits[source, target] += data["verified"]
            unverified += not data["verified"]
    levels = range(1 + max(dims.values(), default=-1))
    cells = [[node for node, dim in dims.items() if dim == level] for level in levels]
    boundaries = {
        node: frozenset(
            end for (start, end), n in orbits.items() if start == node and n % 2
        )
        for node in dims
    }
    complex_ = ChainComplex(cells, boundaries)
    gaps = complex_.gaps
    return GraphAudit(
        tuple(len(level) for level in cells),
        () if gaps else complex_.betti,
        gaps,
        unverified,
        _objection(graph, report),
        report,
    )


def _objection(graph: Graph, report: CompletenessReport | None) -> str:
    """Why points and connections need not be those of a ball; empty if they must."""
    nodes = graph.nodes
    fixed = {n: nodes[n] for n in nodes if nodes[n]["kind"] == "fixed_point"}
    if not fixed:
        return "there is no fixed point"
    if report is not None and report.long_runs.cycles:
        return "there are cycles"
    for node, data in fixed.items():
        if data["degenerate"] or data["stability"] == "marginal" or not data["index"]:
            return f"node {node} is degenerate or marginal"
        if data.get("flips", 0):
            return f"node {node} has a multiplier below -1"
    if "missing" in graph.graph:
        return f"time ran out before {graph.graph['missing']}"
    for node, data in nodes(data=True):
        if data["kind"] in NO_POINTS:
            return f"node {node} is {NO_POINTS[data['kind']]}"
    elsewhere = [node for node in nodes if nodes[node]["kind"] == "unresolved"]
    if elsewhere:
        return f"node {elsewhere[0]} is no known point: a cycle, or a point not found"
    if report is not None and report.objection:
        return report.objection
    if "index_rule" not in graph.graph:
        return "the graph does not say whether a box is mapped into itself"
    return str(graph.graph.get("index_objection", ""))


def _listed(numbers: tuple[int, ...]) -> str:
    return ", ".join(str(number) for number in numbers) or "none"
