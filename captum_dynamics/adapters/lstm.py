"""nn.LSTM and nn.LSTMCell; the state is always (h, c).

i, f, o = sigma(W x + U h + b), g = tanh(W_g x + U_g h + b_g),
c' = f c + i g, h' = P (o tanh c'), with P the identity unless `proj_size` is set
(Hochreiter and Schmidhuber 1997; projection: Sak et al. 2014).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from captum_dynamics import _intervals
from captum_dynamics._intervals import Ball, Interval
from captum_dynamics._typing import InputJacobians, Inputs, Jacobians, States
from captum_dynamics.adapters._base import (
    RecurrentAdapter,
    scaled_sum,
)
from captum_dynamics.adapters._calls import CellCalls
from captum_dynamics.adapters._registry import register_adapter
from captum_dynamics.adapters._stack import adapt_stack
from captum_dynamics.adapters._torch_layer import TorchLayer
from captum_dynamics.adapters._weights import cell_weights, layer_weights
from captum_dynamics.dynamics import Block, StateLayout


@dataclass(frozen=True, eq=False)
class _GateBoxes:
    """Drives of the four gates, and the cells before and after, over boxes."""

    i: Interval
    f: Interval
    g: Interval
    o: Interval
    c: Interval
    cells: Interval

    def cell_terms(self, weights: Tensor) -> tuple[tuple[Interval, Tensor], ...]:
        """Factors and matrices of d cells through the gates' drives."""
        w_i, w_f, w_g, _ = weights.chunk(4)
        return (
            (self.g.tanh() * self.i.sigmoid_slope(), w_i),
            (self.c * self.f.sigmoid_slope(), w_f),
            (self.i.sigmoid() * self.g.tanh_slope(), w_g),
        )

    def hidden_terms(self, weights: Tensor) -> tuple[tuple[Interval, Tensor], ...]:
        """The same of d (o tanh cells)."""
        by_o = self.cells.tanh() * self.o.sigmoid_slope()
        slope = self._hidden_by_cells
        through_cells = [(slope * by, w) for by, w in self.cell_terms(weights)]
        return ((by_o, weights.chunk(4)[3]), *through_cells)

    @property
    def hidden_by_c(self) -> Interval:
        """d (o tanh cells) / dc, a diagonal."""
        return self._hidden_by_cells * self.f.sigmoid()

    @property
    def _hidden_by_cells(self) -> Interval:
        return self.o.sigmoid() * self.cells.tanh_slope()


