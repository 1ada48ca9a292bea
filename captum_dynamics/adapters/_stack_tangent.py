"""The derivative of a stack of layers: block lower triangular."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from captum_dynamics._typing import InputJacobians, Inputs, Jacobians, States
from captum_dynamics.adapters._closed_form import ClosedTangent


@dataclass(frozen=True, eq=False)
class StackTangent(ClosedTangent):
    """Layer by layer: what a layer reads changes as the output of the one below.

    Attributes:
        layers: derivatives of each layer, from the first.
        widths: width of each layer's state.
        outputs: width of what each gives to the next.
    """

    layers: tuple[ClosedTangent, ...]
    widths: tuple[int, ...]
    outputs: tuple[int, ...]

    def select(self, rows: Tensor) -> StackTangent:
        layers = tuple(layer.select(rows) for layer in self.layers)
        return StackTangent(layers, self.widths, self.outputs)

    def jacobians(self) -> Jacobians:
        rows: list[Tensor] = []
        below, start = None, 0
        for layer, width, output in self._levels():
            own = layer.jacobians()
            row = own.new_zeros(len(own), width, sum(self.widths))
            row[:, :, start : start + width] = own
            if below is not None:
                row += layer.input_jacobians() @ below
            rows.append(row)
            below, start = row[:, :output], start + width
        return torch.cat(rows, dim=1)

    def input_jacobians(self) -> InputJacobians:
        rows: list[Tensor] = []
        below: Tensor | None = None
        for layer, _, output in self._levels():
            own = layer.input_jacobians()
            rows.append(own if below is None else own @ below)
            below = rows[-1][:, :output]
        return torch.cat(rows, dim=1)

    def push(
        self, state_tangents: States, input_tangents: Inputs | None = None
    ) -> States:
        parts: list[Tensor] = []
        below = input_tangents
        for (layer, _, output), own in zip(
            self._levels(),
            self._split(state_tangents),
            strict=True,
        ):
            parts.append(layer.push(own, below))
            below = parts[-1][:, :output]
        return torch.cat(parts, dim=-1)

    def pull(self, cotangents: States) -> tuple[States, Inputs]:
        parts: list[Tensor] = []
        above = cotangents.new_zeros(len(cotangents), 0)
        own_parts = self._split(cotangents)
        for layer, own in zip(self.layers[::-1], own_parts[::-1], strict=True):
            through = nn.functional.pad(above, (0, own.shape[1] - above.shape[1]))
            part, above = layer.pull(own + through)
            parts.append(part)
        return torch.cat(parts[::-1], dim=-1), above

    def newton_direction(self, residuals: States) -> States:
        """Solve layer by layer: the joint J is block lower triangular.

        A layer's own equation is (J - I) p = -(g + B dx), where the layer below, once
        it has moved by its p, changes what is read by dx = p - g.
        """
        parts: list[Tensor] = []
        change = None
        for (layer, _, output), own in zip(
            self._levels(), self._split(residuals), strict=True
        ):
            rest = torch.zeros_like(own)
            driven = own if change is None else own + layer.push(rest, change)
            parts.append(layer.newton_direction(driven))
            change = (parts[-1] - own)[:, :output]
        return torch.cat(parts, dim=-1)

    def _levels(self) -> zip[tuple[ClosedTangent, int, int]]:
        return zip(self.layers, self.widths, self.outputs, strict=True)

    def _split(self, states: Tensor) -> tuple[Tensor, ...]:
        return torch.split(states, list(self.widths), dim=-1)
