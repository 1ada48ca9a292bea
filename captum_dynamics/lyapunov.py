"""Lyapunov exponents: how fast small deviations grow on average, along a run."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from captum_dynamics import _checks
from captum_dynamics._execution import BUDGET, progress, row_chunks
from captum_dynamics._typing import Counts, GivenInputs, Inputs, PerPoint, States
from captum_dynamics.dynamics import DynamicsMap

BLOCKS = 16  # stretches of a run whose scatter gives the standard error
ERRORS = 3.0  # standard errors within which an exponent is no other than zero
SMALL = 16  # dimensions up to which Jacobians cost less than products
Frames = Float[Tensor, "n d m"]
Exponents = Float[Tensor, "n m"]
Sums = Float[Tensor, "b n m"]


@dataclass(frozen=True, eq=False)
class LyapunovSpectrum:
    """Mean logarithmic growth per step of deviations, along m directions of n runs.

    Attributes:
        exponents: (n, m), in decreasing order, per step; NaN for a run that left every
            bound, -inf where a direction is lost for good, as where a unit is dead.
        errors: (n, m) standard errors, from the scatter between blocks of the run; NaN
            where the exponent is not finite.
        states: (n, d), where the runs were when the measurement ended.
        steps: steps that were measured.
    """

    exponents: Exponents
    errors: Exponents
    states: States
    steps: int

    def __len__(self) -> int:
        """Number of runs."""
        return len(self.exponents)

    @property
    def tolerances(self) -> Exponents:
        """How far (n, m) from zero an exponent may lie and count as zero.

        Three standard errors; and no less than 1 / steps, a growth by the factor e in
        all of the run.
        """
        return (ERRORS * self.errors).nan_to_num().clamp_min(1 / self.steps)

    @property
    def zeros(self) -> Counts:
        """Number (n,) of exponents that are zero within their tolerance."""
        return (self.exponents.abs() <= self.tolerances).sum(-1)

    @property
    def dimension(self) -> PerPoint:
        """Kaplan-Yorke dimension (n,) of the set that a run visits.

        The sum of the leading exponents stays above zero up to this number of them; the
        last one counts by its share. It is NaN where more exponents are needed.
        """
        exact = self.exponents.abs() > self.tolerances
        exponents = torch.where(exact, self.exponents, 0.0)
        sums = exponents.cumsum(-1)
        lasting = (sums >= 0).long().cumprod(-1).sum(-1, keepdim=True)
        padded = torch.nn.functional.pad(sums, (1, 0))
        surplus = padded.gather(-1, lasting)
        most = exponents.shape[-1]
        next_one = exponents.gather(-1, lasting.clamp_max(most - 1)).abs()
        dimension = lasting + torch.where(surplus > 0, surplus / next_one, 0.0)
        beyond = float(most) if most == self.states.shape[1] else math.nan
        dimension = torch.where(lasting < most, dimension, beyond)
        return torch.where(self.exponents.isnan().any(-1), torch.nan, dimension[:, 0])


@torch.no_grad()
def lyapunov_exponents(
    dynamics: DynamicsMap,
    states: States,
    inputs: GivenInputs,
    *,
    count: int | None = None,
    steps: int = 4096,
    transient: int = 512,
    budget: int = BUDGET,
    show_progress: bool = False,
) -> LyapunovSpectrum:
    """Measure the Lyapunov exponents of runs, by QR factors of products of Jacobians.

    A frame of deviations is carried along and made orthonormal at each step; the mean
    logarithms of how much its directions were stretched are the exponents. The largest
    is positive in chaos, zero on a torus, negative on an attracting cycle, where the
    exponents are the logarithms of the multipliers of a step. With few exponents of a
    wide state, only products with J are taken.

    Args:
        dynamics: the map.
        states: where the runs start (n, d), at best on what they are to measure.
        inputs: the constant input of each run, (n, k), or (1, k) for all.
        count: number m of exponents, the largest ones; all of them by default.
        steps: steps to measure, rounded up to a multiple of 16.
        transient: steps before, in which state and frame settle.
        budget: bytes that Jacobians may take at once.
        show_progress: show a progress bar over blocks of steps.

    Returns:
        Exponents with their standard errors, in float64.

    Raises:
        ValueError: no run, or values that do not fit.

    References:
        Benettin et al. (1980), Meccanica 15; Shimada and Nagashima (1979), Progress of
        Theoretical Physics 61; Eckmann and Ruelle (1985), Reviews of Modern Physics 57.

    Example:
        >>> import torch, captum_dynamics as cd
        >>> logistic = cd.FunctionAdapter(lambda h, x: 4 * h * (1 - h), 1, 0)
        >>> start, none = torch.tensor([[0.3]]), torch.zeros(1, 0)
        >>> spectrum = cd.lyapunov_exponents(logistic, start, none)
        >>> error = abs(float(spectrum.exponents) - torch.tensor(2.0).log())
        >>> bool(error < 3 * spectrum.errors)
        True
    """
    states, inputs = dynamics.check(states, inputs)
    _checks.check_rows("states", states)
    width = dynamics.state_dim
    count = width if count is None else _checks.check_count("count", count)
    _checks.check_count("steps", steps)
    _checks.check_count("transient", transient, least=0)
    _checks.check_positive("budget", budget)
    states, inputs = states.detach().to(dynamics.dtype), inputs.to(dynamics.dtype)
    count, block = min(count, width), -(-steps // BLOCKS)
    by_jacobians = width <= max(SMALL, 2 * count)
    ends, sums = [], []
    for rows in row_chunks(len(states), _bytes_per_row(width, count), budget):
        run = _Run(dynamics, states[rows], inputs[rows], count)
        run.advance(transient, by_jacobians, budget)
        blocks = progress(range(BLOCKS), show=show_progress, desc="Lyapunov exponents")
        sums.append(
            torch.stack([run.advance(block, by_jacobians, budget) for _ in blocks])
        )
        ends.append(run.states)
    return _spectrum(torch.cat(sums, dim=1) / block, torch.cat(ends), BLOCKS * block)


def _bytes_per_row(width: int, count: int) -> int:
    """A Jacobian, or the products with a frame, and what leads to them."""
    return 8 * 6 * width * min(width, max(2 * count, SMALL))


def _spectrum(means: Sums, states: States, steps: int) -> LyapunovSpectrum:
    """Exponents from the means of each block."""
    # Directions that grow alike may come in any order.
    exponents, order = means.mean(0).sort(dim=-1, descending=True)
    errors = (means.std(0) / math.sqrt(len(means))).gather(-1, order)
    return LyapunovSpectrum(exponents, errors, states, steps)


class _Run:
    """States of n runs, each with a frame of m orthonormal deviations."""

    def __init__(
        self, dynamics: DynamicsMap, states: States, inputs: Inputs, count: int
    ) -> None:
        self._dynamics = dynamics
        self._inputs = inputs
        self.states = states
        # The same for every run, on any device; a unit vector may be invariant.
        own = torch.Generator().manual_seed(0)
        draw = torch.randn(states.shape[1], count, generator=own, dtype=torch.float64)
        start = torch.linalg.qr(draw)[0].to(states)
        self._frames = start.expand(len(states), -1, -1)

    def advance(self, steps: int, by_jacobians: bool, budget: int) -> Exponents:
        """Follow all runs, and return the logarithms of the stretches, added up."""
        sizes = [self.states.new_ones(len(self.states), self._frames.shape[-1])]
        moved = self._by_jacobians(steps, budget) if by_jacobians else self._by(steps)
        for frames in moved:
            self._frames, factors = torch.linalg.qr(frames)
            sizes.append(factors.diagonal(dim1=-2, dim2=-1))
        stretches = torch.stack(sizes).abs()
        # A stretch that rounding of the largest would swallow cannot be told.
        least = torch.finfo(stretches.dtype).eps * stretches.amax(-1, keepdim=True)
        return torch.where(stretches <= least, 0.0, stretches).log().sum(0)

    def _by(self, steps: int) -> Iterator[Frames]:
        """Frames one step on, from products with J alone."""
        rows, width, count = self._frames.shape
        repeated = torch.arange(rows, device=self.states.device)
        repeated = repeated.repeat_interleave(count)
        for _ in range(steps):
            tangent = self._dynamics.tangent(self.states, self._inputs)
            vectors = self._frames.mT.reshape(rows * count, width)
            pushed = tangent.select(repeated).push(vectors)
            self.states = self._dynamics.step(self.states, self._inputs)
            yield pushed.reshape(rows, count, width).mT

    def _by_jacobians(self, steps: int, budget: int) -> Iterator[Frames]:
        """Frames one step on, from the Jacobians of many steps at once."""
        rows, width = self.states.shape
        for part in row_chunks(steps, 8 * 6 * rows * width**2, budget):
            visited = [self.states]
            for _ in range(part.stop - part.start):
                visited.append(self._dynamics.step(visited[-1], self._inputs))
            times = len(visited) - 1
            slopes = self._dynamics.jacobians(
                torch.cat(visited[:-1]), self._inputs.repeat(times, 1)
            )
            self.states = visited[-1]
            for slope in slopes.reshape(times, rows, width, width):
                yield slope @ self._frames
