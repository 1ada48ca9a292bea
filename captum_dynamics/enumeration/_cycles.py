"""All cycles of one period of a piecewise-linear map, with proof."""

from __future__ import annotations

import torch

from captum_dynamics._typing import GivenInputs
from captum_dynamics.cycles import Cycles, around, cycles_of
from captum_dynamics.dynamics import DynamicsMap
from captum_dynamics.enumeration._fixed_points import MOST_UNITS, enumerate_fixed_points


@torch.no_grad()
def enumerate_cycles(
    dynamics: DynamicsMap,
    inputs: GivenInputs,
    period: int,
    *,
    max_units: int = MOST_UNITS,
    show_progress: bool = False,
) -> Cycles:
    """Find all cycles of one period of a ReLU network, by exhaustion.

    A cycle passes through a word of `period` regions. All words are solved or excluded
    as the regions are in `enumerate_fixed_points`: with m units there are
    2^(m * period). Use `find_cycles` where these are too many.

    Args:
        dynamics: a map that states its `activation_form`.
        inputs: the constant inputs (n, k) to enumerate at, or one of them (k,).
        period: number of different states in a cycle.
        max_units: units times period beyond which the call is refused.
        show_progress: show a progress bar over words.

    Returns:
        Every cycle once, without those of shorter periods, in float64.

    Raises:
        ValueError: as `enumerate_fixed_points` does, or a period below one.

    Example:
        >>> import torch, captum_dynamics as cd
        >>> from captum_dynamics.testing.systems import threshold_linear
        >>> cycles = cd.enumerate_cycles(threshold_linear().dynamics, torch.zeros(0), 2)
        >>> cycles.states.mul(1000).round().tolist()
        [[[968.0, 968.0], [-65.0, -65.0]]]
        >>> cycles.eigenvalues.real.mul(1000).round().tolist()
        [[1050.0, -550.0]]
    """
    rounds = around(dynamics, period)
    points = enumerate_fixed_points(
        rounds, inputs, max_units=max_units, show_progress=show_progress
    )
    return cycles_of(dynamics, points, period)
