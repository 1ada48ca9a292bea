"""A graph under construction: trajectories in, nodes and edges out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

import networkx as nx
import torch
from torch import Tensor

from captum_dynamics._shares import wilson_interval
from captum_dynamics._typing import OneState, States
from captum_dynamics.completeness import audit_indices
from captum_dynamics.regimes import classify_runs
from captum_dynamics.topology._border_edges import border_edges
from captum_dynamics.topology._deadline import OutOfTimeError
from captum_dynamics.topology._destinations import AT_REST, UNRESOLVED, Destinations
from captum_dynamics.topology._flow import Flow
from captum_dynamics.topology._known import Known
from captum_dynamics.topology._nodes import (
    continuum_data,
    ending_data,
    finite,
    known_states,
    nodes,
    unstable_dim,
)
from captum_dynamics.topology._orbits import (
    Branches,
    Orbit,
    SaddleEdge,
    closed_circles,
    more_of_each_pair,
    sides_of,
)
from captum_dynamics.topology._passages import PASSAGE
from captum_dynamics.topology._saddle_cycles import around, distance_to
from captum_dynamics.topology._shot_edges import shot_edges
from captum_dynamics.topology._unstable import (
    LARGEST_STEP,
    SURROUNDING_STEP,
    UnstableFrame,
    sphere,
    unstable_frame,
)
from captum_dynamics.topology.graph import ATTRACTING, FixedPointGraph

Found = TypeVar("Found")
MOST_RUNS = 16  # followed to say why an end is unresolved


@dataclass(eq=False)
class Builder:
    """Follows branches of what is known, and writes down where they end.

    Attributes:
        known: the points and sets to connect.
        flow: the map, with what attracts.
        count: directions to sample where more than one is unstable.
        generator: source of randomness.
        graph: the graph so far.
        border_ends: where borders of basins that lead to nothing known were seen last.
        missing: what was not done because time was up.
    """

    known: Known
    flow: Flow
    count: int
    generator: torch.Generator | None
    graph: nx.MultiDiGraph[int] = field(default_factory=nx.MultiDiGraph)
    border_ends: list[OneState] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    _loose: list[States] = field(default_factory=list)
    _open: dict[int, States] = field(default_factory=dict)
    _followed: list[Branches] = field(default_factory=list)

    def __post_init__(self) -> None:
        linear, continua, endings = vars(self.known).values()
        states = known_states(linear, continua, endings)
        self.graph.add_nodes_from(nodes(linear, states))
        for continuum in continua:
            self.graph.nodes[continuum.node].update(continuum_data(linear, continuum))
        for place, ending in enumerate(endings):
            self.graph.add_node(len(linear) + place, **ending_data(ending, states))

    @property
    def loose_ends(self) -> States:
        """States (m, d) at which trajectories ended that is nothing known."""
        return torch.cat([self.known.linearization.points.states[:0], *self._loose])

    def finish(self) -> FixedPointGraph:
        """The graph as it is."""
        if self.missing:
            self.graph.graph["missing"] = ", ".join(dict.fromkeys(self.missing))
        known = self.known
        return FixedPointGraph(
            self.graph, known.linearization, known.continua, known.endings
        )

    def explain_ends(self) -> None:
        """Say what trajectories do that ended at nothing known."""
        inputs = self.flow.one_input[None]
        for node, states in self._open.items():
            if self.flow.deadline.passed:
                reason = "time ran out"
            else:
                runs = classify_runs(self.flow.dynamics, states[:MOST_RUNS], inputs)
                reason = max(runs.endings, key=lambda end: end.runs).describe()
            self.graph.nodes[node]["reason"] = reason

    def add_branches(self) -> None:
        """Follow the unstable directions of every fixed point to attractors."""
        frames = self._frames(1, LARGEST_STEP)
        self._followed = self._branches(frames)
        for branch in (*self._followed, *self._branches(self._cycle_frames())):
            self._add_branch(branch)
        self._note_late("branches")

    def add_saddle_edges(self) -> None:
        """Connect points with two or more unstable directions to saddles."""
        flow, linear = self.flow, self.known.linearization
        branches = self._branches(self._frames(2, SURROUNDING_STEP))
        dims = torch.where(self.known.fixed, self.known.unstable_dims, -1)
        tracked = self._in_time(
            "borders of basins",
            partial(
                border_edges, flow, linear, dims, branches, sides_of(self._followed)
            ),
        )
        tracked = [self._to_cycle(orbit) for orbit in tracked]
        self.border_ends += [o.end for o in tracked if o.edge.target == UNRESOLVED]
        closed, shots = closed_circles(tracked, self._followed), list[SaddleEdge]()
        for dim in sorted({branch.frame.dim for branch in branches}):
            group = [branch for branch in self._followed if branch.frame.dim == dim]
            goals = torch.nonzero(dims == dim - 1)[:, 0]
            shots += self._in_time(
                f"connections from points with {dim} unstable directions",
                partial(
                    shot_edges,
                    flow,
                    linear,
                    goals,
                    group,
                    tracked,
                    closed,
                    self.generator,
                ),
            )
        for edge in more_of_each_pair([orbit.edge for orbit in tracked], shots):
            self._add_saddle_edge(edge)

    def add_index_rule(self) -> None:
        """Note whether the indices of all points must add up to 1, or why not."""
        points = self.known.linearization.points[self.known.fixed]
        owners = torch.zeros(len(points), dtype=torch.long, device=points.states.device)
        with torch.no_grad():
            _, (objection,) = audit_indices(
                self.flow.dynamics, points, owners, self.flow.one_input[None]
            )
        self.graph.graph["index_rule"] = not objection
        if objection:
            self.graph.graph["index_objection"] = objection

    def add_basins(self, starts: States) -> None:
        """Estimate the share of states that each attractor draws in."""
        if not len(starts):
            return
        ends = self.flow.follow(starts, "Basins")
        self._note_late("basins")
        self.graph.graph["basin_samples"] = len(starts)
        for node, data in self.graph.nodes(data=True):
            if data["unstable_dim"] or data["kind"] not in ATTRACTING:
                continue
            hits = int((ends.targets == node).sum())
            low, high = wilson_interval(hits, len(starts))
            data.update(
                basin_fraction=hits / len(starts), basin_low=low, basin_high=high
            )
        missed = ends.targets == UNRESOLVED
        self._keep(ends.states[missed])
        self.graph.graph["basin_unresolved"] = int(missed.sum()) / len(starts)

    def _frames(self, least: int, largest: float) -> dict[int, UnstableFrame]:
        """The unstable axes of every fixed point with enough unstable dimensions."""
        chosen = self.known.fixed & (self.known.unstable_dims >= least)
        rows = torch.nonzero(chosen)[:, 0].tolist()
        return {row: self.known.frame(row, largest) for row in rows}

    def _cycle_frames(self) -> dict[int, UnstableFrame]:
        """The unstable axes of cycles, at the first state of each."""
        flow = self.flow
        inputs, first = flow.one_input[None], len(self.known.linearization)
        return {
            node: unstable_frame(
                around(flow.dynamics, cycle, inputs), 0, largest=LARGEST_STEP
            )
            for node, cycle in enumerate(self.known.endings, start=first)
            if unstable_dim(cycle)
        }

    def _to_cycle(self, orbit: Orbit) -> Orbit:
        """Let an orbit to nothing known lead to the cycle that it ends at."""
        first = len(self.known.linearization)
        for node, cycle in enumerate(self.known.endings, start=first):
            distance = distance_to(cycle, orbit.end)
            if orbit.edge.target == UNRESOLVED and distance <= PASSAGE:
                edge = replace(orbit.edge, target=node, distance=distance)
                return replace(orbit, edge=edge)
        return orbit

    def _dim(self, node: int) -> int:
        return int(self.graph.nodes[node]["unstable_dim"])

    def _branches(self, frames: dict[int, UnstableFrame]) -> list[Branches]:
        """Follow directions from all points at once."""
        if not frames:
            return []
        directions = [
            sphere(frame.dim, self.count, self.generator).to(frame.axes)
            for frame in frames.values()
        ]
        starts = [
            frame.starts(own)
            for frame, own in zip(frames.values(), directions, strict=True)
        ]
        ends = self.flow.follow(torch.cat(starts), "Branches")
        branches, first = [], 0
        for (source, frame), own in zip(frames.items(), directions, strict=True):
            rows = torch.arange(first, first + len(own), device=own.device)
            branches.append(Branches(source, frame, own, ends.select(rows)))
            first += len(own)
        return branches

    def _add_branch(self, branch: Branches) -> None:
        ends, rows = branch.ends, torch.arange(len(branch.ends.targets))
        if branch.frame.dim == 1:
            for side, row in zip((1, -1), rows, strict=True):
                self._add_edge(branch, row[None], side)
            return
        for target in torch.unique(ends.targets):
            group = torch.nonzero(ends.targets == target)[:, 0]
            self._add_edge(branch, group, 0)

    def _add_edge(self, branch: Branches, rows: Tensor, side: int) -> None:
        source, ends = branch.source, branch.ends
        target = int(ends.targets[rows[0]])
        resolved = target != UNRESOLVED
        if not resolved:
            starts = branch.frame.starts(branch.directions[rows])
            target = self._unresolved_node(ends.select(rows), starts)
        reached = ends.distances if resolved else ends.residual_norms
        dim = self._dim(target) if resolved else 0
        data = {
            "kind": "unstable_branch" if side else "unstable_directions",
            "side": side,
            "directions": len(rows),
            "tried": len(ends.targets),
            "transit_steps": int(ends.steps[rows].double().median()),
            "distance": float(reached[rows].max()),
            "unstable_drop": self._dim(source) - dim,
            "verified": resolved,
        }
        self.graph.add_edge(source, target, **finite(data))

    def _add_saddle_edge(self, edge: SaddleEdge) -> None:
        target = edge.target
        known = target != UNRESOLVED
        drop = self._dim(edge.source) - (self._dim(target) if known else 1)
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

    def _unresolved_node(self, ends: Destinations, starts: States) -> int:
        """One node for the ends of a source that lead to nothing known."""
        self._keep(ends.states)
        node = self.graph.number_of_nodes()
        norms = ends.residual_norms
        # What is no number any more is told from where it began.
        gone = ~torch.isfinite(norms)[:, None]
        self._open[node] = torch.where(gone, starts, ends.states)
        data = {
            "kind": "unresolved",
            "stability": "unknown",
            "unstable_dim": -1,
            "residual_norm": float(norms.max()),
            "at_rest": bool((norms < AT_REST).all()),
            "diverged": not bool(torch.isfinite(norms).all()),
        }
        self.graph.add_node(node, **finite(data))
        return node

    def _keep(self, states: States) -> None:
        self._loose.append(states[torch.isfinite(states).all(1)])

    def _note_late(self, what: str) -> None:
        if self.flow.deadline.passed:
            self.missing.append(what)

    def _in_time(self, what: str, search: Callable[[], list[Found]]) -> list[Found]:
        """Do what there is time for; otherwise note that it is missing."""
        try:
            self.flow.deadline.check()
            return search()
        except OutOfTimeError:
            self.missing.append(what)
            return []
