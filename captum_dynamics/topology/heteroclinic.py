"""Following unstable branches to where they end."""

from __future__ import annotations

import math
from typing import Any

import networkx as nx
import torch
from torch import Tensor

from captum_dynamics import _checks
from captum_dynamics._typing import Inputs, States
from captum_dynamics.dynamics import DynamicsMap
from captum_dynamics.fixed_points import FixedPoints, Kind
from captum_dynamics.linearization import Linearization, Stability
from captum_dynamics.topology._destinations import (
    UNRESOLVED,
    Destinations,
    capture_radii,
    follow,
)
from captum_dynamics.topology.graph import FixedPointGraph

# Distances from a point p, relative to 1 + |p|, at which branches start.
FIRST_STEP = 1e-5
LARGEST_STEP = 1e-2  # beyond it a start has left the linear neighbourhood
LEAST_STEP = 1e-9  # below it a start drowns in the rounding of the point itself


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
    dynamics.check(points.states, points.inputs, "linearization.points.states")
    if bool((points.inputs != points.inputs[:1]).any()):
        raise ValueError(
            "Expected `linearization` to hold points of one constant input, got "
            "several; connect each input's points on their own."
        )
    if basin_states is not None:
        _checks.check_matrix(
            "basin_states", basin_states, dynamics.state_dim, points.states.device
        )
    builder = _Builder(dynamics, linearization, max_steps, show_progress)
    builder.add_branches(directions, generator)
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
        self._dynamics = dynamics
        self._linearization = linearization
        self._max_steps = max_steps
        self._show = show_progress
        points = linearization.points
        self._fixed = points.kind == Kind.FIXED
        self._attractors = torch.nonzero(
            self._fixed & (linearization.unstable_dims == 0)
        )[:, 0]
        self._capture = capture_radii(points.states, points.states[self._attractors])
        self.graph.add_nodes_from(_nodes(linearization))

    def add_branches(self, count: int, generator: torch.Generator | None) -> None:
        """Follow the unstable directions of every fixed point."""
        unstable = self._fixed & (self._linearization.unstable_dims > 0)
        sources: list[int] = []
        starts: list[States] = []
        for source in torch.nonzero(unstable)[:, 0].tolist():
            branch = unstable_starts(self._linearization, source, count, generator)
            starts.append(branch)
            sources += [source] * len(branch)
        if not starts:
            return
        ends = self._follow(torch.cat(starts), "Branches")
        owners = torch.tensor(sources, device=ends.targets.device)
        for source in sorted(set(sources)):
            self._add_edges(source, ends, torch.nonzero(owners == source)[:, 0])

    def add_basins(self, starts: States) -> None:
        """Estimate the share of states that each attractor draws in."""
        if not len(starts):
            return
        ends = self._follow(starts, "Basins")
        self.graph.graph["basin_samples"] = len(starts)
        for order, node in enumerate(self._attractors.tolist()):
            hits = int((ends.targets == order).sum())
            low, high = _wilson(hits, len(starts))
            self.graph.nodes[node].update(
                basin_fraction=hits / len(starts), basin_low=low, basin_high=high
            )
        missed = int((ends.targets == UNRESOLVED).sum())
        self.graph.graph["basin_unresolved"] = missed / len(starts)

    def _follow(self, starts: States, desc: str) -> Destinations:
        points = self._linearization.points
        inputs: Inputs = points.inputs[:1].expand(len(starts), -1)
        return follow(
            self._dynamics,
            starts.to(points.states),
            inputs,
            points.states[self._attractors],
            capture=self._capture,
            max_steps=self._max_steps,
            show_progress=self._show,
            desc=desc,
        )

    def _add_edges(self, source: int, ends: Destinations, rows: Tensor) -> None:
        unstable = int(self._linearization.unstable_dims[source])
        if unstable == 1:
            for side, row in zip((1, -1), rows, strict=True):
                self._add_edge(source, ends, row[None], len(rows), side)
            return
        for target in torch.unique(ends.targets[rows]):
            group = rows[ends.targets[rows] == target]
            self._add_edge(source, ends, group, len(rows), 0)

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
        self.graph.add_edge(source, target, **_finite(data))

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
        self.graph.add_node(node, **_finite(data))
        return node


