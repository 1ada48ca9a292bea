"""The dogleg in a trust region: Newton's step where it is trusted, else less."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from captum_dynamics._typing import Inputs, Mask, Memory, PerPoint, States
from captum_dynamics.dynamics import DynamicsMap
from captum_dynamics.solvers._base import IterativeSolver, into_box
from captum_dynamics.tangent import TangentMap

SHRINK = 0.25  # of the radius, after a step that did not lower |g|
RETRIES = 4  # shorter steps tried with one Newton direction before the next is due


@dataclass(frozen=True)
class TrustRegion(IterativeSolver):
    """Minimise |g| within a radius, on Powell's path to Cauchy's and Newton's points.

    A subclass states where Newton's direction comes from. Where there is none, the
    step is Cauchy's. Steps never leave the box that the map maps into itself, where
    it is known.

    Attributes:
        radius: first radius of the trust region, in units of max(1, |h|).

    References:
        Powell (1970), A hybrid method for nonlinear equations; Nocedal and Wright
        (2006), Numerical Optimization, section 11.2.
    """

    patience: int = 20
    radius: float = 0.5

    @abstractmethod
    def direction(
        self, tangent: TangentMap, states: States, residuals: States
    ) -> States:
        """Solve (J - I) p = -g; a row without a trustworthy solution is NaN."""

    def start(self, states: States) -> Memory:
        """The radius of every row."""
        sizes: Tensor = states.norm(dim=-1, keepdim=True).clamp_min(1)
        return self.radius * sizes

    def update(
        self,
        dynamics: DynamicsMap,
        states: States,
        inputs: Inputs,
        residuals: States,
        memory: Memory,
    ) -> tuple[States, States, Memory]:
        """Try one step; where it does not lower |g|, shorter ones on the same path."""
        tangent = dynamics.tangent(states, inputs)
        newton = self.direction(tangent, states, residuals)
        path = _Path.at(tangent, residuals, newton)
        radii = memory[:, 0]
        steps, aim = path.step(radii)
        trials = into_box(states + steps, dynamics, inputs)
        left = dynamics.residual(trials, inputs)
        norms = left.norm(dim=-1)
        radii = _next_radii(radii, steps, path.norms, norms, aim)
        worse = ~(norms < path.norms)  # true for NaN
        if worse.any():
            trials = torch.where(worse[:, None], states, trials)
            left = torch.where(worse[:, None], residuals, left)
            self._retry(dynamics, inputs, path, worse, trials, left, radii)
        return trials, left, radii[:, None]

    def _retry(
        self,
        dynamics: DynamicsMap,
        inputs: Inputs,
        path: _Path,
        worse: Mask,
        states: States,
        residuals: States,
        radii: PerPoint,
    ) -> None:
        """Shorten the steps of some rows, and write what is better in its place."""
        pending = torch.nonzero(worse)[:, 0]
        for _ in range(RETRIES):
            part, read = path[pending], inputs[pending]
            steps, aim = part.step(radii[pending])
            trials = into_box(states[pending] + steps, dynamics, read)
            left = dynamics.residual(trials, read)
            norms = left.norm(dim=-1)
            radii[pending] = _next_radii(radii[pending], steps, part.norms, norms, aim)
            better = norms < part.norms
            states[pending[better]] = trials[better]
            residuals[pending[better]] = left[better]
            pending = pending[~better]
            if not len(pending):
                return


@dataclass(frozen=True, eq=False)
class _Path:
    """From a state to Cauchy's point, and on to Newton's.

    Attributes:
        cauchy: minimum of |g + A p| along its steepest descent.
        newton: zero of g + A p; Cauchy's point where none can be trusted.
        left: |g + A p| at Cauchy's point.
        aim: the same at Newton's.
        norms: the same at the state, |g|.
    """

    cauchy: States
    newton: States
    left: PerPoint
    aim: PerPoint
    norms: PerPoint

    @classmethod
    def at(cls, tangent: TangentMap, residuals: States, newton: States) -> _Path:
        """Work the path to a direction out, with A = J - I, from two products."""
        descent = residuals - tangent.pull(residuals)[0]
        change = tangent.push(descent) - descent
        tiny = torch.finfo(residuals.dtype).tiny
        curvature = change.square().sum(-1).clamp_min(tiny)
        length = (descent.square().sum(-1) / curvature)[:, None]
        left = (residuals + length * change).norm(dim=-1)
        trusted = torch.isfinite(newton).all(-1)
        return cls(
            length * descent,
            torch.where(trusted[:, None], newton, length * descent),
            left,
            torch.where(trusted, 0.0, left),
            residuals.norm(dim=-1),
        )

    def __getitem__(self, rows: Tensor) -> _Path:
        return _Path(
            self.cauchy[rows],
            self.newton[rows],
            self.left[rows],
            self.aim[rows],
            self.norms[rows],
        )

    def step(self, radii: PerPoint) -> tuple[States, PerPoint]:
        """The last point of the path within a radius, and |g + A p| there."""
        tiny = torch.finfo(radii.dtype).tiny
        short = (radii / self.cauchy.norm(dim=-1).clamp_min(tiny)).clamp_max(1)
        leg = self.newton - self.cauchy
        along = (self.cauchy * leg).sum(-1)
        square = leg.square().sum(-1).clamp_min(tiny)
        room = (radii.square() - self.cauchy.square().sum(-1)).clamp_min(0)
        share = room / (along + (along.square() + square * room).sqrt()).clamp_min(tiny)
        share = torch.where(short < 1, 0.0, share.clamp_max(1))
        steps = short[:, None] * self.cauchy + share[:, None] * leg
        gain = short * (2 - short) * (self.norms.square() - self.left.square())
        first = (self.norms.square() - gain).clamp_min(0).sqrt()
        second = self.left + share * (self.aim - self.left)
        return steps, torch.where(short < 1, first, second)


def _next_radii(
    radii: PerPoint, steps: States, before: PerPoint, after: PerPoint, aim: PerPoint
) -> PerPoint:
    """Shrink where the linear model promised too much, grow where it was right."""
    lengths = steps.norm(dim=-1)
    promised = before.square() - aim.square()
    kept = (before.square() - after.square()) / promised.clamp_min(1e-300)
    poor = ~(kept > 0.25)  # true for NaN
    at_edge = (kept > 0.75) & (lengths > 0.99 * radii)
    grown = torch.where(at_edge, 2 * radii, radii)
    return torch.where(poor, SHRINK * lengths, grown)
