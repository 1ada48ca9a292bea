"""Runs that came to rest, and the fixed points where they did."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from captum_dynamics._typing import Mask, States
from captum_dynamics.exceptions import ConvergenceWarning
from captum_dynamics.fixed_points import FixedPoints, Kind, find_fixed_points
from captum_dynamics.leading import leading_modes
from captum_dynamics.regimes._endings import Ending, Regime
from captum_dynamics.regimes._runs import Found, Problem, nearness, rest

ON_THE_CIRCLE = 1e-6  # |ln|lambda|| of a multiplier that counts as on the unit circle


def resting(problem: Problem, states: States) -> Mask:
    """Runs (n,) that are at rest where they are."""
    still: Mask = (problem.step(states) - states).norm(dim=-1) < rest(states)
    return still


def rests(problem: Problem, states: States, rows: Tensor) -> list[Found]:
    """Fixed points at which the given rows of `states` rest, each once.

    Runs that rest where no fixed point is near are left out: saturated gates can keep a
    state all but still. All points of continua make one end.
    """
    if not len(rows):
        return []
    own = states[rows]
    points = _solved(problem, own)
    near = (points.states - own).norm(dim=-1) < nearness(own)
    near &= points.kind == Kind.FIXED
    rows, points = rows[near], points[near]
    if not len(points):
        return []
    places = points.unique()
    nearest = torch.cdist(points.states, places.states).argmin(1)
    simple = torch.nonzero(~places.degenerate)[:, 0]
    found = [
        _found(problem, places[place[None]], rows[nearest == place]) for place in simple
    ]
    continuum = rows[places.degenerate[nearest]]
    if len(continuum):
        found.append(_found(problem, places[places.degenerate], continuum))
    return found


def _solved(problem: Problem, states: States) -> FixedPoints:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return find_fixed_points(problem.dynamics, states, problem.one_input)


def _found(problem: Problem, points: FixedPoints, rows: Tensor) -> Found:
    modes = leading_modes(problem.dynamics, points[:1], count=problem.count)
    exponents = modes.eigenvalues[0].abs().log()
    ending = Ending(
        Regime.REST,
        points.states,
        1,
        float(points.residual_norms[0]),
        exponents,
        torch.zeros_like(exponents),
        zeros=int((exponents.abs() <= ON_THE_CIRCLE).sum()),
        dimension=0.0,
        degenerate=bool(points.degenerate[0]),
    )
    return ending, rows
