"""Proofs, point by point, that a fixed point exists and that no other is near.

Both proofs are about T(h) = h - Y g(h), with g = F - id and Y an approximate inverse of
g' = J - I at the returned state m. Zeros of g are what T leaves in place, and T maps a
box around m into itself, and contracts it, where |I - Y (J - I)| is small all over it.
Distances are in the max norm throughout: a ball is a box with equal sides.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from captum_dynamics import _checks, _linalg
from captum_dynamics._execution import row_chunks
from captum_dynamics._intervals import EPS, TINY, Ball, around, box, constant, up
from captum_dynamics._typing import Counts, Inputs, Mask, PerPoint, States
from captum_dynamics.dynamics import DynamicsMap
from captum_dynamics.fixed_points import FixedPoints, Kind

# A ball of this radius around any state of tanh or GRU units holds all of [-1, 1]^n.
LARGEST_RADIUS = 2.0
# From here on one evaluation of a Lipschitz constant is preferred to a dozen interval
# Jacobians.
WIDEST_KRAWCZYK = 256
# Radii that are tried: each 16 % below the one before, over 19 decades. They are the
# same for every point, so that its result does not hang on how its residual is rounded.
LADDER = 2**-0.25
BISECTIONS = 8
# Power iterations for the shape of a box, and its smallest side, of a largest of 1.
SHAPE_STEPS = 3
SMALLEST_SIDE = 1e-3
WORKING_SET = 32 * 2**20  # bytes, as for the solvers
MATRICES = 16  # (d, d) matrices that a point holds at once

Matrices = Float[Tensor, "n d d"]


class Method(IntEnum):
    """By which argument a point is certified."""

    NONE = 0
    """It is not."""
    KRAWCZYK = 1
    """Interval Jacobians over a box whose sides fit the point."""
    NEWTON_KANTOROVICH = 2
    """A Lipschitz constant of J in a ball: coarser, and cheaper for wide states."""


class Reason(IntEnum):
    """Why a point is not certified."""

    CERTIFIED = 0
    """It is."""
    NOT_FIXED = 1
    """Its `kind` is not FIXED."""
    DEGENERATE = 2
    """J - I is singular to 1e-4: there may be a continuum of points."""
    NO_BOUNDS = 3
    """The map has no verified bounds: only adapters with closed forms do."""
    NO_CONTRACTION = 4
    """No ball up to the largest radius is contracted into itself."""


@dataclass(frozen=True, eq=False)
class Certificates:
    """What is proven of each point, in exact arithmetic on the map's stored weights.

    Distances are in the max norm. What "proven" rests on is said in `certify`.

    Attributes:
        points: the points, in the order of all other rows.
        method: (n,) how it was proven, a `Method`.
        reason: (n,) why it was not, a `Reason`.
        existence_radii: (n,) a zero of g lies within this distance of the returned
            state; NaN where nothing is proven.
        uniqueness_radii: (n,) and no other zero does within this distance; NaN where
            nothing is proven.
    """

    points: FixedPoints
    method: Counts
    reason: Counts
    existence_radii: PerPoint
    uniqueness_radii: PerPoint

    def __len__(self) -> int:
        """Number of points."""
        return len(self.points)

    @property
    def certified(self) -> Mask:
        """Points that are proven to stand for exactly one fixed point."""
        return self.method != Method.NONE

    def summary(self) -> str:
        """How many points are certified and how closely; why the others are not."""
        proven = self.certified
        text = f"{int(proven.sum())} of {len(self)} points certified"
        if proven.any():
            exists = float(self.existence_radii[proven].max())
            alone = float(self.uniqueness_radii[proven].min())
            text += f", each within {exists:.1e} and alone within {alone:.1e} or more"
        counts = {reason: int((self.reason == reason).sum()) for reason in Reason}
        refused = (
            f"{count} {reason.name.lower().replace('_', ' ')}"
            for reason, count in counts.items()
            if count and reason != Reason.CERTIFIED
        )
        return "; ".join([text, *refused])


@torch.no_grad()
def certify(
    dynamics: DynamicsMap,
    points: FixedPoints,
    *,
    largest_radius: float = LARGEST_RADIUS,
    widest_krawczyk: int = WIDEST_KRAWCZYK,
) -> Certificates:
    """Prove that fixed points exist, and how far around each there is no other.

    Only points of kind FIXED that are not degenerate can be certified. The proof is in
    interval arithmetic on the layer's equations, rounded outwards with the error bounds
    of IEEE arithmetic. It rests on one assumption: that torch's tanh and sigmoid are
    right to 2 eps (0.6 and 1.0 were measured). Maps without such bounds, among them
    every `FunctionAdapter`, are not certified, however small their residuals.

    A certificate is about one point: it does not say that all points were found.

    Args:
        dynamics: the map the points belong to.
        points: points of any kind.
        largest_radius: radius at which the search for the uniqueness radius ends. Balls
            of radius 2 hold all states that tanh or GRU units can rest in.
        widest_krawczyk: widest state (d) for which Krawczyk's test is used; beyond it a
            Lipschitz constant of J, where the map has one.

    Returns:
        One row a point.

    Raises:
        ValueError: when the points do not fit the dynamics.

    References:
        Krawczyk (1969), Newton-Algorithmen zur Bestimmung von Nullstellen mit
        Fehlerschranken, Computing 4. Kantorovich (1948), Functional analysis and
        applied mathematics. Rump (2010), Verification methods, Acta Numerica 19.

    Example:
        >>> import torch, captum_dynamics as cd
        >>> layer = torch.nn.GRU(3, 8)
        >>> starts, rest = torch.zeros(1, 8), torch.zeros(1, 3)
        >>> points = cd.find_fixed_points(cd.adapt(layer), starts, rest)
        >>> cd.certify(cd.adapt(layer), points).certified.tolist()
        [True]
    """
    _checks.check_positive("largest_radius", largest_radius)
    reason = torch.full_like(points.kind, int(Reason.NO_CONTRACTION))
    reason[points.degenerate] = int(Reason.DEGENERATE)
    reason[points.kind != Kind.FIXED] = int(Reason.NOT_FIXED)
    method = torch.full_like(reason, int(Method.NONE))
    existence = torch.full_like(points.residual_norms, torch.nan, dtype=torch.float64)
    uniqueness = existence.clone()
    rows = torch.nonzero(reason == Reason.NO_CONTRACTION)[:, 0]
    states, inputs = dynamics.check(
        points.states[rows], points.inputs[rows], "points.states"
    )
    width = dynamics.state_dim
    for chunk in row_chunks(len(rows), 8 * MATRICES * width**2, WORKING_SET):
        part = rows[chunk]
        test = _Test.at(dynamics, states[chunk], inputs[chunk], widest_krawczyk)
        if test is None:
            reason[part] = int(Reason.NO_BOUNDS)
            continue
        existence[part], uniqueness[part] = _radii(test, largest_radius)
        proven = part[~existence[part].isnan()]
        method[proven], reason[proven] = int(test.method), int(Reason.CERTIFIED)
    return Certificates(points, method, reason, existence, uniqueness)


def _radii(test: _Test, largest: float) -> tuple[PerPoint, PerPoint]:
    """Existence radii, and the largest radii of balls for which the test holds.

    What holds for a ball holds for smaller ones, until they are as small as twice the
    Newton step; where J varies evenly, a test that fails there fails everywhere.
    """
    smallest = (2 * test.operator.newton_steps).clamp_max(largest)
    existence = test.existence_radii(smallest)
    smallest = torch.where(existence.isnan(), torch.nan, smallest)
    largest_proven = smallest
    first = torch.zeros_like(smallest)
    last = torch.full_like(smallest, 2**BISECTIONS - 1)
    for _ in range(BISECTIONS):
        rungs = torch.floor((first + last) / 2)
        radii = largest * LADDER**rungs
        holds = (radii <= smallest) | ~test.existence_radii(radii).isnan()
        largest_proven = torch.where(
            holds, torch.maximum(largest_proven, radii), largest_proven
        )
        first = torch.where(holds, first, rungs + 1)
        last = torch.where(holds, rungs, last)
    return existence, largest_proven


@dataclass(frozen=True, eq=False)
class _Operator:
    """Bounds on T(h) = h - Y g(h) around states m.

    Attributes:
        centre: J near m.
        sizes: |Y|, entry by entry.
        defect: |I - Y (centre - I)|.
        rounding: what is missing from it, between the bars: |Y| times this.
        moves: bounds on |T(m) - m| = |Y g(m)|.
    """

    centre: Matrices
    sizes: Matrices
    defect: Matrices
    rounding: Matrices
    moves: States

    @staticmethod
    def at(dynamics: DynamicsMap, states: States, inputs: Inputs) -> _Operator | None:
        """The operator at each state; None where the map has no bounds."""
        slopes = dynamics.interval_jacobians(states, states, inputs)
        new = dynamics.interval_step(states, states, inputs)
        if slopes is None or new is None:
            return None
        jacobians = Ball.between(*slopes)
        width = states.shape[-1]
        identity = torch.eye(width, dtype=states.dtype, device=states.device)
        derivative = jacobians.middle - identity
        inverse = _linalg.real_inverse(derivative)
        # Rounding of the difference, and of the product and what is left of it.
        rounding = (width + 8) * EPS * (derivative.abs() + identity)
        residual = box(*new) - constant(states)
        sizes, middle = inverse.abs(), residual.middle
        uncertain = residual.radius + (width + 4) * EPS * middle.abs()
        moves = _apply(inverse, middle).abs() + _apply(sizes, uncertain)
        return _Operator(
            jacobians.middle,
            sizes,
            (identity - inverse @ derivative).abs(),
            jacobians.radius + rounding,
            up(moves, 2 * width),
        )

    def slopes(self, deviations: Matrices, sides: States) -> States:
        """Bounds on |T'| s where |J - centre| + rounding <= `deviations`."""
        spread = _apply(deviations, sides)
        total = _apply(self.defect, sides) + _apply(self.sizes, spread)
        return up(total, 2 * sides.shape[-1])

    @cached_property
    def slack(self) -> PerPoint:
        """1 - |T'(m)| in the max norm; NaN where T does not contract at m itself."""
        ones = torch.ones_like(self.moves)
        slack = 1 - EPS - self.slopes(self.rounding, ones).amax(-1)
        return torch.where(slack > 0, slack, torch.nan)

    @property
    def newton_steps(self) -> PerPoint:
        """Distances within which a zero is expected."""
        return self.moves.amax(-1) / self.slack