class LSTMLayer(TorchLayer):
    """One layer of long short-term memory."""

    @property
    def layout(self) -> StateLayout:
        outputs = self._weights.recurrent.shape[1]
        cells = self._weights.recurrent.shape[0] // 4
        return StateLayout((Block("h", outputs), Block("c", cells)))

    def step(self, states: States, inputs: Inputs) -> States:
        i, f, g, o, c = self._gates(states, inputs)
        cells = f * c + i * g
        return torch.cat([self._project(o * torch.tanh(cells)), cells], dim=-1)

    def ungated_residual(self, states: States, inputs: Inputs) -> States:
        """Cells compared with i g / (1 - f), where they would rest for these gates."""
        i, f, g, _, c = self._gates(states, inputs)
        resting = i * g / (1 - f).clamp_min(torch.finfo(f.dtype).tiny)
        hidden = self.residual(states, inputs)[:, : self.output_dim]
        return torch.cat([hidden, resting - c], dim=-1)

    def jacobians(self, states: States, inputs: Inputs) -> Jacobians:
        recurrent = self._weights.like(states).recurrent
        cells_by_h, outputs_by_h = self._through_gates(states, inputs, recurrent)
        _, f, _, _, _ = self._gates(states, inputs)
        outputs_by_c = torch.diag_embed(self._output_slopes(states, inputs) * f)
        hidden = torch.cat([outputs_by_h, outputs_by_c], dim=-1)
        cells = torch.cat([cells_by_h, torch.diag_embed(f)], dim=-1)
        return torch.cat([self._project_rows(hidden), cells], dim=1)

    def input_jacobians(self, states: States, inputs: Inputs) -> InputJacobians:
        weights = self._weights.like(states).inputs
        cells_by_x, outputs_by_x = self._through_gates(states, inputs, weights)
        return torch.cat([self._project_rows(outputs_by_x), cells_by_x], dim=1)

    def state_box(
        self, lowest_inputs: Inputs, highest_inputs: Inputs
    ) -> tuple[States, States]:
        """|h| <= 1 (or the projection's reach), |c| <= max(i g) / (1 - max f)."""
        w = self._weights
        reach = _row_sums(w.projection) if w.projection is not None else None
        hidden = reach if reach is not None else w.inputs.new_ones(self.output_dim)
        middle, radius = _centre(lowest_inputs, highest_inputs)
        centre = middle.to(w.inputs) @ w.inputs.mT + w.bias
        spread = radius.to(w.inputs) @ w.inputs.abs().mT + w.recurrent.abs() @ hidden
        highest = (centre + spread).chunk(4, dim=-1)
        steepest = (centre.abs() + spread).chunk(4, dim=-1)[2]
        i, f, g = torch.sigmoid(highest[0]), torch.sigmoid(highest[1]), steepest.tanh()
        cells = i * g / (1 - f)
        bound = torch.cat([hidden.expand(len(cells), -1), cells], dim=-1)
        bound = bound.to(lowest_inputs.dtype)
        return -bound, bound

    def enclose(self, states: Interval, inputs: Interval) -> Interval:
        boxes = self._enclose_gates(states, inputs)
        outputs = boxes.o.sigmoid() * boxes.cells.tanh()
        projection = self._weights.projection
        if projection is not None:
            outputs = outputs.affine(projection, projection.new_zeros(len(projection)))
        return _intervals.concatenate([outputs, boxes.cells])

    def enclose_jacobians(self, states: Interval, inputs: Interval) -> Ball:
        boxes, recurrent = self._enclose_gates(states, inputs), self._weights.recurrent
        hidden_by_h = _intervals.scaled_sum(*boxes.hidden_terms(recurrent))
        hidden_by_c = Ball.diagonal(boxes.hidden_by_c)
        cells_by_h = _intervals.scaled_sum(*boxes.cell_terms(recurrent))
        cells_by_c = Ball.diagonal(boxes.f.sigmoid())
        hidden = _intervals.stack_columns([hidden_by_h, hidden_by_c])
        cells = _intervals.stack_columns([cells_by_h, cells_by_c])
        return _intervals.stack_rows([self._project_ball(hidden), cells])

    def enclose_input_jacobians(self, states: Interval, inputs: Interval) -> Ball:
        boxes, weights = self._enclose_gates(states, inputs), self._weights.inputs
        hidden = _intervals.scaled_sum(*boxes.hidden_terms(weights))
        cells = _intervals.scaled_sum(*boxes.cell_terms(weights))
        return _intervals.stack_rows([self._project_ball(hidden), cells])

    def variation(self, states: Interval, inputs: Interval) -> States:
        boxes, recurrent = self._enclose_gates(states, inputs), self._weights.recurrent
        hidden = _intervals.row_variation(*boxes.hidden_terms(recurrent))
        hidden = hidden + boxes.hidden_by_c.lipschitz
        cells = _intervals.row_variation(*boxes.cell_terms(recurrent))
        cells = cells + boxes.f.sigmoid().lipschitz
        if self._weights.projection is not None:
            hidden = hidden @ self._weights.projection.abs().mT
        return _intervals.up(torch.cat([hidden, cells], dim=-1), self.state_dim)

    def _gates(
        self, states: States, inputs: Inputs
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """i, f, g, o and the cells c."""
        w = self._weights.like(states)
        hidden, c = states[:, : self.output_dim], states[:, self.output_dim :]
        drive = inputs @ w.inputs.mT + hidden @ w.recurrent.mT + w.bias
        i, f, g, o = drive.chunk(4, dim=-1)
        return torch.sigmoid(i), torch.sigmoid(f), torch.tanh(g), torch.sigmoid(o), c

    def _through_gates(
        self, states: States, inputs: Inputs, weights: Tensor
    ) -> tuple[Tensor, Tensor]:
        """d cells and d (o tanh cells) through the gates' drives, times `weights`."""
        i, f, g, o, c = self._gates(states, inputs)
        w_i, w_f, w_g, w_o = weights.chunk(4)
        cells = scaled_sum(
            (g * i * (1 - i), w_i), (c * f * (1 - f), w_f), (i * (1 - g**2), w_g)
        )
        tanh_cells = torch.tanh(f * c + i * g)
        outputs = scaled_sum((tanh_cells * o * (1 - o), w_o))
        return cells, outputs.addcmul_((o * (1 - tanh_cells**2))[:, :, None], cells)

    def _output_slopes(self, states: States, inputs: Inputs) -> Tensor:
        i, f, g, o, c = self._gates(states, inputs)
        return o * (1 - torch.tanh(f * c + i * g) ** 2)

    def _enclose_gates(self, states: Interval, inputs: Interval) -> _GateBoxes:
        w = self._weights
        read = inputs.affine(w.inputs, w.input_bias)
        hidden = states[: self.output_dim].affine(w.recurrent, w.recurrent_bias)
        i, f, g, o = (read + hidden).chunk(4)
        c = states[self.output_dim :]
        cells = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return _GateBoxes(i, f, g, o, c, cells)

    def _project_ball(self, jacobians: Ball) -> Ball:
        projection = self._weights.projection
        return jacobians if projection is None else jacobians.premultiplied(projection)

    def _project(self, outputs: Tensor) -> Tensor:
        projection = self._weights.like(outputs).projection
        return outputs if projection is None else outputs @ projection.mT

    def _project_rows(self, jacobians: Tensor) -> Tensor:
        projection = self._weights.like(jacobians).projection
        return jacobians if projection is None else projection @ jacobians


@register_adapter(nn.LSTM)
class LSTMAdapter(LSTMLayer):
    """nn.LSTM: one map for each layer, or the joint map of the stack."""

    @classmethod
    def from_layer(
        cls, layer: nn.Module, *, layer_index: int | None = None
    ) -> RecurrentAdapter:
        return adapt_stack(layer, layer_index, _layer)


@register_adapter(nn.LSTMCell)
class LSTMCellAdapter(LSTMLayer):
    """nn.LSTMCell, called once a step."""

    calls = CellCalls()

    def __init__(self, cell: nn.LSTMCell) -> None:
        """Copy the cell's weights."""
        super().__init__(cell_weights(cell))


def _layer(layer: nn.RNNBase, index: int) -> TorchLayer:
    return LSTMLayer(layer_weights(layer, index))


def _row_sums(matrix: Tensor) -> Tensor:
    return matrix.abs().sum(-1)


def _centre(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    return (low + high) / 2, (high - low) / 2
