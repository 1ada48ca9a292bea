"""Following fixed points along a line of inputs, or over a family of maps."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from captum_dynamics import _checks
from captum_dynamics._typing import OneState
from captum_dynamics.continuation._arclength import (
    Place,
    correct,
    first_tangent,
    with_tangent,
)
from captum_dynamics.continuation._branches import Branches
from captum_dynamics.continuation._explore import explore
from captum_dynamics.continuation._path import InputPath, ParameterPath, Path
from captum_dynamics.continuation._trace import Pace
from captum_dynamics.dynamics import DynamicsMap
from captum_dynamics.fixed_points import FixedPoints

MAX_STEP = 0.05
MIN_STEP = 1e-8
MAX_STEPS = 2000
MAX_NORM = 1e4
ATOL = 1e-12
MAX_NEW_BRANCHES = 16
# Polishing may move a start by no more than this: a point it leaves was not fixed.
FARTHEST_START = 1e-3


@torch.no_grad()
def continue_points(
    dynamics: DynamicsMap,
    points: FixedPoints,
    start_input: Tensor,
    end_input: Tensor,
    *,
    max_step: float = MAX_STEP,
    min_step: float = MIN_STEP,
    max_steps: int = MAX_STEPS,
    max_norm: float = MAX_NORM,
    atol: float = ATOL,
    max_new_branches: int = MAX_NEW_BRANCHES,
    show_progress: bool = False,
) -> Branches:
    """Follow fixed points while the input moves from one value to another.

    The input is x(s) = (1 - s) x_a + s x_b, and s is the parameter of the branches. A
    branch is followed along its own length, so that it may turn back in s; where
    another one crosses it, that one is followed too. Nothing is matched by distance:
    a point under x_b belongs to one under x_a when one curve joins them. Steps that may
    have come to another curve are refused; where curves of equal stability lie close
    side by side, a smaller `max_step` is safer. Curves that meet none of the given
    points, such as closed ones, are not found.

    Args:
        dynamics: the map.
        points: fixed points under `start_input`, such as `points.unique()`.
        start_input: x_a, (k,) or (1, k).
        end_input: x_b, (k,) or (1, k).
        max_step: longest step along a branch, in units of s and of the root mean
            square change of the state's entries; relative where states exceed 1.
        min_step: shortest step; a branch that would need a shorter one is lost.
        max_steps: steps tried on each branch.
        max_norm: root mean square of a state's entries at which it counts as diverged.
        atol: |F(h) - h| <= atol (1 + |h|) at every state.
        max_new_branches: how many crossing branches may be followed.
        show_progress: show a progress bar over points.

    Returns:
        One branch a point, in order, then those that cross them, in float64.

    Raises:
        ValueError: no point, points that are not fixed under `start_input`, equal
            inputs, or shapes that do not fit.

    References:
        Keller (1977), Numerical solution of bifurcation and nonlinear eigenvalue
        problems, in Rabinowitz (ed.), Applications of Bifurcation Theory.

    Example:
        >>> import torch, captum_dynamics as cd
        >>> switch = cd.FunctionAdapter(lambda h, x: torch.tanh(2 * h + x), 1, 1)
        >>> low, high = torch.tensor([-1.0]), torch.tensor([1.0])
        >>> points = cd.find_fixed_points(switch, -torch.ones(1, 1), low)
        >>> branches = cd.continue_points(switch, points, low, high)
        >>> branches.graph.nodes[1]["kind"], branches.graph.edges[0, 1, 0]["fold"]
        ('end', 2)
        >>> print(branches[0].summary())
        point 0: passes fold at 0.76642, fold at 0.23358; reaches the end; 0 unstable
    """
    start = _one_input(dynamics, "start_input", start_input)
    end = _one_input(dynamics, "end_input", end_input)
    if torch.equal(start, end):
        raise ValueError(
            "Expected `end_input` to differ from `start_input`, got the same twice."
        )
    pace = _pace(min_step, max_step, max_steps, max_norm, atol)
    _checks.check_not_negative("max_new_branches", max_new_branches)
    path = InputPath(dynamics, start, end)
    _check_points(dynamics, points)
    return _branches(path, points, pace, max_new_branches, show_progress)


@torch.no_grad()
def continue_parameter(
    family: Callable[[float], DynamicsMap],
    points: FixedPoints,
    start: float,
    end: float,
    *,
    max_step: float = MAX_STEP,
    min_step: float = MIN_STEP,
    max_steps: int = MAX_STEPS,
    max_norm: float = MAX_NORM,
    atol: float = ATOL,
    max_new_branches: int = MAX_NEW_BRANCHES,
    show_progress: bool = False,
) -> Branches:
    """Follow fixed points over a family of maps, as `continue_points` over inputs.

    The input stays as it is. Lengths along a branch count the whole way from `start`
    to `end` as 1.

    Args:
        family: the map at a value of the parameter. It is called many times, also a
            little beyond both ends, and need not be differentiable in its parameter.
        points: fixed points of `family(start)`, all under one input.
        start: value of the parameter at the points.
        end: value at which to stop; it may be the smaller one.
        max_step: longest step along a branch.
        min_step: shortest step; a branch that would need a shorter one is lost.
        max_steps: steps tried on each branch.
        max_norm: root mean square of a state's entries at which it counts as diverged.
        atol: |F(h) - h| <= atol (1 + |h|) at every state.
        max_new_branches: how many crossing branches may be followed.
        show_progress: show a progress bar over points.

    Returns:
        One branch a point, in order, then those that cross them, in float64.

    Raises:
        TypeError: a family that gives something else than a map.
        ValueError: no point, points that are not fixed under `family(start)`, equal
            ends, or shapes that do not fit.

    References:
        Govaerts (2000), Numerical Methods for Bifurcations of Dynamical Equilibria.

    Example:
        >>> import torch, captum_dynamics as cd
        >>> def family(gain):
        ...     return cd.FunctionAdapter(lambda h, x: torch.tanh(gain * h), 1, 0)
        >>> none = torch.zeros(1, 0)
        >>> points = cd.find_fixed_points(family(0.5), torch.ones(1, 1), none)
        >>> branches = cd.continue_parameter(family, points, 0.5, 2.0)
        >>> [(e.name, round(e.parameter, 8)) for e in branches[0].events]
        [('branch point', 1.0)]
        >>> sorted(round(float(b.states[-1, 0]), 6) + 0 for b in branches)
        [-0.957504, 0.0, 0.957504]
    """
    if not start != end or not torch.isfinite(torch.tensor([start, end])).all():
        raise ValueError(
            f"Expected `end` to differ from `start`, both finite, "
            f"got {start} and {end}."
        )
    pace = _pace(min_step, max_step, max_steps, max_norm, atol)
    _checks.check_not_negative("max_new_branches", max_new_branches)
    first = _member(family, start)
    other = _member(family, end)
    if (first.state_dim, first.input_dim) != (other.state_dim, other.input_dim):
        raise ValueError(
            f"Expected `family` to give maps of one shape, got {first.state_dim} "
            f"states and {first.input_dim} inputs at {start}, {other.state_dim} and "
            f"{other.input_dim} at {end}."
        )
    _check_points(first, points)
    one_input = points.inputs[0].to(first.dtype)
    path = ParameterPath(family, float(start), float(end), one_input)
    return _branches(path, points, pace, max_new_branches, show_progress)


def _member(family: Callable[[float], DynamicsMap], value: float) -> DynamicsMap:
    dynamics = family(value)
    if not isinstance(dynamics, DynamicsMap):
        raise TypeError(
            f"Expected `family` to give a DynamicsMap, got {type(dynamics).__name__}; "
            f"`cd.adapt(...)` or `cd.FunctionAdapter(...)` makes one."
        )
    return dynamics


def _one_input(dynamics: DynamicsMap, name: str, value: Tensor) -> Tensor:
    inputs = _checks.check_inputs(name, value, 1, dynamics.input_dim, dynamics.device)
    return inputs[0].detach().to(dynamics.dtype)


def _pace(
    min_step: float, max_step: float, max_steps: int, max_norm: float, atol: float
) -> Pace:
    _checks.check_positive("min_step", min_step)
    _checks.check_positive("max_step", max_step)
    _checks.check_count("max_steps", max_steps)
    _checks.check_positive("max_norm", max_norm)
    _checks.check_positive("atol", atol)
    return Pace(min_step, max_step, max_steps, max_norm, atol)


def _check_points(dynamics: DynamicsMap, points: FixedPoints) -> None:
    dynamics.check(points.states, points.inputs, "points.states")
    _checks.check_rows("points", points.states)
    if not torch.equal(points.inputs, points.inputs[:1].expand_as(points.inputs)):
        raise ValueError(
            "Expected `points` under one input, got several; select those of one."
        )


def _branches(
    path: Path,
    points: FixedPoints,
    pace: Pace,
    most_new: int,
    show_progress: bool,
) -> Branches:
    starts = [
        _start(path, state, row, pace.atol)
        for row, state in enumerate(points.states.to(path.dtype))
    ]
    found, untried = explore(path, starts, pace, most_new, show_progress)
    ends = path.parameter(0.0), path.parameter(1.0)
    return Branches(tuple(found), points, *ends, path.name, untried)


def _start(path: Path, state: OneState, row: int, atol: float) -> Place:
    """A given point, polished; with no tangent where it is one of a continuum."""
    guess = path.place(state, 0.0)
    across = torch.zeros_like(guess)
    across[-1] = 1
    z = correct(path, guess, across, atol)
    farthest = FARTHEST_START * (1 + float(guess.norm()))
    if z is None or float((z - guess).norm()) > farthest:
        residual = float(path.residuals(guess[None]).norm())
        raise ValueError(
            f"Expected `points` to be fixed at the start, got |F(h) - h| = "
            f"{residual:.1e} in row {row}; select `points[points.kind == "
            f"cd.Kind.FIXED]`, found under the same input."
        )
    tangent = first_tangent(path, z)
    return with_tangent(path, z, torch.zeros_like(z) if tangent is None else tangent)
