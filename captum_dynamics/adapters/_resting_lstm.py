"""An LSTM searched in h alone: at a fixed point the cells follow from h."""

from __future__ import annotations

import torch
from torch import Tensor

from captum_dynamics._typing import Inputs, ReducedStates, States
from captum_dynamics.adapters._gated import GatedLayer, GatedTangent
from captum_dynamics.adapters._weights import Weights
from captum_dynamics.dynamics import Reduction


class RestingLSTM(GatedLayer):
    """h' = o tanh c, with the cells c = i g / (1 - f) where c = f c + i g.

    At a fixed point the cells follow from h in closed form, so that the points of the
    LSTM are those of this map. They are not its dynamics.
    """

    def step(self, states: States, inputs: Inputs) -> States:
        *_, o, cells = self._gates(states, inputs)
        return o * torch.tanh(cells)

    def tangent(self, states: States, inputs: Inputs) -> GatedTangent:
        i, f, leak, g, o, cells = self._gates(states, inputs)
        tanh_cells = torch.tanh(cells)
        by_cell = o * (1 - tanh_cells**2)
        factors = [
            by_cell * g * i * (1 - i) / leak,
            by_cell * cells * f,
            by_cell * i * (1 - g**2) / leak,
            tanh_cells * o * (1 - o),
        ]
        by_drive = torch.stack(factors, dim=1)
        return GatedTangent(self.weights_like(states), by_drive, by_drive)

    def cells(self, states: States, inputs: Inputs) -> States:
        """Where the cells rest."""
        return self._gates(states, inputs)[-1]

    def _gates(
        self, states: States, inputs: Inputs
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
        """i, f, 1 - f, g, o and the resting cells."""
        drives = self.weights_like(states).drives(states, inputs)
        i, f, g, o = drives.chunk(4, dim=-1)
        i, g = torch.sigmoid(i), torch.tanh(g)
        leak = torch.sigmoid(-f).clamp_min(torch.finfo(f.dtype).tiny)
        return i, torch.sigmoid(f), leak, g, torch.sigmoid(o), i * g / leak


class AtRest(Reduction):
    """An LSTM searched in h alone."""

    def __init__(self, weights: Weights) -> None:
        self._resting = RestingLSTM(weights)

    @property
    def dynamics(self) -> RestingLSTM:
        return self._resting

    def restrict(self, states: States) -> ReducedStates:
        return states[:, : self._resting.state_dim]

    def lift(self, states: ReducedStates, inputs: Inputs) -> States:
        return torch.cat([states, self._resting.cells(states, inputs)], dim=-1)
