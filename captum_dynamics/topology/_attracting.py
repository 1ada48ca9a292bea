"""What trajectories can end at: attracting points, cycles, and continua of points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from captum_dynamics import _checks
from captum_dynamics._typing import Counts, Mask, OtherStates, PerOther, States
from captum_dynamics.dynamics import DynamicsMap
from captum_dynamics.fixed_points import Kind
from captum_dynamics.linearization import Linearization
from captum_dynamics.long_runs import Cycle
from captum_dynamics.topology._destinations import UNRESOLVED, capture_radii
from captum_dynamics.topology.continua import Continuum


@dataclass(frozen=True, eq=False)
class AttractingSets:
    """States that capture what comes near, and the node that each belongs to.

    Attributes:
        states: attracting points and the states of cycles (m, d).
        capture: distance (m,) at which each captures.
        nodes: the node (m,) of each.
        continua: attracting ones; they hold states at rest between those of a sample.
    """

    states: OtherStates
    capture: PerOther
    nodes: Counts
    continua: tuple[Continuum, ...]

    def node_at(self, states: States, resting: Mask) -> Counts:
        """The continuum (n,) that states at rest lie on, or -1."""
        nodes = torch.full_like(resting, UNRESOLVED, dtype=torch.long)
        for continuum in self.continua:
            rows = torch.nonzero(resting)[:, 0]
            nodes[rows[continuum.holds(states[rows])]] = continuum.node
        return nodes


def attracting_sets(
    linearization: Linearization,
    continua: Sequence[Continuum],
    cycles: Sequence[Cycle],
) -> AttractingSets:
    """All that attracts; cycles have the nodes after the rows of the linearization."""
    rows = attracting_rows(linearization)
    whole = torch.tensor([c.node for c in continua], dtype=torch.long).to(rows)
    rows = rows[~torch.isin(rows, whole)]
    points = linearization.points.states
    orbits = [cycle.states.to(points) for cycle in cycles]
    states = torch.cat([points[rows], *orbits])
    nodes = [rows]
    for place, orbit in enumerate(orbits):
        nodes.append(rows.new_full((len(orbit),), len(points) + place))
    return AttractingSets(
        states,
        capture_radii(torch.cat([points, *orbits]), states),
        torch.cat(nodes),
        tuple(c for c in continua if not c.unstable_dim(linearization)),
    )


def check_one_input(dynamics: DynamicsMap, linearization: Linearization) -> None:
    """Refuse points that do not fit the map, or belong to several inputs."""
    points = linearization.points
    dynamics.check(points.states, points.inputs, "linearization.points.states")
    _checks.check_rows("linearization.points", points.states)
    if bool((points.inputs != points.inputs[:1]).any()):
        raise ValueError(
            "Expected `linearization` to hold points of one constant input, got "
            "several; take each input's points on their own."
        )


def attracting_rows(linearization: Linearization) -> Counts:
    """Rows of fixed points that no unstable direction leaves."""
    fixed = linearization.points.kind == Kind.FIXED
    rows: Counts = torch.nonzero(fixed & (linearization.unstable_dims == 0))[:, 0]
    return rows
