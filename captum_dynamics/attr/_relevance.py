"""The epsilon rule for weighted sums, and what a recurrent step passes back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from captum_dynamics._typing import Inputs, PerPoint, States
from captum_dynamics.adapters import RecurrentAdapter
from captum_dynamics.adapters._weights import Weights
from captum_dynamics.attr.product_rules import ProductRule

Sums = Float[Tensor, "n m"]


@dataclass(frozen=True)
class Rules:
    """How relevance is divided.

    Attributes:
        product: between a gate and its signal.
        epsilon: what stabilizes the division among the terms of a sum.
    """

    product: ProductRule
    epsilon: float

    def split(self, relevance: Sums, gates: Sums, signals: Sums) -> tuple[Sums, Sums]:
        """Relevance of gates and of signals, from that of their products."""
        of_gates = self.product.gate_share(gates, signals) * relevance
        return of_gates, relevance - of_gates

    def per_term(self, relevance: Sums, sums: Sums) -> tuple[Sums, PerPoint]:
        """R / (z + epsilon sign z): a term of the sum z gets its value times this.

        A sum that is zero and has no epsilon cannot be divided: it keeps what it has.

        Returns:
            The ratios, and the relevance (n,) that the stabilizer takes.
        """
        # Not of two numbers, which `where` would round to float32.
        epsilon = torch.full_like(sums, self.epsilon)
        offsets = torch.where(sums < 0, -epsilon, epsilon)
        stabilized = sums + offsets
        lost = stabilized == 0
        ratios = torch.where(lost, 0.0, relevance / torch.where(lost, 1.0, stabilized))
        kept = torch.where(lost, relevance, offsets * ratios)
        return ratios, kept.sum(-1)


@dataclass(frozen=True, eq=False)
class Passed:
    """Where the relevance of the states after one step goes.

    Attributes:
        states: to the states before it, (n, d).
        inputs: to the inputs of the step, (n, k).
        biases: to biases, (n,).
        stabilizer: to epsilon, (n,).
    """

    states: States
    inputs: Inputs
    biases: PerPoint
    stabilizer: PerPoint


@dataclass(frozen=True, eq=False)
class CellRelevance(ABC):
    """Relevance through one recurrent layer, in one direction.

    Attributes:
        layer: the layer's map.
        weights: the layer's weights, gates in PyTorch's order.
    """

    layer: RecurrentAdapter
    weights: Weights

    @abstractmethod
    def pull(
        self, rules: Rules, states: States, inputs: Inputs, relevance: States
    ) -> Passed:
        """Pass the relevance of the states after a step to what the step read.

        Args:
            rules: how relevance is divided.
            states: before the step, (n, d).
            inputs: of the step, (n, k).
            relevance: of the states after the step, (n, d).
        """
