"""The graph of fixed-point topology as one result."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from jaxtyping import Float
from torch import Tensor

from captum_dynamics._typing import Graph, States
from captum_dynamics.continuation import Branches
from captum_dynamics.linearization import Linearization
from captum_dynamics.regimes import Ending
from captum_dynamics.topology._layers import Layers
from captum_dynamics.topology._nodes import MOVING, components, known_states
from captum_dynamics.topology.audit import GraphAudit, audit_graph
from captum_dynamics.topology.continua import Continuum
from captum_dynamics.topology.manifold import SlowManifold
from captum_dynamics.topology.shapes import Shape
from captum_dynamics.topology.transitions import TransitionGraph

# Kinds of nodes that attract where no unstable direction leaves them.
ATTRACTING = ("fixed_point", "continuum", *MOVING.values())


@dataclass(frozen=True, eq=False)
class FixedPointGraph:
    """Fixed points as nodes, branches of their unstable manifolds as edges.

    Node i is row i of the linearization. Nodes carry `kind` ("fixed_point",
    "slow_point", "spurious", "unconverged", "continuum" for a line, ring or sheet of
    fixed points, with its `shape`, "cycle", "quasi_periodic", "chaotic", or
    "unresolved" for ends that are nothing known, with a `reason`), `stability`,
    `unstable_dim`, `index`, `residual_norm`, `spectral_radius`, the number `flips` of
    real multipliers below -1, `multiplicity`, `degenerate`, plane
    coordinates `x` and `y` (principal components of the points), the decay time
    `time_constant`, and for attractors, where states were sampled, `basin_fraction`
    with its Wilson 95 % interval `basin_low`, `basin_high`. Ends of branches that are
    no known point say whether they are `at_rest` and whether one of them `diverged`.

    Edges p -> q carry how they were found: `kind`, `side` of the branch, the number
    `directions` that went there of all `tried`, `transit_steps`, `distance` to q at the
    end or at the closest passage (or the residual there, where q is no known point),
    `unstable_drop`, and `verified`: whether the end is inside the capture radius of an
    attractor, or the passage by a saddle below 1e-4. The kinds:

    - "unstable_branch": one side of a single unstable direction;
    - "unstable_directions": directions from one point that go to one attractor;
    - "connecting_orbit": a single orbit to a saddle with one unstable dimension less;
      two of them between the same points are two edges;
    - "connecting_family": orbits to a saddle with fewer still, of which there is a
      continuum: one edge, whatever their number;
    - "border": states between two basins that come to no known saddle.

    A number that is not finite is left out, so that files of the graph stay plain.

    Attributes:
        graph: a networkx MultiDiGraph with plain scalar attributes.
        linearization: the points behind nodes 0 to n - 1, one for each continuum.
        continua: what is behind the last of these nodes, where they are continua.
        endings: what is behind the nodes from n on that are cycles, chaotic or
            quasi-periodic, in their order.
        transitions: what inputs do at the attractors; see `with_layers`.
        manifold: where states linger; see `with_layers`.
        branches: the points followed over an input or a parameter; see `with_layers`.
    """

    graph: Graph
    linearization: Linearization
    continua: tuple[Continuum, ...] = ()
    endings: tuple[Ending, ...] = ()
    transitions: TransitionGraph | None = None
    manifold: SlowManifold | None = None
    branches: Branches | None = None

    def with_layers(
        self,
        *,
        transitions: TransitionGraph | None = None,
        manifold: SlowManifold | None = None,
        branches: Branches | None = None,
    ) -> FixedPointGraph:
        """Keep further results about the same points beside the connections.

        Args:
            transitions: what `find_transitions` returned for this graph's
                `linearization`.
            manifold: what `trace_slow_manifold` returned.
            branches: what `continue_points` or `continue_parameter` returned for points
                of this graph.

        Returns:
            A new graph; layers that are not given stay as they are.

        Raises:
            ValueError: when a layer is about other points, or states of another width.

        Example:
            >>> import torch, captum_dynamics as cd
            >>> switch = cd.FunctionAdapter(lambda h, x: torch.tanh(2 * h + x), 1, 1)
            >>> starts = torch.tensor([[-1.0], [0.1], [1.0]])
            >>> points = cd.find_fixed_points(switch, starts, torch.zeros(1, 1))
            >>> graph = cd.connect(switch, cd.linearize(switch, points))
            >>> up = {"up": torch.tensor([3.0])}
            >>> found = cd.find_transitions(switch, graph.linearization, up)
            >>> layered = graph.with_layers(transitions=found).layered
            >>> sorted({layer for *_, layer in layered.edges(data="layer")})
            ['autonomous', 'input']
        """
        layers = Layers(
            self.transitions if transitions is None else transitions,
            self.manifold if manifold is None else manifold,
            self.branches if branches is None else branches,
        )
        layers.check(self.linearization.points.states)
        return replace(self, **vars(layers))

    @property
    def layered(self) -> Graph:
        """All layers in one networkx graph, to be written to a file as it is.

        Edges carry their `layer`: "autonomous" as in `graph`, "input" for transitions,
        "slow" from one slow point to the next along the manifold, "continuation" from
        a point to what it becomes. Nodes of other layers than the first carry it too,
        and are numbered after those of `graph`.
        """
        whole: Graph = self.graph.copy()
        for *_, data in whole.edges(data=True):
            data["layer"] = "autonomous"
        layers = Layers(self.transitions, self.manifold, self.branches)
        layers.add_to(whole, self.linearization.points.states)
        return whole

    @property
    def attractors(self) -> list[int]:
        """Nodes that no unstable direction leaves."""
        return [
            node
            for node, data in self.graph.nodes(data=True)
            if data["kind"] in ATTRACTING and data["unstable_dim"] == 0
        ]

    @property
    def basins(self) -> dict[int, float]:
        """Share of the sampled states that each attractor draws in; none, if none."""
        nodes = self.graph.nodes
        return {
            node: nodes[node]["basin_fraction"]
            for node in self.attractors
            if "basin_fraction" in nodes[node]
        }

    @property
    def audit(self) -> GraphAudit:
        """Whether points and connections fit together as they must."""
        return audit_graph(self.graph)

    def components(self, states: States) -> Float[Tensor, "n 3"]:
        """First three principal components of all that nodes stand for, at any states.

        The first two are `x` and `y` of the nodes; those that lack are zero.
        """
        return components(
            states, known_states(self.linearization, self.continua, self.endings)
        )

    def summary(self) -> str:
        """Count nodes and edges, and name the basins, in plain words."""
        kinds: dict[str, int] = {}
        for _, data in self.graph.nodes(data=True):
            kinds[_describe(data)] = kinds.get(_describe(data), 0) + 1
        nodes = ", ".join(counted(count, name) for name, count in sorted(kinds.items()))
        lines = [f"{nodes}; {counted(self.graph.number_of_edges(), 'connection')}"]
        for source, target, data in self.graph.edges(data=True):
            end = _describe_end(target, self.graph.nodes[target])
            lines.append(f"  {source} -> {end}: {_describe_edge(data)}")
        for node, fraction in self.basins.items():
            lines.append(f"  basin of {node}: {fraction:.1%} of sampled states")
        elsewhere = self.graph.graph.get("basin_unresolved", 0.0)
        if elsewhere > 0:
            lines.append(f"  no known attractor: {elsewhere:.1%} of sampled states")
        if "missing" in self.graph.graph:
            lines.append(f"  time ran out before: {self.graph.graph['missing']}")
        lines.append(f"  {self.audit.summary()}")
        return "\n".join(lines)


def counted(count: int, noun: str) -> str:
    """A number with its noun, such as "2 saddles"; adjectives stay as they are."""
    regular = noun.endswith(
        (
            "attractor",
            "saddle",
            "repeller",
            "point",
            "connection",
            "cycle",
            "set",
        )
    )
    return f"{count} {noun}s" if regular and count != 1 else f"{count} {noun}"


def _describe_end(node: int, data: dict[str, Any]) -> str:
    if data["kind"] != "unresolved":
        return str(node)
    return f"{node} ({data.get('reason', 'no known saddle')})"


def _describe_edge(data: dict[str, Any]) -> str:
    what = _BETWEEN_SADDLES.get(data.get("kind", ""))
    if what is None:
        what = f"{data['directions']} of {data['tried']} directions"
    return f"{what}, {data['transit_steps']} steps"


_BETWEEN_SADDLES = {
    "connecting_orbit": "an orbit between saddles",
    "connecting_family": "a family of orbits between saddles",
    "border": "the border of two basins",
}


def _describe(data: dict[str, Any]) -> str:
    if data["kind"] == "fixed_point":
        return str(data["stability"])
    if data["kind"] == "continuum":
        known = data["shape"] != Shape.UNDECIDED.value
        return f"{data['shape'] if known else 'continuum'} of fixed points"
    if data["kind"] == "cycle":
        sort = "saddle" if data["unstable_dim"] else "attracting"
        return f"{sort} period-{data['period']} cycle"
    if data["kind"] in MOVING.values():
        return f"{data['kind'].replace('_', '-')} set"
    return str(data["kind"]).replace("_", " ")
