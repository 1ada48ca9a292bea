"""Faithfulness: what an attribution explains, and what its linear picture predicts."""

from __future__ import annotations

from dataclasses import dataclass

from captum_dynamics._typing import PerPoint


@dataclass(frozen=True, eq=False)
class Faithfulness:
    """How far contributions and a linear picture reach; no number stands for another.

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
        return _r2(self.outputs, self.baseline_outputs + self.totals)

    @property
    def surrogate_r2(self) -> float:
        """Free-run R^2 of the picture: it says nothing of the contributions."""
        return _r2(self.outputs, self.surrogate_outputs)

    @property
    def constant_share(self) -> float:
        """sd(constants) / sd(F(x)): above 1, the constant hides more than is told."""
        return float(self.constants.std(correction=0) / self.outputs.std(correction=0))

    @property
    def identity_error(self) -> float:
        """Largest |totals + constants - surrogate_outputs|: rounding, and no more."""
        missing = self.totals + self.constants - self.surrogate_outputs
        return float(missing.abs().max())


def _r2(outputs: PerPoint, predicted: PerPoint) -> float:
    spread = (outputs - outputs.mean()).square().sum()
    return float(1 - (outputs - predicted).square().sum() / spread)
