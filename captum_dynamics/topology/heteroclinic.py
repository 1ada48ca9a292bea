"""Following unstable branches to where they end."""

from __future__ import annotations

import math

import networkx as nx
import torch
from torch import Tensor

from captum_dynamics import _checks
from captum_dynamics._typing import States
from captum_dynamics.completeness import audit_indices
from captum_dynamics.dynamics import DynamicsMap
from captum_dynamics.fixed_points import FixedPoints, Kind
from captum_dynamics.linearization import Linearization
from captum_dynamics.topology._attracting import attracting_rows, check_one_input
from captum_dynamics.topology._border_edges import border_edges
from captum_dynamics.topology._destinations import (
    UNRESOLVED,
    Destinations,
    capture_radii,
)
from captum_dynamics.topology._flow import Flow
from captum_dynamics.topology._nodes import finite, nodes
from captum_dynamics.topology._orbits import (
    Branches,
    SaddleEdge,
    closed_circles,
    more_of_each_pair,
)
from captum_dynamics.topology._shot_edges import shot_edges
from captum_dynamics.topology._unstable import (
    LARGEST_STEP,
    SURROUNDING_STEP,
    UnstableFrame,
    sphere,
    unstable_frame,
)
from captum_dynamics.topology.graph import FixedPointGraph


def connect(
    dynamics: DynamicsMap,
    linearization: Linearization,
    *,
    directions: int = 64,
    basin_states: States | None = None,
    basin_samples: int = 256,
    max_steps: int = 20_000,
    generator: torch.Generator | None = None,
    show_progress: bool = False,
) -> FixedPointGraph:
    """Build the graph of fixed points under one constant input.

    A point with one unstable direction sends out two branches; from a point with more,
    directions are sampled so that weak and strong ones leave its neighbourhood
    together, and the attractors they reach become its targets. A branch that ends at
    no known attractor leads to a node of kind "unresolved": it is never dropped.

    Connections between saddles follow: from two unstable directions by tracking the
    borders between basins, from more by shooting at the points with one less, as far
    as `directions` tell where to aim. Each ends in a passage by its saddle closer than
    1e-4; see `FixedPointGraph` for the kinds of edges.

    Args:
        dynamics: the map.
        linearization: of distinct points, all under the same input.
        directions: directions to sample where more than one is unstable.
        basin_states: states (m, d) from which basin fractions are estimated, such as
            visited ones. By default they are uniform in the box the map maps into
            itself, or else in the box of the points, widened by half.
        basin_samples: number of states to draw where none are given; 0 for none.
        max_steps: steps after which a trajectory counts as unresolved.
        generator: source of randomness.
        show_progress: show progress bars.

    Returns:
        The graph; node i is row i of `linearization`.

    Raises:
        TypeError: when `basin_states` are no floating tensor.
        ValueError: when the points do not share one input, or points or states do not
            fit the map.

    References:
        Skufca, Yorke and Eckhardt (2006), Phys. Rev. Lett. 96: edge tracking; Beyn
        (1990), IMA J. Numer. Anal. 10: connecting orbits by projection.

    Example:
        >>> import torch, captum_dynamics as cd
        >>> switch = cd.FunctionAdapter(lambda h, x: torch.tanh(2 * h), 1, 0)
        >>> starts = torch.tensor([[-1.0], [0.1], [1.0]])
        >>> points = cd.find_fixed_points(switch, starts, torch.zeros(1, 0))
        >>> graph = cd.connect(switch, cd.linearize(switch, points)).graph
        >>> sorted(graph.edges())
        [(1, 0), (1, 2)]
    """
    points = linearization.points
    _checks.check_count("directions", directions)
    _checks.check_count("basin_samples", basin_samples, least=0)
    _checks.check_count("max_steps", max_steps)
    check_one_input(dynamics, linearization)
    if basin_states is not None:
        _checks.check_matrix(
            "basin_states", basin_states, dynamics.state_dim, points.states.device
        )
    builder = _Builder(dynamics, linearization, max_steps, show_progress)
    followed = builder.add_branches(directions, generator)
    builder.add_saddle_edges(followed, directions, generator)
    builder.add_index_rule()
    starts = basin_states
    if starts is None:
        starts = _basin_box(dynamics, points, basin_samples, generator)
    builder.add_basins(starts.detach())
    return FixedPointGraph(builder.graph, linearization)


