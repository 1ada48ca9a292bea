"""The layers of torch.nn, and the update gate RNN, in unitwise form."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from captum_dynamics._typing import Inputs, States
from captum_dynamics.adapters._weights import Weights
from captum_dynamics.unitwise import Arguments, Reads, UnitwiseForm, Values, ValueSlopes


@dataclass(frozen=True, eq=False)
class VanillaForm(UnitwiseForm):
    """h' = tanh(a) or relu(a), of one argument."""

    weights: Weights
    is_tanh: bool

    def reads(self, inputs: Inputs) -> Reads:
        return torch.addmm(self.weights.bias, inputs, self.weights.inputs.mT)

    def arguments(self, states: States, reads: Reads) -> Arguments:
        return torch.addmm(reads, states, self.weights.recurrent.mT)[:, None]

    def values(self, arguments: Arguments) -> Values:
        return torch.tanh(arguments) if self.is_tanh else torch.relu(arguments)

    def slopes(self, arguments: Arguments) -> ValueSlopes:
        if self.is_tanh:
            return (1 - torch.tanh(arguments) ** 2)[:, None]
        return (arguments > 0).to(arguments)[:, None]

    def mean_slopes(self, starts: Arguments, ends: Arguments) -> ValueSlopes | None:
        """Of a ReLU, the share of the way on which it is on."""
        if self.is_tanh:
            return None
        moves = ends - starts
        rises = torch.relu(ends) - torch.relu(starts)
        still = (ends > 0).to(ends)
        shares = torch.where(moves == 0, still, rises / moves)
        return shares[:, None]

    def states(self, values: Values) -> States:
        return values[:, 0]

    def pull_values(self, cotangents: States) -> Values:
        return cotangents[:, None]

    def pull_states(self, cotangents: Arguments) -> States:
        return cotangents[:, 0] @ self.weights.recurrent

    def pull_inputs(self, cotangents: Arguments) -> Inputs:
        return cotangents[:, 0] @ self.weights.inputs


@dataclass(frozen=True, eq=False)
class GRUForm(UnitwiseForm):
    """h' = (1 - z) n + z h, of the drives of r and z, both drives of n, and h."""

    weights: Weights

    def reads(self, inputs: Inputs) -> Reads:
        return torch.addmm(self.weights.input_bias, inputs, self.weights.inputs.mT)

    def arguments(self, states: States, reads: Reads) -> Arguments:
        w, width = self.weights, states.shape[1]
        recurrent = torch.addmm(w.recurrent_bias, states, w.recurrent.mT)
        gates = reads[:, : 2 * width] + recurrent[:, : 2 * width]
        drives = [gates, reads[:, 2 * width :], recurrent[:, 2 * width :], states]
        return torch.cat(drives, dim=1).view(len(states), 5, width)

    def values(self, arguments: Arguments) -> Values:
        _, z, n, _, old = self._gates(arguments)
        return torch.lerp(n, old, z)[:, None]

    def slopes(self, arguments: Arguments) -> ValueSlopes:
        r, z, n, recurrent, old = self._gates(arguments)
        by_n = (1 - z) * (1 - n**2)
        by_recurrent = by_n * r
        by_r = by_recurrent * recurrent * (1 - r)
        by_z = (old - n) * z * (1 - z)
        return torch.stack([by_r, by_z, by_n, by_recurrent, z], dim=1)[:, None]

    def states(self, values: Values) -> States:
        return values[:, 0]

    def pull_values(self, cotangents: States) -> Values:
        return cotangents[:, None]

    def pull_states(self, cotangents: Arguments) -> States:
        gates = cotangents[:, [0, 1, 3]].flatten(1)
        return torch.addmm(cotangents[:, 4], gates, self.weights.recurrent)

    def pull_inputs(self, cotangents: Arguments) -> Inputs:
        return cotangents[:, :3].flatten(1) @ self.weights.inputs

    def _gates(self, arguments: Arguments) -> tuple[Tensor, ...]:
        """r, z, n, the recurrent drive of n, and h."""
        r, z = torch.sigmoid(arguments[:, 0]), torch.sigmoid(arguments[:, 1])
        recurrent = arguments[:, 3]
        n = torch.tanh(torch.addcmul(arguments[:, 2], r, recurrent))
        return r, z, n, recurrent, arguments[:, 4]


