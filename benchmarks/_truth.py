"""What is really there, and how much of it a method found."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from _methods import Found
from _nets import Net
from torch import Tensor

import captum_dynamics as cd
from captum_dynamics.solvers import Dogleg

EXACT = 1e-24  # q of a point that is known
SAME = 1e-3  # distance within which a state is a known point
APART = 1e-2  # distance beyond which it is none
LOOSE, TIGHT = 1e-8, 1e-12  # on q, recomputed in float64
WORTH_POLISHING = 1e-4  # q above which a state is nothing that was found
ROUNDS = 4  # of the long search, each of as many fresh starts as a measured search has
PATIENCE = 15.0  # seconds after which no further round begins


@dataclass(frozen=True)
class Score:
    """Counts of distinct points.

    Attributes:
        returned: all that the method returned.
        loose: known points met at q < 1e-8.
        tight: known points met at q < 1e-12.
        spurious: claimed to be fixed, but near no known point.
    """

    returned: int
    loose: int
    tight: int
    spurious: int


def known_points(net: Net, starts: Tensor, found: Sequence[Found]) -> Tensor:
    """Points (m, d) of a long search, and of all methods where they polish to one.

    Points at rest through saturated gates alone are none.
    """
    parts = [polished(net, result.states) for result in found]
    began = time.perf_counter()
    for turn in range(ROUNDS):
        fresh = net.draw_starts(len(starts), seed=1000 + turn)
        parts.append(_exact(net, fresh, None))
        if time.perf_counter() - began > PATIENCE:
            break
    states = torch.cat(parts)
    # Once more as one set: which of them are one point is decided by their errors.
    return _exact(net, states, Dogleg(max_steps=50)) if len(states) else states


def polished(net: Net, states: Tensor) -> Tensor:
    """The points that a trust-region search in float64 meets from states at rest."""
    q = net.dynamics.speed(states, net.inputs.expand(len(states), -1))
    resting = states[q < WORTH_POLISHING]  # false for NaN
    return _exact(net, resting, Dogleg(max_steps=50)) if len(resting) else resting


def score(net: Net, found: Found, known: Tensor) -> Score:
    """Count what a method found, with q recomputed at the states it returned."""
    states = found.states
    q = net.dynamics.speed(states, net.inputs.expand(len(states), -1))
    if len(known):
        distances, nearest = torch.cdist(
            states, known, compute_mode="donot_use_mm_for_euclid_dist"
        ).min(1)
    else:
        distances = torch.full((len(states),), torch.inf, dtype=torch.float64)
        nearest = torch.zeros(len(states), dtype=torch.long)
    met = distances < SAME
    return Score(
        returned=len(states),
        loose=len(nearest[met & (q < LOOSE)].unique()),
        tight=len(nearest[met & (q < TIGHT)].unique()),
        spurious=int((found.claimed & ~(distances < APART)).sum()),
    )


def _exact(net: Net, starts: Tensor, solver: cd.solvers.Solver | None) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", cd.ConvergenceWarning)
        points = cd.find_fixed_points(net.dynamics, starts, net.inputs, solver=solver)
    points = points[(points.kind == cd.Kind.FIXED) & (points.speed < EXACT)]
    return points.unique().states
