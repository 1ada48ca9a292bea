"""The dogleg in a trust region: Newton's step where it is trusted, else less."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.linalg import vecdot, vector_norm

from captum_dynamics._typing import Inputs, Memory, PerPoint, States
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
        sizes: Tensor = vector_norm(states, dim=-1, keepdim=True).clamp_min(1)
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
        before, radii = vector_norm(residuals, dim=-1), memory[:, 0]
        steps, lengths = newton, vector_norm(newton, dim=-1)
        aim, path = torch.zeros_like(radii), None
        if not (lengths <= radii).all():  # as with NaN, where there is no direction
            path = _Path.at(tangent, residuals, newton)
            steps, aim = path.step(radii)
            lengths = vector_norm(steps, dim=-1)
        trials = into_box(states + steps, dynamics, inputs)
        left = dynamics.residual(trials, inputs)
        after = vector_norm(left, dim=-1)
        radii = _next_radii(radii, lengths, before, after, aim)
        worse = ~(after < before)  # true for NaN
        if worse.any():
            rows = torch.nonzero(worse)[:, 0]
            if path is None:
                path = _Path.at(tangent.select(rows), residuals[rows], newton[rows])
            else:
                path = path[rows]
            better = self._retry(
                dynamics, inputs[rows], path, states[rows], residuals[rows], radii[rows]
            )
            trials[rows], left[rows], radii[rows] = better
        return trials, left, radii[:, None]

    def _retry(
        self,
        dynamics: DynamicsMap,
        inputs: Inputs,
        path: _Path,
        states: States,
        residuals: States,
        radii: PerPoint,
    ) -> tuple[States, States, PerPoint]:
        """Shorten steps until they help; what none of them helps stays where it is."""
        best, left, radii = states.clone(), residuals.clone(), radii.clone()
        pending = torch.arange(len(states), device=states.device)
        for _ in range(RETRIES):
            part, read = path[pending], inputs[pending]
            steps, aim = part.step(radii[pending])
            trials = into_box(states[pending] + steps, dynamics, read)
            rest = dynamics.residual(trials, read)
            after, lengths = vector_norm(rest, dim=-1), vector_norm(steps, dim=-1)
            radii[pending] = _next_radii(
                radii[pending], lengths, part.norms, after, aim
            )
            better = after < part.norms
            best[pending[better]] = trials[better]
            left[pending[better]] = rest[better]
            pending = pending[~better]
            if not len(pending):
                break
        return best, left, radii


@dataclass(frozen=True, eq=False)
class _Path:
    """From a state to Cauchy's point, and on to Newton's.

    Attributes:
        cauchy: minimum of |g + A p| along its steepest descent.
        leg: from there to the zero of g + A p; zero where none can be trusted.
        reach: length |cauchy|, above zero.
        along: cauchy . leg.
        square: |leg|^2.
        norms: |g|.
        left: |g + A p| at Cauchy's point.
        spared: by how much the leg lowers that.
    """

    cauchy: States
    leg: States
    reach: PerPoint
    along: PerPoint
    square: PerPoint
    norms: PerPoint
    left: PerPoint
    spared: PerPoint

    @classmethod
    def at(cls, tangent: TangentMap, residuals: States, newton: States) -> _Path:
        """Work the path to a direction out, with A = J - I, from two products."""
        tiny = torch.finfo(residuals.dtype).tiny
        descent = residuals - tangent.pull(residuals)[0]
        change = tangent.push(descent) - descent
        curvature = vecdot(change, change).clamp_min(tiny)
        length = (vecdot(descent, descent) / curvature)[:, None]
        cauchy = length * descent
        left = vector_norm(residuals + length * change, dim=-1)
        leg = newton - cauchy
        square = vecdot(leg, leg)
        trusted = square < torch.inf  # false for NaN
        leg = torch.where(trusted[:, None], leg, 0.0)
        return cls(
            cauchy,
            leg,
            vector_norm(cauchy, dim=-1).clamp_min(tiny),
            vecdot(cauchy, leg),
            square.nan_to_num(0.0, 0.0),
            vector_norm(residuals, dim=-1),
            left,
            torch.where(trusted, left, 0.0),
        )

    def __getitem__(self, rows: Tensor) -> _Path:
        columns = (getattr(self, field.name) for field in fields(self))
        return _Path(*(column.index_select(0, rows) for column in columns))

    def step(self, radii: PerPoint) -> tuple[States, PerPoint]:
        """The last point of the path within a radius, and |g + A p| there."""
        tiny = torch.finfo(radii.dtype).tiny
        short = (radii / self.reach).clamp_max(1)
        room = (radii.square() - self.reach.square()).clamp_min(0)
        root = (self.along.square() + self.square * room).sqrt()
        # Zero on the way to Cauchy's point, where there is no room.
        share = (room / (self.along + root).clamp_min(tiny)).clamp_max(1)
        steps = short[:, None] * self.cauchy + share[:, None] * self.leg
        before = self.norms.square()
        gain = short * (2 - short) * (before - self.left.square())
        aim = (before - gain).clamp_min(0).sqrt() - share * self.spared
        return steps, aim


def _next_radii(
    radii: PerPoint, lengths: PerPoint, before: PerPoint, after: PerPoint, aim: PerPoint
) -> PerPoint:
    """Shrink where the linear model promised too much, grow where it was right."""
    size = before.square()
    gain, promised = size - after.square(), size - aim.square()
    grown = torch.where(
        (gain > 0.75 * promised) & (lengths > 0.99 * radii), 2 * radii, radii
    )
    return torch.where(gain > 0.25 * promised, grown, SHRINK * lengths)
