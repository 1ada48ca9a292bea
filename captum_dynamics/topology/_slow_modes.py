"""How many modes are slow: where the rates of decay jump."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from captum_dynamics import _linalg
from captum_dynamics._typing import Inputs, States
from captum_dynamics.dynamics import DynamicsMap
from captum_dynamics.fixed_points import find_slow_points
from captum_dynamics.linearization import Linearization
from captum_dynamics.spreading import farthest_points

LEAST_GAP = 3.0
GONE = 1e-3  # what is left of a mode when it counts as gone
LEAST_LASTING = 0.1  # of a run: a mode that fades sooner is no memory
DEFAULT_STEPS = 50
LEAST_STEPS = 10  # far from the manifold nothing fades at the rate of its modes
PROBES = 16  # states at which the spectrum is looked at


@dataclass(frozen=True)
class SlowModes:
    """Slow modes and the gap behind them.

    Attributes:
        count: number of slow modes; 0 where there is no gap of 3.
        gap: |ln|lam_{d+1}|| / max(|ln|lam_d||, 1 / length of the runs) at the largest
            gap behind slow modes, or behind the first mode where it is not slow.
        fast: median |lam_{d+1}| there.
    """

    count: int
    gap: float
    fast: float


def count_slow_modes(eigenvalues: Tensor, *, run_length: float) -> SlowModes:
    """Find the largest gap of the rates of decay, medians over points.

    A mode counts as slow where it lasts for a tenth of a run. Rates above ln 1000, by
    which a mode is gone in one step, are all alike; a mode behind the last is as fast.

    Args:
        eigenvalues: (n, d), by decreasing magnitude.
        run_length: steps of the runs that the network is used for.
    """
    sizes = eigenvalues.abs().median(0).values
    fastest = sizes.new_tensor([GONE])
    sizes = torch.cat([sizes.clamp_min(GONE), fastest])
    rates = sizes.log().abs()
    gaps = rates[1:] / rates[:-1].clamp_min(1 / run_length)
    lasting = rates[:-1] * run_length <= 1 / LEAST_LASTING
    slow = int(lasting.long().cumprod(0).sum())
    place = int(gaps[: max(slow, 1)].argmax())
    gap = float(gaps[place])
    count = place + 1 if slow and gap >= LEAST_GAP else 0
    return SlowModes(count, gap, float(sizes[place + 1]))


def relaxation_steps(
    dynamics: DynamicsMap, states: States, inputs: Inputs, *, run_length: float
) -> int:
    """Steps in which all fast modes fade to a thousandth; 50 where no gap is seen.

    At least 10, and no more than a run has: what is slow over a run would move too. The
    spectrum is looked at where some visited states are after 50 steps.
    """
    rows = farthest_points(states, PROBES)
    rested = find_slow_points(dynamics, states[rows], inputs[rows], steps=DEFAULT_STEPS)
    rested = rested[torch.isfinite(rested.residual_norms)]
    if not len(rested):
        return DEFAULT_STEPS
    jacobians = dynamics.jacobians(rested.states, rested.inputs)
    sizes = _linalg.sorted_eigen(jacobians)[0].abs()
    modes = count_slow_modes(sizes, run_length=run_length)
    if not modes.count:
        return DEFAULT_STEPS
    steps = math.ceil(math.log(GONE) / math.log(modes.fast))
    return max(LEAST_STEPS, min(steps, math.ceil(run_length)))


def slow_part(residuals: States, linear: Linearization) -> States:
    """The part r_1 (l_1.g) of each residual g in the leading mode.

    What still fades across the manifold is left out: the left mode does not see it,
    however far its own direction is from being orthogonal to the manifold. Where the
    leading mode is one of a pair, or not independent of the others, all of g is kept.
    """
    right = linear.right_eigenvectors[:, :, 0]
    left = linear.left_eigenvectors[:, 0]
    slow = ((left * residuals).sum(1, keepdim=True) * right).real
    single = linear.eigenvalues[:, 0].imag == 0
    usable = single & torch.isfinite(slow).all(1)
    parts: Tensor = torch.where(usable[:, None], slow, residuals)
    return parts