@dataclass(frozen=True, eq=False)
class _Test(ABC):
    """A sufficient condition for one zero of g in a ball around each state."""

    dynamics: DynamicsMap
    states: States
    inputs: Inputs
    operator: _Operator
    method: ClassVar[Method]

    @staticmethod
    def at(
        dynamics: DynamicsMap, states: States, inputs: Inputs, widest_krawczyk: int
    ) -> _Test | None:
        """The test that suits the map; None where it has no bounds."""
        states, inputs = states.double(), inputs.double()
        operator = _Operator.at(dynamics, states, inputs)
        if operator is None:
            return None
        wide = states.shape[-1] > widest_krawczyk
        if wide and dynamics.jacobian_lipschitz(states, states, inputs) is not None:
            return _NewtonKantorovich(dynamics, states, inputs, operator)
        return _Krawczyk(dynamics, states, inputs, operator)

    @abstractmethod
    def existence_radii(self, radii: PerPoint) -> PerPoint:
        """How close the one zero in a ball of these radii is; NaN if none is proven."""


class _Krawczyk(_Test):
    """|T'| s < s in the ball for some s > 0, and a box within it that T keeps."""

    method = Method.KRAWCZYK

    def existence_radii(self, radii: PerPoint) -> PerPoint:
        ball = around(self.states, radii)
        bounds = self.dynamics.interval_jacobians(ball.low, ball.high, self.inputs)
        if bounds is None:
            return torch.full_like(radii, torch.nan)
        low, high, centre = *bounds, self.operator.centre
        deviations = torch.maximum(high - centre, centre - low)
        deviations = up(deviations + self.operator.rounding)
        sides = torch.ones_like(self.states)
        slopes = self.operator.slopes(deviations, sides)
        for _ in range(SHAPE_STEPS):
            # Towards the Perron vector, whose sides shrink most evenly.
            longest = slopes.amax(-1, keepdim=True).clamp_min(TINY)
            sides = (slopes / longest).clamp_min(SMALLEST_SIDE)
            slopes = self.operator.slopes(deviations, sides)
        reach = self._reach(deviations, sides, slopes)
        holds = (slopes < sides).all(-1) & (reach <= radii)
        return torch.where(holds, reach, torch.nan)

    def _reach(self, deviations: Matrices, sides: States, slopes: States) -> PerPoint:
        """Size of a box that T maps into itself.

        With c = |T(m) - m| and R = |T'| it is the box of sides b = c + R c + t s, where
        t s - t R s is at least R^2 c; for then c + R b <= b, which is Krawczyk's test.
        """
        first = self.operator.slopes(deviations, self.operator.moves)
        second = self.operator.slopes(deviations, first)
        scale = up((second / (sides - slopes)).amax(-1, keepdim=True))
        return up(self.operator.moves + first + scale * sides).amax(-1)


