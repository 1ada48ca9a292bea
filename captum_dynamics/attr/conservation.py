"""Conservation: where the relevance of outputs went, and whether any was lost."""

from __future__ import annotations

from dataclasses import dataclass

from captum_dynamics._typing import PerPoint


@dataclass(frozen=True, eq=False)
class Conservation:
    """Where the relevance of each output ended, all of shape (n,) and in float64.

    Attributes:
        outputs: the model's outputs F(x).
        totals: what the layer's inputs received, summed: the attributions.
        biases: what biases of the layer received.
        initial_states: what the states before the first step received.
        stabilizer: what epsilon absorbed.
        head: the output of the model for states that are zero, such as its bias:
            relevance that never reaches the layer.
    """

    outputs: PerPoint
    totals: PerPoint
    biases: PerPoint
    initial_states: PerPoint
    stabilizer: PerPoint
    head: PerPoint

    @property
    def delta(self) -> PerPoint:
        """Captum's convergence delta: totals - F(x), biases and epsilon included."""
        return self.totals - self.outputs

    @property
    def error(self) -> PerPoint:
        """All parts - F(x): zero up to rounding, in the precision of the model."""
        elsewhere = self.biases + self.initial_states + self.stabilizer + self.head
        return self.totals + elsewhere - self.outputs
