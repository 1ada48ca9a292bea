"""Faithfulness: what an attribution explains, and what its linear picture predicts."""

from __future__ import annotations

import math
from dataclasses import dataclass

from captum_dynamics._typing import PerPoint

ROUNDING = 1e-6
"""Outputs this close, relative to their size, are one number in float32."""


@dataclass(frozen=True, eq=False)
class Faithfulness:
    """How far contributions and a linear picture reach; no number stands for another.

    What compares with the spread of the outputs over examples (`attribution_r2`,
    `surrogate_r2`, `constant_share`) is NaN where they have none: for one example, or
    for outputs that are all equal. `delta` and `identity_error` are always defined.

    Attributes:
        outputs: the model's outputs F(x), (n,).
        baseline_outputs: its outputs F(baseline), (n,).
        totals: sums of each example's contributions, (n,).
        constants: what the linear picture's output holds besides, (n,).
        surrogate_outputs: the picture's outputs when its states run freely from h_0,
            (n,); for an exact estimator `totals + constants` equals them.
    """

    outputs: PerPoint
    baseline_outputs: PerPoint
    totals: PerPoint
    constants: PerPoint
    surrogate_outputs: PerPoint

    @property
    def delta(self) -> PerPoint:
        """Captum's convergence delta: totals - (F(x) - F(baseline))."""
        return self.totals - (self.outputs - self.baseline_outputs)

    @property
    def attribution_r2(self) -> float:
        """R^2 of F(baseline) + totals as a prediction of F(x)."""
        return r2(self.outputs, self.baseline_outputs + self.totals)

    @property
    def surrogate_r2(self) -> float:
        """Free-run R^2 of the picture: it says nothing of the contributions."""
        return r2(self.outputs, self.surrogate_outputs)

    @property
    def constant_share(self) -> float:
        """sd(constants) / sd(F(x)): above 1, the constant hides more than is told."""
        return float(self.constants.std(correction=0)) / _spread(self.outputs)

    @property
    def identity_error(self) -> float:
        """Largest |totals + constants - surrogate_outputs|: rounding, and no more."""
        missing = self.totals + self.constants - self.surrogate_outputs
        return float(missing.abs().max())


def r2(outputs: PerPoint, predicted: PerPoint) -> float:
    """1 - mean squared error / variance of the outputs; NaN where they do not vary."""
    error = float((outputs - predicted).square().mean())
    return 1 - error / _spread(outputs) ** 2


def _spread(outputs: PerPoint) -> float:
    """Standard deviation over examples; NaN where it is zero up to rounding."""
    spread = float(outputs.std(correction=0))
    return spread if spread > ROUNDING * float(outputs.abs().max()) else math.nan