class _Builder:
    """A graph under construction."""

    def __init__(
        self,
        dynamics: DynamicsMap,
        linearization: Linearization,
        max_steps: int,
        show_progress: bool,
    ) -> None:
        self.graph: nx.MultiDiGraph[int] = nx.MultiDiGraph()
        self._linearization = linearization
        points = linearization.points
        self._fixed = points.kind == Kind.FIXED
        self._attractors = attracting_rows(linearization)
        attractors = points.states[self._attractors]
        self._flow = Flow(
            dynamics,
            points.inputs[0],
            attractors,
            capture_radii(points.states, attractors),
            max_steps,
            show_progress,
        )
        self.graph.add_nodes_from(nodes(linearization))

    def add_branches(
        self, count: int, generator: torch.Generator | None
    ) -> list[Branches]:
        """Follow the unstable directions of every fixed point to attractors."""
        frames = self._frames(1, LARGEST_STEP)
        branches = self._branches(frames, count, generator)
        for branch in branches:
            self._add_edges(branch)
        return branches

    def add_saddle_edges(
        self,
        followed: list[Branches],
        count: int,
        generator: torch.Generator | None,
    ) -> None:
        """Connect points with two or more unstable directions to saddles."""
        frames = self._frames(2, SURROUNDING_STEP)
        branches = self._branches(frames, count, generator)
        linear = self._linearization
        dims = torch.where(self._fixed, linear.unstable_dims, -1)
        tracked = border_edges(self._flow, linear, dims, branches)
        closed, shots = closed_circles(tracked, followed), list[SaddleEdge]()
        for dim in sorted({branch.frame.dim for branch in branches}):
            group = [branch for branch in followed if branch.frame.dim == dim]
            goals = torch.nonzero(dims == dim - 1)[:, 0]
            shots += shot_edges(
                self._flow, linear, goals, group, tracked, closed, generator
            )
        for edge in more_of_each_pair([orbit.edge for orbit in tracked], shots):
            self._add_saddle_edge(edge)

    def _frames(self, least: int, largest: float) -> dict[int, UnstableFrame]:
        """The unstable axes of every fixed point with enough unstable dimensions."""
        chosen = self._fixed & (self._linearization.unstable_dims >= least)
        return {
            row: unstable_frame(self._linearization, row, largest=largest)
            for row in torch.nonzero(chosen)[:, 0].tolist()
        }

    def _branches(
        self,
        frames: dict[int, UnstableFrame],
        count: int,
        generator: torch.Generator | None,
    ) -> list[Branches]:
        """Follow directions from all points at once."""
        if not frames:
            return []
        directions = [
            sphere(frame.dim, count, generator).to(frame.axes)
            for frame in frames.values()
        ]
        starts = [
            frame.starts(own)
            for frame, own in zip(frames.values(), directions, strict=True)
        ]
        ends = self._flow.follow(torch.cat(starts), "Branches")
        branches, first = [], 0
        for (source, frame), own in zip(frames.items(), directions, strict=True):
            rows = torch.arange(first, first + len(own), device=own.device)
            branches.append(Branches(source, frame, own, ends.select(rows)))
            first += len(own)
        return branches

    def add_index_rule(self) -> None:
        """Note whether the indices of all points must add up to 1, or why not."""
        points = self._linearization.points[self._fixed]
        owners = torch.zeros(len(points), dtype=torch.long, device=points.states.device)
        with torch.no_grad():
            _, (objection,) = audit_indices(
                self._flow.dynamics, points, owners, self._flow.one_input[None]
            )
        self.graph.graph["index_rule"] = not objection
        if objection:
            self.graph.graph["index_objection"] = objection

    def add_basins(self, starts: States) -> None:
        """Estimate the share of states that each attractor draws in."""
        if not len(starts):
            return
        ends = self._flow.follow(starts.to(self._flow.attractors), "Basins")
        self.graph.graph["basin_samples"] = len(starts)
        for order, node in enumerate(self._attractors.tolist()):
            hits = int((ends.targets == order).sum())
            low, high = _wilson(hits, len(starts))
            self.graph.nodes[node].update(
                basin_fraction=hits / len(starts), basin_low=low, basin_high=high
            )
        missed = int((ends.targets == UNRESOLVED).sum())
        self.graph.graph["basin_unresolved"] = missed / len(starts)

    def _add_edges(self, branch: Branches) -> None:
        ends, rows = branch.ends, torch.arange(len(branch.ends.targets))
        if branch.frame.dim == 1:
            for side, row in zip((1, -1), rows, strict=True):
                self._add_edge(branch.source, ends, row[None], len(rows), side)
            return
        for target in torch.unique(ends.targets):
            group = torch.nonzero(ends.targets == target)[:, 0]
            self._add_edge(branch.source, ends, group, len(rows), 0)

    def _add_edge(
        self, source: int, ends: Destinations, rows: Tensor, tried: int, side: int
    ) -> None:
        reached = int(ends.targets[rows[0]])
        resolved = reached != UNRESOLVED
        if resolved:
            target = int(self._attractors[reached])
            distance = float(ends.distances[rows].max())
        else:
            target = self._unresolved_node(ends, rows)
            distance = float(ends.residual_norms[rows].max())
        dims = self._linearization.unstable_dims
        data = {
            "kind": "unstable_branch" if side else "unstable_directions",
            "side": side,
            "directions": len(rows),
            "tried": tried,
            "transit_steps": int(ends.steps[rows].double().median()),
            "distance": distance,
            "unstable_drop": int(dims[source]) - (int(dims[target]) if resolved else 0),
            "verified": resolved,
        }
        self.graph.add_edge(source, target, **finite(data))

    def _add_saddle_edge(self, edge: SaddleEdge) -> None:
        dims, target = self._linearization.unstable_dims, edge.target
        known = target != UNRESOLVED
        drop = int(dims[edge.source]) - (int(dims[target]) if known else 1)
        if not known:
            target = self.graph.number_of_nodes()
            self.graph.add_node(
                target, kind="unresolved", stability="unknown", unstable_dim=-1
            )
        kind = "connecting_orbit" if drop == 1 else "connecting_family"
        data = {
            "kind": kind if known else "border",
            "side": 0,
            "directions": edge.directions,
            "tried": edge.tried,
            "transit_steps": edge.steps,
            "distance": edge.distance,
            "unstable_drop": drop,
            "verified": known,
        }
        self.graph.add_edge(edge.source, target, **finite(data))

    def _unresolved_node(self, ends: Destinations, rows: Tensor) -> int:
        """One node for the ends of a source that lead to no known attractor."""
        node = self.graph.number_of_nodes()
        norms = ends.residual_norms[rows]
        data = {
            "kind": "unresolved",
            "stability": "unknown",
            "unstable_dim": -1,
            "residual_norm": float(norms.max()),
            "at_rest": bool((norms < 1e-8).all()),
            "diverged": not bool(torch.isfinite(norms).all()),
        }
        self.graph.add_node(node, **finite(data))
        return node


def _basin_box(
    dynamics: DynamicsMap,
    points: FixedPoints,
    count: int,
    generator: torch.Generator | None,
) -> States:
    states = points.states
    box = dynamics.invariant_box(points.inputs[:1])
    if box is not None and bool(torch.isfinite(box[1]).all()):
        low, high = box[0][0], box[1][0]
    else:
        low, high = states.min(0).values, states.max(0).values
        low, high = low - 0.25 * (high - low), high + 0.25 * (high - low)
    shares = torch.rand(count, states.shape[1], generator=generator).to(states)
    return low + (high - low) * shares


def _wilson(hits: int, trials: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share."""
    z = 1.959964
    share = hits / trials
    centre = (share + z**2 / (2 * trials)) / (1 + z**2 / trials)
    spread = share * (1 - share) / trials + z**2 / (4 * trials**2)
    half = z * math.sqrt(spread) / (1 + z**2 / trials)
    return max(0.0, centre - half), min(1.0, centre + half)
