"""Where a network oscillates: the slow points that it circles and never rests at.

Relaxing visited states finds slow points that attract. Those that repel in some
directions, as those of an oscillating network do, are found by minimising the speed.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from captum_dynamics.analysis import Analysis
from captum_dynamics.experiments._claims import Claim, reported
from captum_dynamics.experiments._variance import shares_of_variance
from captum_dynamics.experiments.line_attractor._statistics import Subject
from captum_dynamics.fixed_points import Kind, find_slow_points
from captum_dynamics.linearization import linearize
from captum_dynamics.solvers import LevenbergMarquardt

STARTS = 300
SLOW = 0.01  # of a step in use: the residual that counts as slow


@dataclass(frozen=True)
class SaddleLine:
    """Slow points that repel, and what words write on the mode that keeps.

    Attributes:
        share: starts that reached a slow point.
        first_component: share of the slow points' variance in one direction.
        coverage: part of the visited range of the readout that they cover.
        kept: median of the multiplier nearest to 1.
        unstable_dims: median number of growing modes.
        correlation: median over the points of |correlation| of what words push along
            the mode of that multiplier with their known scores.
    """

    share: float
    first_component: float
    coverage: float
    kept: float
    unstable_dims: float
    correlation: float

    def claims(self) -> list[Claim]:
        """The numbers as rows without a bound."""
        return [
            reported("starts that reach a slow point", self.share, form=".1%"),
            reported("their variance in one direction", self.first_component),
            reported("of the readout's range, covered", self.coverage, form=".1%"),
            reported("multiplier nearest to 1 (median)", self.kept, form=".4f"),
            reported("growing modes (median)", self.unstable_dims, form=".0f"),
            reported("correlation of pushes along its mode", self.correlation),
        ]


def find_saddle_line(subject: Subject, result: Analysis, *, seed: int) -> SaddleLine:
    """Minimise the speed from visited states down to 1 % of a step in use.

    Args:
        subject: the network.
        result: of `subject.analyze`.
        seed: of the choice of states.
    """
    dynamics, runs = subject.dynamics, subject.runs
    generator = torch.Generator().manual_seed(seed)
    residual = SLOW * result.visits.task_step
    found = find_slow_points(
        dynamics,
        runs.sample_states(STARTS, generator=generator),
        result.visits.reference_input[None],
        solver=LevenbergMarquardt(atol=residual),
        q_slow=0.5 * residual**2,
    )
    slow = found[(found.kind == Kind.SLOW) | (found.kind == Kind.FIXED)]
    if not len(slow):
        nan = torch.nan
        return SaddleLine(0.0, nan, 0.0, nan, nan, nan)
    linear = linearize(dynamics, slow)
    rows = torch.arange(len(linear))
    nearest = (linear.eigenvalues - 1).abs().argmin(1)
    left = linear.left_eigenvectors[rows, nearest].real
    pushes = torch.einsum(
        "pd,pdk,vk->pv", left, linear.input_jacobians, subject.words.inputs.to(left)
    )
    pairs = (torch.stack([push, result.words.scores]) for push in pushes)
    correlations = torch.stack([torch.corrcoef(pair)[0, 1].abs() for pair in pairs])
    low, high = result.visits.readout_range
    read = slow.states @ result.readout
    covered = min(float(read.max()), high) - max(float(read.min()), low)
    return SaddleLine(
        share=len(slow) / len(found),
        first_component=float(shares_of_variance(slow.states)[0]),
        coverage=max(0.0, covered) / (high - low),
        kept=float(linear.eigenvalues[rows, nearest].real.median()),
        unstable_dims=float(linear.unstable_dims.double().median()),
        correlation=float(correlations.median()),
    )