def unstable_starts(
    linearization: Linearization,
    row: int,
    count: int,
    generator: torch.Generator | None = None,
) -> States:
    """Starts (m, d) on the linear unstable manifold of one point.

    For one unstable direction the two sides p +- s r. For more, points
    p + s sum_i |lambda_i|^-n u_i r_i with u on the unit sphere and n such that the
    weakest direction has shrunk to the first step, or the strongest to the least: all
    of them then reach the same distance together, where a round sphere would follow
    the strongest alone. Where rates differ so much that no n does both, the strongest
    directions still lead.
    """
    values = linearization.eigenvalues[row]
    sizes = values.abs()
    chosen = (sizes > 1 + linearization.margin) & (values.imag >= 0)
    vectors = linearization.right_eigenvectors[row].T[chosen]
    basis, rates = [], []
    for value, vector in zip(values[chosen], vectors, strict=True):
        parts = [vector.real] if float(value.imag) == 0 else [vector.real, vector.imag]
        basis += [part / part.norm() for part in parts]
        rates += [float(value.abs())] * len(parts)
    frame = torch.stack(basis)
    centre = linearization.points.states[row]
    sphere = _sphere(len(basis), count, generator).to(frame)
    steps = min(
        math.log(1 / FIRST_STEP) / math.log(min(rates)),
        math.log(1 / LEAST_STEP) / math.log(max(rates)),
    )
    shrunk = torch.tensor([rate**-steps for rate in rates]).to(frame)
    lengths = (1 + centre.norm()) * shrunk.clamp(LEAST_STEP, LARGEST_STEP)
    starts: States = centre + (sphere * lengths) @ frame
    return starts


def _sphere(dim: int, count: int, generator: torch.Generator | None) -> Tensor:
    """Unit vectors: both for one dimension, a circle for two, random for more."""
    if dim == 1:
        return torch.tensor([[1.0], [-1.0]], dtype=torch.float64)
    if dim == 2:
        # Half a step of offset keeps the sample off the axes of symmetry.
        angles = (torch.arange(count, dtype=torch.float64) + 0.5) * 2 * math.pi / count
        return torch.stack([angles.cos(), angles.sin()], dim=1)
    raw = torch.randn(count, dim, generator=generator, dtype=torch.float64)
    unit: Tensor = raw / raw.norm(dim=1, keepdim=True)
    return unit


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


def _nodes(linearization: Linearization) -> list[tuple[int, dict[str, Any]]]:
    points = linearization.points
    plane = _plane(points.states)
    stability, dims = linearization.stability.tolist(), linearization.unstable_dims
    indices, radius = linearization.indices, linearization.spectral_radius
    times = linearization.slowest_decay
    nodes: list[tuple[int, dict[str, Any]]] = []
    for row, kind in enumerate(points.kind.tolist()):
        name = "fixed_point" if kind == Kind.FIXED else Kind(kind).name.lower()
        data: dict[str, Any] = {
            "kind": "slow_point" if kind == Kind.SLOW else name,
            "stability": Stability(stability[row]).name.lower(),
            "unstable_dim": int(dims[row]),
            "index": int(indices[row]),
            "residual_norm": float(points.residual_norms[row]),
            "spectral_radius": float(radius[row]),
            "multiplicity": int(points.multiplicity[row]),
            "degenerate": bool(points.degenerate[row]),
            "x": float(plane[row, 0]),
            "y": float(plane[row, 1]),
            "time_constant": float(times[row]),
        }
        nodes.append((row, _finite(data)))
    return nodes


def _finite(data: dict[str, Any]) -> dict[str, Any]:
    """Leave out numbers that are not finite: JSON has no word for them."""
    return {
        name: value
        for name, value in data.items()
        if not isinstance(value, float) or math.isfinite(value)
    }


def _plane(states: States) -> Tensor:
    """First two principal components (n, 2) of the points, zero where they lack."""
    centred = states - states.mean(0)
    axes = torch.linalg.svd(centred, full_matrices=False)[2][:2]
    # The sign of an axis is free: make its largest entry positive.
    largest = axes.abs().argmax(1)
    axes = axes * axes[torch.arange(len(axes)), largest].sign()[:, None]
    plane: Tensor = torch.nn.functional.pad(centred @ axes.T, (0, 2 - len(axes)))
    return plane


def _wilson(hits: int, trials: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share."""
    z = 1.959964
    share = hits / trials
    centre = (share + z**2 / (2 * trials)) / (1 + z**2 / trials)
    spread = share * (1 - share) / trials + z**2 / (4 * trials**2)
    half = z * math.sqrt(spread) / (1 + z**2 / trials)
    return max(0.0, centre - half), min(1.0, centre + half)
