"""Interval arithmetic on float64 tensors, rounded outwards, with Lipschitz constants.

An operation on intervals returns bounds of its exact result for all real arguments
within the given bounds. This is verified up to three statements on the arithmetic:

- +, -, * and / of the machine err by at most eps / 2, relative to the result, and a sum
  of n products by at most n eps / 2 times the sum of their sizes, in whatever order it
  is taken and with or without fused multiply-add (Higham 2002, section 3.1);
- torch's `tanh` and `sigmoid` err by at most 2 eps relative to the result. This is an
  assumption about a library (0.6 and 1.0 eps were seen), not a theorem;
- what falls below the smallest normal number errs by no more than that number.

No rounding mode is switched: results are instead widened by twice these errors, or
more, so that they are some units in the last place wider than they need to be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from captum_dynamics._typing import States

EPS = torch.finfo(torch.float64).eps
TINY = torch.finfo(torch.float64).tiny
Matrix = Float[Tensor, "m d"]
Matrices = Float[Tensor, "n d m"]


def up(values: Tensor, products: int = 0) -> Tensor:
    """A bound from above on what rounded sums of `products` sizes stand for."""
    return (values * (1 + (products + 8) * EPS)).add_(TINY)


@dataclass(frozen=True, eq=False)
class Interval:
    """Quantities (n, m) of states h that vary within a box.

    Attributes:
        low: bounds from below (n, m).
        high: bounds from above (n, m).
        lipschitz: bounds (n, m) on |q(a) - q(b)| / max|a - b| over states of the box.
    """

    low: States
    high: States
    lipschitz: States

    @property
    def middle(self) -> States:
        """A point of the interval near its middle."""
        return 0.5 * (self.low + self.high)

    @property
    def radius(self) -> States:
        """The larger of the distances from `middle` to the two ends."""
        middle = self.middle
        return up(torch.maximum(self.high - middle, middle - self.low))

    @property
    def size(self) -> States:
        """Largest magnitude."""
        return torch.maximum(self.low.abs(), self.high.abs())

    def __getitem__(self, columns: slice) -> Interval:
        """Some of the quantities."""
        return Interval(
            self.low[:, columns], self.high[:, columns], self.lipschitz[:, columns]
        )

    def chunk(self, parts: int) -> list[Interval]:
        """Divide the quantities into parts of equal width."""
        width = self.low.shape[1] // parts
        return [self[slice(p * width, (p + 1) * width)] for p in range(parts)]

    def __neg__(self) -> Interval:
        return Interval(-self.high, -self.low, self.lipschitz)

    def __add__(self, other: Interval) -> Interval:
        lipschitz = up(self.lipschitz + other.lipschitz)
        return _outwards(self.low + other.low, self.high + other.high, lipschitz)

    def __sub__(self, other: Interval) -> Interval:
        return self + -other

    def __mul__(self, other: Interval) -> Interval:
        ends = [a * b for a in (self.low, self.high) for b in (other.low, other.high)]
        low = torch.minimum(torch.minimum(*ends[:2]), torch.minimum(*ends[2:]))
        high = torch.maximum(torch.maximum(*ends[:2]), torch.maximum(*ends[2:]))
        lipschitz = self.size * other.lipschitz + other.size * self.lipschitz
        return _outwards(low, high, up(lipschitz))

    def __and__(self, other: Interval) -> Interval:
        """Intersect two enclosures of the same quantities."""
        return Interval(
            torch.maximum(self.low, other.low),
            torch.minimum(self.high, other.high),
            torch.minimum(self.lipschitz, other.lipschitz),
        )

    def affine(self, matrix: Matrix, bias: Float[Tensor, " m"]) -> Interval:
        """A q + b for a matrix and a bias that are exact."""
        sizes, products = matrix.abs().mT, matrix.shape[1]
        middle, radius = self.middle, self.radius
        value = middle @ matrix.mT + bias
        rounding = (products + 4) * EPS * (middle.abs() @ sizes + bias.abs())
        spread = up(radius @ sizes + rounding, products)
        lipschitz = up(self.lipschitz @ sizes, products)
        return _outwards(value - spread, value + spread, lipschitz)

    def sigmoid(self) -> Interval:
        """sigma(q) = 1 / (1 + exp(-q))."""
        lipschitz = up(self.lipschitz * self._sigmoid_slopes()[1])
        found = _outwards(torch.sigmoid(self.low), torch.sigmoid(self.high), lipschitz)
        return Interval(found.low.clamp_min(0), found.high.clamp_max(1), lipschitz)

    def sigmoid_slope(self) -> Interval:
        """sigma'(q), with |sigma''| = sigma' |1 - 2 sigma| for its Lipschitz constant.

        Not sigma (1 - sigma) in interval arithmetic, which would forget that the two
        factors vary together.
        """
        low, high, bend = self._sigmoid_slopes()
        return Interval(low, high, up(self.lipschitz * bend))

    def _sigmoid_slopes(self) -> tuple[States, States, States]:
        # sigma'(q) = sigma(q) sigma(-q) falls with |q|; |1 - 2 sigma| = tanh(|q| / 2).
        nearest, farthest = self._distance_from_zero, self.size
        lowest = torch.sigmoid(farthest) * torch.sigmoid(-farthest)
        highest = torch.sigmoid(nearest) * torch.sigmoid(-nearest)
        low, high = _widened(lowest, highest)
        bend = up(high * torch.tanh(0.5 * farthest))
        return low.clamp_min(0), high, bend

    def tanh(self) -> Interval:
        """The hyperbolic tangent of q."""
        lipschitz = up(self.lipschitz * self._tanh_slopes()[1])
        found = _outwards(torch.tanh(self.low), torch.tanh(self.high), lipschitz)
        return Interval(found.low.clamp_min(-1), found.high.clamp_max(1), lipschitz)

    def tanh_slope(self) -> Interval:
        """tanh'(q) = 1 - tanh(q)^2, with |tanh''| = 2 |tanh| tanh' for its constant."""
        low, high, bend = self._tanh_slopes()
        return Interval(low, high, up(self.lipschitz * bend))

    def _tanh_slopes(self) -> tuple[States, States, States]:
        # tanh' falls with |q|. An error of tanh near 1 is as large in 1 - tanh, which
        # is why the margin here is not relative.
        nearest = self._distance_from_zero.tanh()
        farthest = up(self.size.tanh()).clamp_max(1)
        low = ((1 - farthest) * (1 + farthest) - 8 * EPS).clamp_min(0)
        high = ((1 - nearest) * (1 + nearest) + 8 * EPS).clamp_max(1)
        return low, high, up(2 * farthest * high)

    @property
    def _distance_from_zero(self) -> States:
        """Smallest magnitude."""
        return torch.maximum(self.low, -self.high).clamp_min(0)

    def relu(self) -> Interval:
        """max(q, 0)."""
        return Interval(self.low.clamp_min(0), self.high.clamp_min(0), self.lipschitz)

    def relu_slope(self) -> Interval:
        """The slopes of max(q, 0): 0, 1, or all between where the kink is inside."""
        low, high = (self.low > 0).to(self.low), (self.high >= 0).to(self.low)
        return Interval(low, high, torch.where(low < high, torch.inf, 0.0).to(low))


def box(low: States, high: States) -> Interval:
    """The states themselves, within their box: the variable of all others."""
    return Interval(low, high, torch.ones_like(low))


def around(states: States, radii: Float[Tensor, " n"]) -> Interval:
    """The box of all states within a distance in the max norm."""
    ones = torch.ones_like(states)
    return _outwards(states - radii[:, None], states + radii[:, None], ones)


def constant(values: States) -> Interval:
    """Exact values that do not depend on the states."""
    return Interval(values, values, torch.zeros_like(values))


def concatenate(parts: Sequence[Interval]) -> Interval:
    """Put quantities side by side."""
    return Interval(
        torch.cat([part.low for part in parts], dim=-1),
        torch.cat([part.high for part in parts], dim=-1),
        torch.cat([part.lipschitz for part in parts], dim=-1),
    )


def _outwards(low: States, high: States, lipschitz: States) -> Interval:
    low, high = _widened(low, high)
    return Interval(low, high, lipschitz)


def _widened(low: States, high: States) -> tuple[States, States]:
    """Bounds moved apart by more than the rounding of the operation before."""
    return low - (8 * EPS * low.abs() + TINY), high + (8 * EPS * high.abs() + TINY)


@dataclass(frozen=True, eq=False)
class Ball:
    """Matrices (n, d, m) whose entries lie within `radius` of `middle`."""

    middle: Matrices
    radius: Matrices

    @staticmethod
    def between(low: Matrices, high: Matrices) -> Ball:
        """The ball that holds all matrices between two bounds."""
        middle = 0.5 * (low + high)
        return Ball(middle, up(torch.maximum(high - middle, middle - low)))

    @staticmethod
    def diagonal(values: Interval) -> Ball:
        """Diagonal matrices."""
        middle, radius = values.middle, values.radius
        return Ball(torch.diag_embed(middle), torch.diag_embed(radius))

    @property
    def bounds(self) -> tuple[Matrices, Matrices]:
        """Bounds from below and above."""
        slack = up(self.radius) + 2 * EPS * self.middle.abs()
        return self.middle - slack, self.middle + slack

    def __add__(self, other: Ball) -> Ball:
        middle = self.middle + other.middle
        return Ball(middle, up(self.radius + other.radius + EPS * middle.abs()))

    def __matmul__(self, other: Ball) -> Ball:
        products = self.middle.shape[-1]
        sizes = other.middle.abs()
        rounded = other.radius + (products + 4) * EPS * sizes
        radius = self.middle.abs() @ rounded + self.radius @ (sizes + other.radius)
        return Ball(self.middle @ other.middle, up(radius, 2 * products))

    def premultiplied(self, matrix: Matrix) -> Ball:
        """A times each matrix, for an exact A."""
        exact = matrix.expand(len(self.middle), -1, -1)
        return Ball(exact, torch.zeros_like(exact)) @ self

    def padded(self, before: int, after: int) -> Ball:
        """The same matrices between columns of zeros."""
        pad = torch.nn.functional.pad
        widths = (before, after)
        return Ball(pad(self.middle, widths), pad(self.radius, widths))

    def rows(self, stop: int) -> Ball:
        """The first rows of each matrix."""
        return Ball(self.middle[:, :stop], self.radius[:, :stop])


def scaled_sum(*terms: tuple[Interval, Matrix]) -> Ball:
    """sum_i diag(f_i) M_i for factors f_i (n, m) and exact matrices M_i (m, d)."""
    rounding = (len(terms) + 4) * EPS
    (factors, matrix), *others = terms
    middle = factors.middle[:, :, None] * matrix
    spread = factors.radius + rounding * factors.middle.abs()
    radius = spread[:, :, None] * matrix.abs()
    for factors, matrix in others:
        middle.addcmul_(factors.middle[:, :, None], matrix)
        spread = factors.radius + rounding * factors.middle.abs()
        radius.addcmul_(spread[:, :, None], matrix.abs())
    return Ball(middle, up(radius, len(terms)))


def row_variation(*terms: tuple[Interval, Matrix]) -> Float[Tensor, "n m"]:
    """Lipschitz constants (n, m) of the rows of `scaled_sum`, in the 1-norm."""
    rates = [factors.lipschitz * matrix.abs().sum(-1) for factors, matrix in terms]
    return up(torch.stack(rates).sum(0), len(terms) + terms[0][1].shape[1])


def stack_rows(parts: Sequence[Ball]) -> Ball:
    """Put matrices below each other."""
    return _concatenate(parts, 1)


def stack_columns(parts: Sequence[Ball]) -> Ball:
    """Put matrices beside each other."""
    return _concatenate(parts, 2)


def _concatenate(parts: Sequence[Ball], dim: int) -> Ball:
    return Ball(
        torch.cat([part.middle for part in parts], dim=dim),
        torch.cat([part.radius for part in parts], dim=dim),
    )
