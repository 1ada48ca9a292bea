"""Cycles of a map: fixed points of the map that moves all their states at once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from captum_dynamics import _checks, _linalg
from captum_dynamics._typing import (
    Eigenvalues,
    GivenInputs,
    Inputs,
    Jacobians,
    Mask,
    OneInput,
    PerPoint,
    States,
    StateSequences,
)
from captum_dynamics.activation_form import ActivationForm
from captum_dynamics.dynamics import DynamicsMap
from captum_dynamics.fixed_points import (
    Q_SLOW,
    FixedPoints,
    Kind,
    label,
)
from captum_dynamics.layout import Block, StateLayout
from captum_dynamics.merging import connected_groups
from captum_dynamics.solvers import LevenbergMarquardt, PiecewiseLinear, Solver


@dataclass(frozen=True, eq=False)
class Cycles:
    """Cycles of one period, each of them once.

    Attributes:
        states: (n, k, d), in the order in which they follow each other.
        inputs: (n, x), the constant input of each cycle.
        residual_norms: (n,) size of all F(h_t) - h_(t+1) of a cycle together.
        eigenvalues: multipliers (n, d) of a whole round, by decreasing magnitude.
        degenerate: (n,) whether a cycle may be one of a continuum.
    """

    states: StateSequences
    inputs: Inputs
    residual_norms: PerPoint
    eigenvalues: Eigenvalues
    degenerate: Mask

    def __len__(self) -> int:
        """Number of cycles."""
        return len(self.states)

    @property
    def period(self) -> int:
        """Number k of different states in each cycle."""
        return self.states.shape[1]


@torch.no_grad()
def find_cycles(
    dynamics: DynamicsMap,
    initial_states: States,
    inputs: GivenInputs,
    period: int,
    *,
    solver: Solver | None = None,
    show_progress: bool = False,
) -> Cycles:
    """Find cycles of one period from many starts, stable and unstable ones alike.

    A finite search proves nothing about cycles it did not meet. Fixed points and
    cycles of shorter periods are found on the way, and left out.

    Args:
        dynamics: the map.
        initial_states: starts (n, d), such as visited states.
        inputs: constant input of each search, (n, k), or (1, k) for all.
        period: number of different states in a cycle.
        solver: how to search fixed points of F^k; by default `PiecewiseLinear` for
            piecewise-linear maps and `LevenbergMarquardt` for others.
        show_progress: show a progress bar over starts.

    Returns:
        The distinct cycles that were found, in float64; possibly none.

    Raises:
        ValueError: no start, a period below one, or shapes that do not fit.

    Example:
        >>> import torch, captum_dynamics as cd
        >>> flip = cd.FunctionAdapter(lambda h, x: torch.tanh(-2 * h), 1, 0)
        >>> starts = torch.linspace(-1, 1, 8)[:, None]
        >>> cycles = cd.find_cycles(flip, starts, torch.zeros(1, 0), 2)
        >>> len(cycles), round(float(cycles.eigenvalues.real), 6)
        (1, 0.02768)
    """
    rounds, whole = around(dynamics, period), dynamics.iterate(period)
    starts, inputs = dynamics.check(initial_states, inputs, "initial_states")
    _checks.check_rows("initial_states", starts)
    starts, inputs = starts.detach().to(dynamics.dtype), inputs.to(dynamics.dtype)
    if solver is None:
        linear = dynamics.traits.piecewise_linear
        solver = PiecewiseLinear() if linear else LevenbergMarquardt()
    solution = solver.solve(whole, starts, inputs, show_progress=show_progress)
    found = label(whole, solution, inputs, Q_SLOW, solution.converged)
    found = found[found.speed < Q_SLOW].unique()
    # In F^k rounding grows on the way around; state by state it does not.
    given = found.inputs[:, None].expand(-1, period - 1, -1)
    later = dynamics.rollout(found.states, given)
    orbits = torch.cat([found.states[:, None], later], 1).flatten(1)
    solution = solver.solve(rounds, orbits, found.inputs)
    points = label(rounds, solution, found.inputs, Q_SLOW, solution.converged)
    return cycles_of(dynamics, points[points.kind == Kind.FIXED], period)


def around(dynamics: DynamicsMap, period: int) -> DynamicsMap:
    """The map (h_1, ..., h_k) -> (F(h_k), F(h_1), ..., F(h_(k-1))).

    Its fixed points are the cycles whose period divides k. It knows each of their
    states, so that no error grows on the way around, as it does in F^k.
    """
    return _Around(dynamics, period)


class _Around(DynamicsMap):
    """The map that moves k states at once, each to the place of the next."""

    def __init__(self, base: DynamicsMap, period: int) -> None:
        _checks.check_positive("period", period)
        self._base = base
        self._period = period
        self.traits = base.traits

    @property
    def layout(self) -> StateLayout:
        return StateLayout(
            tuple(
                Block(f"{block.name}@{time}", block.size)
                for time in range(self._period)
                for block in self._base.layout.blocks
            )
        )

    @property
    def input_dim(self) -> int:
        return self._base.input_dim

    @property
    def device(self) -> torch.device | None:
        return self._base.device

    def step(self, states: States, inputs: Inputs) -> States:
        given = inputs.repeat_interleave(self._period, 0)
        width = self._base.state_dim
        new = self._base.step(states.reshape(len(given), width), given)
        return new.reshape(len(states), self._period, width).roll(1, 1).flatten(1)

    def jacobians(self, states: States, inputs: Inputs) -> Jacobians:
        rows, period, width = len(states), self._period, self._base.state_dim
        slopes = jacobians_around(self._base, states, inputs, period)
        blocks = slopes.new_zeros(rows, period, width, period, width)
        for time in range(period):
            blocks[:, (time + 1) % period, :, time] = slopes[:, time]
        return blocks.reshape(rows, period * width, period * width)

    def activation_form(self, one_input: OneInput) -> ActivationForm | None:
        form = self._base.activation_form(one_input)
        return None if form is None else form.around(self._period)


def cycles_of(dynamics: DynamicsMap, points: FixedPoints, period: int) -> Cycles:
    """The cycles of a map among fixed points of `around(dynamics, period)`.

    Each of them is kept once, wherever it starts; those of shorter periods are not.
    """
    count, width = len(points), dynamics.state_dim
    sequences = points.states.reshape(count, period, width)
    # Two points are one cycle where one of them, started later, is the other.
    later = torch.stack([sequences.roll(-t, 1) for t in range(period)], 1)
    groups = connected_groups(
        later.reshape(count * period, period * width),
        points.merge_radii.repeat_interleave(period),
        points.inputs.repeat_interleave(period, 0),
    ).reshape(count, period)
    full = (groups[:, 1:] != groups[:, :1]).all(1)
    names = groups.amin(1)
    seen = (names[:, None] == names).tril(-1).any(1)
    kept = full & ~seen
    chosen = points[kept]
    slopes = jacobians_around(dynamics, chosen.states, chosen.inputs, period)
    values, _ = _linalg.sorted_eigen(_product(slopes))
    return Cycles(
        sequences[kept],
        chosen.inputs,
        chosen.residual_norms,
        values,
        chosen.degenerate,
    )


def jacobians_around(
    dynamics: DynamicsMap, states: States, inputs: Inputs, period: int
) -> Float[Tensor, "n t w w"]:
    """Jacobians of the map at each of the `period` states that a row holds."""
    width = dynamics.state_dim
    given = inputs.repeat_interleave(period, 0)
    slopes = dynamics.jacobians(states.reshape(len(given), width), given)
    return slopes.reshape(len(states), period, width, width)


def _product(slopes: Float[Tensor, "n t d d"]) -> Jacobians:
    """J(h_k) ... J(h_1), which moves a deviation once around."""
    product = slopes[:, 0]
    for time in range(1, slopes.shape[1]):
        product = slopes[:, time] @ product
    return product