@dataclass(frozen=True, eq=False)
class UGRNNForm(UnitwiseForm):
    """h' = (1 - g) c + g h, of the drives of g and c, and h."""

    weights: Weights

    def reads(self, inputs: Inputs) -> Reads:
        return torch.addmm(self.weights.bias, inputs, self.weights.inputs.mT)

    def arguments(self, states: States, reads: Reads) -> Arguments:
        drives = torch.addmm(reads, states, self.weights.recurrent.mT)
        return torch.cat([drives, states], dim=1).view(len(states), 3, -1)

    def values(self, arguments: Arguments) -> Values:
        g, c, old = self._gates(arguments)
        return torch.lerp(c, old, g)[:, None]

    def slopes(self, arguments: Arguments) -> ValueSlopes:
        g, c, old = self._gates(arguments)
        by_g, by_c = (old - c) * g * (1 - g), (1 - g) * (1 - c**2)
        return torch.stack([by_g, by_c, g], dim=1)[:, None]

    def states(self, values: Values) -> States:
        return values[:, 0]

    def pull_values(self, cotangents: States) -> Values:
        return cotangents[:, None]

    def pull_states(self, cotangents: Arguments) -> States:
        drives = cotangents[:, :2].flatten(1)
        return torch.addmm(cotangents[:, 2], drives, self.weights.recurrent)

    def pull_inputs(self, cotangents: Arguments) -> Inputs:
        return cotangents[:, :2].flatten(1) @ self.weights.inputs

    def _gates(self, arguments: Arguments) -> tuple[Tensor, Tensor, Tensor]:
        """g, c and h."""
        g, c = torch.sigmoid(arguments[:, 0]), torch.tanh(arguments[:, 1])
        return g, c, arguments[:, 2]


@dataclass(frozen=True, eq=False)
class LSTMForm(UnitwiseForm):
    """(o tanh c', c') with c' = f c + i g, of the drives of i, f, g and o, and of c."""

    weights: Weights

    def reads(self, inputs: Inputs) -> Reads:
        return torch.addmm(self.weights.bias, inputs, self.weights.inputs.mT)

    def arguments(self, states: States, reads: Reads) -> Arguments:
        w, outputs = self.weights, self.weights.recurrent.shape[1]
        drives = torch.addmm(reads, states[:, :outputs], w.recurrent.mT)
        parts = torch.cat([drives, states[:, outputs:]], dim=1)
        return parts.view(len(states), 5, -1)

    def values(self, arguments: Arguments) -> Values:
        i, f, g, o, c = self._gates(arguments)
        cells = torch.addcmul(f * c, i, g)
        return torch.stack([o * torch.tanh(cells), cells], dim=1)

    def slopes(self, arguments: Arguments) -> ValueSlopes:
        i, f, g, o, c = self._gates(arguments)
        told = torch.tanh(torch.addcmul(f * c, i, g))
        none = torch.zeros_like(f)
        by_gates = [g * i * (1 - i), c * f * (1 - f), i * (1 - g**2), none, f]
        cells = torch.stack(by_gates, dim=1)
        outputs = cells * (o * (1 - told**2))[:, None]
        outputs[:, 3] = told * o * (1 - o)
        return torch.stack([outputs, cells], dim=1)

    def states(self, values: Values) -> States:
        outputs, projection = values[:, 0], self.weights.projection
        if projection is not None:
            outputs = outputs @ projection.mT
        return torch.cat([outputs, values[:, 1]], dim=1)

    def pull_values(self, cotangents: States) -> Values:
        width, projection = self.weights.recurrent.shape[1], self.weights.projection
        outputs, cells = cotangents[:, :width], cotangents[:, width:]
        if projection is not None:
            outputs = outputs @ projection
        return torch.stack([outputs, cells], dim=1)

    def pull_states(self, cotangents: Arguments) -> States:
        by_outputs = cotangents[:, :4].flatten(1) @ self.weights.recurrent
        return torch.cat([by_outputs, cotangents[:, 4]], dim=1)

    def pull_inputs(self, cotangents: Arguments) -> Inputs:
        return cotangents[:, :4].flatten(1) @ self.weights.inputs

    def _gates(self, arguments: Arguments) -> tuple[Tensor, ...]:
        """i, f, g, o and the cells c."""
        i, f = torch.sigmoid(arguments[:, 0]), torch.sigmoid(arguments[:, 1])
        g, o = torch.tanh(arguments[:, 2]), torch.sigmoid(arguments[:, 3])
        return i, f, g, o, arguments[:, 4]
