"""Rules that divide the relevance of gate * signal between the two of them.

Arras et al. (2019), "Explaining and interpreting LSTMs", arXiv 1909.12114, compares
all four; each gives away exactly what it gets.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

Gates = Float[Tensor, "n d"]


@dataclass(frozen=True)
class ProductRule(ABC):
    """How a product of a gate and a signal divides its relevance.

    Subclass it as a frozen dataclass with `gate_share`; the signal takes the rest.
    """

    @abstractmethod
    def gate_share(self, gates: Gates, signals: Gates) -> Gates:
        """Share (n, d) of each product's relevance that its gate takes.

        Args:
            gates: values of the gates, (n, d), between 0 and 1.
            signals: values of what they multiply, (n, d).
        """


@dataclass(frozen=True)
class SignalTakesAll(ProductRule):
    """The signal takes all, the gate nothing: LRP-all.

    A gate says how much of the signal passes, and the signal what it says.

    References:
        Arras et al. (2017), "Explaining recurrent neural network predictions in
        sentiment analysis", arXiv 1706.07206.

    Example:
        >>> import torch
        >>> gates, signals = torch.tensor([[0.2]]), torch.tensor([[-0.6]])
        >>> SignalTakesAll().gate_share(gates, signals)
        tensor([[0.]])
    """

    def gate_share(self, gates: Gates, signals: Gates) -> Gates:
        """Return zeros."""
        return torch.zeros_like(signals)


@dataclass(frozen=True)
class EqualShares(ProductRule):
    """Gate and signal take half each: LRP-half.

    References:
        Arjona-Medina et al. (2019), "RUDDER", arXiv 1806.07857.

    Example:
        >>> import torch
        >>> gates, signals = torch.tensor([[0.2]]), torch.tensor([[-0.6]])
        >>> EqualShares().gate_share(gates, signals)
        tensor([[0.5000]])
    """

    def gate_share(self, gates: Gates, signals: Gates) -> Gates:
        """Return halves."""
        return torch.full_like(signals, 0.5)


@dataclass(frozen=True)
class ProportionalShares(ProductRule):
    """Shares in proportion to the values, signs and all: LRP-prop.

    The gate takes gate / (gate + signal). Where a negative signal nearly cancels its
    gate, both shares are huge and of opposite sign.

    References:
        Ding et al. (2017), "Visualizing and understanding neural machine
        translation", ACL.

    Example:
        >>> import torch
        >>> gates, signals = torch.tensor([[0.2]]), torch.tensor([[-0.6]])
        >>> ProportionalShares().gate_share(gates, signals)
        tensor([[-0.5000]])
    """

    def gate_share(self, gates: Gates, signals: Gates) -> Gates:
        """Return gate / (gate + signal), halves where both cancel exactly."""
        return _part(gates, gates + signals)


@dataclass(frozen=True)
class AbsoluteShares(ProductRule):
    """Shares in proportion to the absolute values: LRP-abs.

    The gate takes |gate| / (|gate| + |signal|).

    References:
        Arras et al. (2019), arXiv 1909.12114.

    Example:
        >>> import torch
        >>> gates, signals = torch.tensor([[0.2]]), torch.tensor([[-0.6]])
        >>> AbsoluteShares().gate_share(gates, signals)
        tensor([[0.2500]])
    """

    def gate_share(self, gates: Gates, signals: Gates) -> Gates:
        """Return |gate| / (|gate| + |signal|), halves where both are zero."""
        return _part(gates.abs(), gates.abs() + signals.abs())


def _part(part: Gates, whole: Gates) -> Gates:
    nothing = whole == 0
    return torch.where(nothing, 0.5, part / torch.where(nothing, 1.0, whole))
