"""What trajectories can end at: points, continua of them, cycles and other sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from captum_dynamics import _checks
from captum_dynamics._typing import Counts, Mask, OtherStates, PerOther, States
from captum_dynamics.dynamics import DynamicsMap
from captum_dynamics.fixed_points import Kind
from captum_dynamics.linearization import Linearization
from captum_dynamics.regimes import Ending, Regime
from captum_dynamics.topology._destinations import UNRESOLVED, capture_radii
from captum_dynamics.topology._nodes import unstable_dim
from captum_dynamics.topology.continua import Continuum, distances_between

SAME_CYCLE = 1e-6  # distance, times 1 + |h|; both are solved for to far below
SHARED = 0.5  # of the states that one set visits, near those of the other
OVERLAP = 3.0  # times the largest distance of neighbours in a sample of 128 states


@dataclass(frozen=True, eq=False)
class AttractingSets:
    """States that capture what comes near, and the node that each belongs to.

    Attributes:
        states: attracting points and the states of cycles (m, d).
        capture: distance (m,) at which each captures.
        nodes: the node (m,) of each.
        continua: attracting ones; they hold states at rest between those of a sample.
        irregular: chaotic and quasi-periodic sets by node; they hold states as close to
            those of a sample as these are to each other.
    """

    states: OtherStates
    capture: PerOther
    nodes: Counts
    continua: tuple[Continuum, ...]
    irregular: Mapping[int, Ending]

    def node_at(self, states: States, resting: Mask) -> Counts:
        """The node (n,) whose set holds each state, at rest or not, or -1."""
        nodes = torch.full_like(resting, UNRESOLVED, dtype=torch.long)
        for continuum in self.continua:
            nodes[resting & continuum.holds(states)] = continuum.node
        for node, ending in self.irregular.items():
            nodes[~resting & _visits(states, ending.states.to(states))] = node
        return nodes


def _visits(states: States, sample: OtherStates) -> Mask:
    """Which states (n,) lie about as close to a sample as its own neighbours."""
    own = distances_between(sample, sample)
    own.fill_diagonal_(torch.inf)
    reach = OVERLAP * own.amin(1).max()
    near: Mask = distances_between(states, sample).amin(1) <= reach
    return near


def are_one(first: Ending, second: Ending) -> bool:
    """Whether two endings are the same set, seen twice."""
    if first.regime != second.regime or first.period != second.period:
        return False
    if first.regime == Regime.CYCLE:
        away = distances_between(first.states[:1], second.states).min()
        return bool(away <= SAME_CYCLE * (1 + first.states[0].norm()))
    return bool(_visits(first.states, second.states).double().mean() > SHARED)


def attracting_sets(
    linearization: Linearization,
    continua: Sequence[Continuum],
    endings: Sequence[Ending],
) -> AttractingSets:
    """All that attracts; endings have the nodes after the rows of the linearization."""
    rows = attracting_rows(linearization)
    whole = torch.tensor([c.node for c in continua], dtype=torch.long).to(rows)
    rows = rows[~torch.isin(rows, whole)]
    points = linearization.points.states
    named = dict(enumerate(endings, start=len(points)))
    cycles = {n: end for n, end in named.items() if end.regime == Regime.CYCLE}
    irregular = {n: end for n, end in named.items() if n not in cycles}
    cycles = {n: end for n, end in cycles.items() if not unstable_dim(end)}
    orbits = [cycle.states.to(points) for cycle in cycles.values()]
    states = torch.cat([points[rows], *orbits])
    nodes = [rows]
    for node, cycle in cycles.items():
        nodes.append(rows.new_full((cycle.period,), node))
    return AttractingSets(
        states,
        capture_radii(torch.cat([points, *orbits]), states),
        torch.cat(nodes),
        tuple(c for c in continua if not c.unstable_dim(linearization)),
        irregular,
    )


def check_one_input(dynamics: DynamicsMap, linearization: Linearization) -> None:
    """Refuse points that do not fit the map, or belong to several inputs."""
    if not isinstance(linearization, Linearization):
        raise TypeError(
            f"Expected `linearization` to be what `captum_dynamics.linearize` gives, "
            f"got {type(linearization).__name__}."
        )
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