class _NewtonKantorovich(_Test):
    """p(r) = eta + z r + L r^2 / 2 - r has two roots, and the ball ends between them.

    eta bounds |T(m) - m|, z bounds |T'(m)| and L is a Lipschitz constant of T' in the
    ball. A zero at distance r has p(r) >= 0: it lies within the first root, where T
    contracts, or beyond the second.
    """

    method = Method.NEWTON_KANTOROVICH

    def existence_radii(self, radii: PerPoint) -> PerPoint:
        ball = around(self.states, radii)
        rates = self.dynamics.jacobian_lipschitz(ball.low, ball.high, self.inputs)
        if rates is None:
            return torch.full_like(radii, torch.nan)
        width = self.states.shape[-1]
        bend = up(_apply(self.operator.sizes, rates), width).amax(-1)
        eta, slack = self.operator.moves.amax(-1), self.operator.slack
        # Roots that nearly meet cannot be told apart by rounded arithmetic.
        square = slack.square() - 2 * bend * eta
        apart = square > 1e-6 * slack.square()
        root = square.clamp_min(0).sqrt()
        first = (1 + 1e-8) * 2 * eta / (slack + root)
        second = (1 - 1e-8) * (slack + root) / bend
        holds = apart & (first <= radii) & (radii < second)
        return torch.where(holds, first, torch.nan)


def _apply(matrices: Matrices, vectors: States) -> States:
    return (matrices @ vectors[..., None])[..., 0]
