"""A piecewise-linear map written out: F(h) = A h + W relu(C h + c) + b."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from captum_dynamics import _checks
from captum_dynamics._typing import States


@dataclass(frozen=True, eq=False)
class ActivationForm:
    """F(h) = A h + W relu(C h + c) + b, at one input.

    The signs of the units u = C h + c divide the states into regions in each of which
    F is affine: whoever knows this form knows all regions. A unit with a slope s below
    zero is s u + (1 - s) relu(u): its share s u belongs to A and b.

    Attributes:
        linear: A (d, d), zero for h' = relu(C h + c).
        outgoing: W (d, m), the identity for h' = relu(C h + c).
        incoming: C (m, d).
        offsets: c (m,), what the units read besides the state, the input included.
        bias: b (d,).

    Example:
        >>> import torch
        >>> one = torch.ones(1, 1)
        >>> form = ActivationForm(0.5 * one, -one, one, one[0], one[0])
        >>> form(torch.tensor([[2.0], [-4.0]])).flatten().tolist()
        [-1.0, -1.0]
    """

    linear: Float[Tensor, "d d"]
    outgoing: Float[Tensor, "d m"]
    incoming: Float[Tensor, "m d"]
    offsets: Float[Tensor, " m"]
    bias: Float[Tensor, " d"]

    def __post_init__(self) -> None:
        """Refuse matrices that do not fit together."""
        width, units = len(self.bias), len(self.offsets)
        _checks.check_shape("linear", self.linear, (width, width))
        _checks.check_shape("outgoing", self.outgoing, (width, units))
        _checks.check_shape("incoming", self.incoming, (units, width))
        for name in ("linear", "outgoing", "incoming", "offsets", "bias"):
            _checks.check_finite(name, getattr(self, name))

    def __call__(self, states: States) -> States:
        """F of every row."""
        active = torch.relu(states @ self.incoming.mT + self.offsets)
        return states @ self.linear.mT + active @ self.outgoing.mT + self.bias

    @property
    def units(self) -> int:
        """Number m of units: there are 2^m patterns, and at most as many regions."""
        return len(self.offsets)

    def double(self) -> ActivationForm:
        """The same form in float64."""
        return ActivationForm(
            self.linear.double(),
            self.outgoing.double(),
            self.incoming.double(),
            self.offsets.double(),
            self.bias.double(),
        )

    def region(self, on: Float[Tensor, " m"]) -> tuple[Tensor, Tensor]:
        """J (d, d) and b (d,) of F(h) = J h + b where exactly the units `on` are on."""
        weights = self.outgoing * on
        return self.linear + weights @ self.incoming, weights @ self.offsets + self.bias

    def seen_from(self, on: Float[Tensor, " m"]) -> ActivationForm:
        """The same map with the region `on` as the one where every unit is off.

        By relu(u) = u + relu(-u), units that are on there change sign.
        """
        linear, bias = self.region(on)
        signs = 1 - 2 * on
        return ActivationForm(
            linear,
            self.outgoing,
            signs[:, None] * self.incoming,
            signs * self.offsets,
            bias,
        )

    def around(self, period: int) -> ActivationForm:
        """The map (h_1, ..., h_k) -> (F(h_k), F(h_1), ...) of `period` k states.

        Its fixed points are the cycles whose period divides k.
        """
        eye = torch.eye(period, dtype=self.bias.dtype, device=self.bias.device)
        onwards = eye.roll(1, 0)
        return ActivationForm(
            torch.kron(onwards, self.linear),
            torch.kron(onwards, self.outgoing),
            torch.kron(eye, self.incoming),
            self.offsets.repeat(period),
            self.bias.repeat(period),
        )
