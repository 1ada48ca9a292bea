"""Following unstable branches to where they end."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from captum_dynamics import _checks
from captum_dynamics._typing import States
from captum_dynamics.dynamics import DynamicsMap
from captum_dynamics.fixed_points import FixedPoints
from captum_dynamics.linearization import Linearization
from captum_dynamics.topology._attracting import attracting_sets, check_one_input
from captum_dynamics.topology._builder import Builder
from captum_dynamics.topology._closure import follow_ends, search_between
from captum_dynamics.topology._deadline import Deadline
from captum_dynamics.topology._flow import Flow
from captum_dynamics.topology._known import Known
from captum_dynamics.topology.audit import AuditVerdict, audit_graph
from captum_dynamics.topology.continua import gather_continua
from captum_dynamics.topology.graph import FixedPointGraph


def connect(
    dynamics: DynamicsMap,
    linearization: Linearization,
    *,
    directions: int = 64,
    basin_states: States | None = None,
    basin_samples: int = 256,
    max_steps: int = 20_000,
    searches: int = 4,
    time_limit: float = math.inf,
    generator: torch.Generator | None = None,
    show_progress: bool = False,
) -> FixedPointGraph:
    """Build the graph of fixed points under one constant input.

    A point with one unstable direction sends out two branches; from a point with more,
    directions are sampled so that weak and strong ones leave its neighbourhood
    together, and the attractors they reach become its targets. Degenerate points that
    hang together, on a line or a ring of fixed points, become one node.

    Connections between saddles follow: from two unstable directions by tracking the
    borders between basins, from more by shooting at the points with one less, as far
    as `directions` tell where to aim. Each ends in a passage by its saddle closer than
    1e-4; see `FixedPointGraph` for the kinds of edges.

    What the graph points at is searched for, and the graph is built again with what
    was found: points, cycles and other attracting sets where branches ended, and, where
    the audit refutes the graph, points between known ones. A branch that ends at
    nothing known all the same leads to a node of kind "unresolved", with the reason: it
    is never dropped.

    Args:
        dynamics: the map.
        linearization: of distinct points, all under the same input.
        directions: directions to sample where more than one is unstable.
        basin_states: states (m, d) from which basin fractions are estimated, such as
            visited ones. By default they are uniform in the box the map maps into
            itself, or else in the box of the points, widened by half.
        basin_samples: number of states to draw where none are given; 0 for none.
        max_steps: steps after which a trajectory counts as unresolved.
        searches: rounds of searches for what the graph points at; 0 for none.
        time_limit: seconds after which no more is begun. The graph then holds what
            there is, and `graph.graph["missing"]` names what was left undone.
        generator: source of randomness.
        show_progress: show progress bars.

    Returns:
        The graph; node i is row i of its own `linearization`: the given points, without
        those on a continuum, those found, and one for each continuum.

    Raises:
        TypeError: when `linearization` is none, or `basin_states` are no floating
            tensor.
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
    _checks.check_count("directions", directions)
    _checks.check_count("basin_samples", basin_samples, least=0)
    _checks.check_count("max_steps", max_steps)
    _checks.check_count("searches", searches, least=0)
    _checks.check_positive("time_limit", time_limit)
    check_one_input(dynamics, linearization)
    points = linearization.points
    if basin_states is not None:
        _checks.check_matrix(
            "basin_states", basin_states, dynamics.state_dim, points.states.device
        )
    starts = basin_states
    if starts is None:
        starts = _basin_box(dynamics, points, basin_samples, generator)
    starts = starts.detach().to(points.states)
    search = _Search(
        dynamics,
        starts,
        directions,
        max_steps,
        searches,
        Deadline.within(time_limit),
        generator,
        show_progress,
    )
    return search.run(Known(*gather_continua(dynamics, linearization)))


@dataclass(frozen=True, eq=False)
class _Search:
    """Builds the graph of what is known, and again while it points at more."""

    dynamics: DynamicsMap
    basin_states: States
    directions: int
    max_steps: int
    searches: int
    deadline: Deadline
    generator: torch.Generator | None
    show_progress: bool

    def run(self, known: Known) -> FixedPointGraph:
        """Search between points for as long as the graph says that some are missing."""
        builder = self._connected(known)
        for _ in range(self.searches):
            audit = audit_graph(builder.graph)
            refuted = audit.verdict is AuditVerdict.REFUTED
            if not (refuted or builder.border_ends) or self.deadline.passed:
                break
            known = builder.known
            found = search_between(
                self.dynamics, known, builder.border_ends, audit, self.generator
            )
            if found is known:
                break
            builder = self._connected(found)
        builder.explain_ends()
        return builder.finish()

    def _connected(self, known: Known) -> Builder:
        """Search where branches end for as long as that is nothing known."""
        builder = self._begun(known)
        for _ in range(self.searches):
            if self.deadline.passed:
                break
            found = follow_ends(self.dynamics, builder.known, builder.loose_ends)
            if found is builder.known:
                break
            builder = self._begun(found)
        builder.add_saddle_edges()
        builder.add_index_rule()
        return builder

    def _begun(self, known: Known) -> Builder:
        flow = Flow(
            self.dynamics,
            known.linearization.points.inputs[0],
            attracting_sets(known.linearization, known.continua, known.endings),
            self.max_steps,
            self.deadline,
            self.show_progress,
        )
        builder = Builder(known, flow, self.directions, self.generator)
        builder.add_branches()
        builder.add_basins(self.basin_states)
        return builder


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
