"""First-order behaviour of a flow dh/dt = f(h, x) around points where it rests."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from captum_dynamics import _checks, _linalg
from captum_dynamics._typing import (
    Counts,
    Eigenvalues,
    Eigenvectors,
    InputJacobians,
    Jacobians,
    PerPoint,
)
from captum_dynamics.adapters import ContinuousAdapter
from captum_dynamics.fixed_points import FixedPoints
from captum_dynamics.linearization import Stability


@dataclass(frozen=True, eq=False)
class FlowLinearization:
    """d(h - h*)/dt = A (h - h*) + B (x - x*) around each point, and its modes.

    All is per unit of time, whatever the integrator. A mode of rate r falls as
    exp(r t): it decays where Re r < 0, and turns with Im r.

    Attributes:
        points: the points, in the order of all other rows.
        jacobians: A = df/dh, (n, d, d).
        input_jacobians: B = df/dx, (n, d, k).
        rates: eigenvalues of A (n, d), by decreasing real part.
        right_eigenvectors: (n, d, d), one a column, of unit length.
        left_eigenvectors: (n, d, d), one a row, with left @ right = identity.
        condition: (n,) of the right eigenvectors; above 1e6 single modes mean little.
        margin: distance from the imaginary axis that counts as on it.
    """

    points: FixedPoints
    jacobians: Jacobians
    input_jacobians: InputJacobians
    rates: Eigenvalues
    right_eigenvectors: Eigenvectors
    left_eigenvectors: Eigenvectors
    condition: PerPoint
    margin: float = 1e-6

    def __len__(self) -> int:
        """Number of points."""
        return len(self.points)

    @property
    def time_constants(self) -> Tensor:
        """Time (n, d) in which a mode falls to 1/e, -1/Re r; NaN for those that grow.

        Infinite on the imaginary axis, within the margin.
        """
        real = self.rates.real
        times = torch.where(real < -self.margin, -1 / real, torch.inf)
        return torch.where(real > self.margin, torch.nan, times)

    @property
    def growth_times(self) -> Tensor:
        """Time (n, d) in which a mode doubles, ln 2 / Re r; NaN if it does not grow."""
        real = self.rates.real
        return torch.where(real > self.margin, math.log(2) / real, torch.nan)

    @property
    def rotation_periods(self) -> Tensor:
        """Time (n, d) of one turn, 2 pi/|Im r|; infinite without rotation."""
        return 2 * math.pi / self.rates.imag.abs()

    @property
    def unstable_dims(self) -> Counts:
        """Number of rates with a positive real part: the saddle index."""
        return (self.rates.real > self.margin).sum(-1)

    @property
    def stability(self) -> Counts:
        """A `Stability` for each point (n,), by the real parts."""
        unstable = self.unstable_dims
        verdicts = torch.full_like(unstable, int(Stability.SADDLE))
        verdicts[unstable == 0] = int(Stability.ATTRACTOR)
        verdicts[unstable == self.rates.shape[-1]] = int(Stability.REPELLER)
        marginal = (self.rates.real.abs() <= self.margin).any(-1)
        verdicts[marginal] = int(Stability.MARGINAL)
        return verdicts

    def multipliers(self, time: float) -> Eigenvalues:
        """exp(r time): eigenvalues of the map that follows the flow for this time."""
        return torch.exp(self.rates * time)

    def summary(self) -> str:
        """One line a point: stability and leading rate."""
        rows = zip(self.stability.tolist(), self.rates[:, 0].tolist(), strict=True)
        return "\n".join(
            f"{row}: {Stability(verdict).name.lower()}, leading rate "
            f"{rate.real:+.4f}{rate.imag:+.4f}i"
            for row, (verdict, rate) in enumerate(rows)
        )


def linearize_flow(
    flow: ContinuousAdapter, points: FixedPoints, *, margin: float = 1e-6
) -> FlowLinearization:
    """Linearize a flow around each point, in rates per unit of time.

    `linearize` reads a flow as the map of its integrator's steps; a step that is large
    beside a fast mode makes that map unstable where the flow is not.

    Args:
        flow: the flow the points belong to.
        points: where it rests, from `find_fixed_points(flow.rate_map, ...)`.
        margin: distance from the imaginary axis that counts as on it.

    Returns:
        Jacobians, rates, biorthonormal modes and stability of every point.

    Raises:
        ValueError: when the points do not fit the flow, or are not finite.

    References:
        Strogatz (2015), Nonlinear Dynamics and Chaos, sections 5.2 and 6.3.

    Example:
        >>> import torch, captum_dynamics as cd
        >>> from captum_dynamics.adapters import Euler
        >>> turn = torch.tensor([[-1.0, -2.0], [2.0, -1.0]], dtype=torch.float64)
        >>> flow = cd.ContinuousAdapter(
        ...     lambda h, x: h @ turn.T, 2, 0, integrator=Euler(dt=0.1)
        ... )
        >>> points = cd.find_fixed_points(
        ...     flow.rate_map, torch.ones(1, 2), torch.zeros(1, 0)
        ... )
        >>> cd.linearize_flow(flow, points).rates.imag.round().tolist()
        [[2.0, -2.0]]
    """
    _checks.check_positive("margin", margin)
    states, inputs = flow.check(points.states, points.inputs, "points.states")
    _checks.check_rows("points", states)
    slopes, by_input = flow.rate_jacobians(states, inputs)
    values, right = _linalg.sorted_eigen(slopes)
    order = torch.argsort(values.real, dim=-1, descending=True, stable=True)
    values = torch.take_along_dim(values, order, dim=-1)
    right = torch.take_along_dim(right, order[:, None], dim=-1)
    left, condition = _linalg.inverse(right), _linalg.condition(right)
    return FlowLinearization(
        points, slopes, by_input, values, right, left, condition, margin
    )
