"""nn.LSTM and nn.LSTMCell; the state is always (h, c).

i, f, o = sigma(W x + U h + b), g = tanh(W_g x + U_g h + b_g),
c' = f c + i g, h' = P (o tanh c'), with P the identity unless `proj_size` is set
(Hochreiter and Schmidhuber 1997; projection: Sak et al. 2014).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from captum_dynamics import _intervals, _linalg
from captum_dynamics._intervals import Ball, Interval
from captum_dynamics._typing import InputJacobians, Inputs, Jacobians, States
from captum_dynamics.adapters._base import scaled_sum
from captum_dynamics.adapters._calls import CellCalls
from captum_dynamics.adapters._closed_form import ClosedTangent
from captum_dynamics.adapters._enclosed import EnclosedLayer
from captum_dynamics.adapters._lstm_boxes import GateBoxes
from captum_dynamics.adapters._registry import register_adapter
from captum_dynamics.adapters._resting_lstm import AtRest
from captum_dynamics.adapters._sequence_layer import SequenceLayer
from captum_dynamics.adapters._unitwise import LSTMForm
from captum_dynamics.adapters._weights import Weights, cell_weights, layer_weights
from captum_dynamics.dynamics import Reduction
from captum_dynamics.layout import Block, StateLayout

LEAST_LEAK = 1e-6  # of 1 - f, below which a cell cannot be eliminated


class LSTMLayer(EnclosedLayer):
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

    @property
    def unitwise_form(self) -> LSTMForm:
        return LSTMForm(self._weights)

    def ungated_residual(self, states: States, inputs: Inputs) -> States:
        """Cells compared with i g / (1 - f), where they would rest for these gates."""
        i, f, g, _, c = self._gates(states, inputs)
        resting = i * g / (1 - f).clamp_min(torch.finfo(f.dtype).tiny)
        hidden = self.residual(states, inputs)[:, : self.output_dim]
        return torch.cat([hidden, resting - c], dim=-1)

    def tangent(self, states: States, inputs: Inputs) -> LSTMTangent:
        i, f, g, o, c = self._gates(states, inputs)
        tanh_cells = torch.tanh(f * c + i * g)
        by_drive = [g * i * (1 - i), c * f * (1 - f), i * (1 - g**2)]
        return LSTMTangent(
            self.weights_like(states),
            torch.stack(by_drive, dim=1),
            f,
            tanh_cells * o * (1 - o),
            o * (1 - tanh_cells**2),
        )

    @property
    def reduction(self) -> Reduction | None:
        """The map of h alone, with every cell where it rests for given gates."""
        return None if self._weights.projection is not None else AtRest(self._weights)

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
        w = self.weights_like(states)
        hidden, c = self._blocks(states)
        i, f, g, o = w.drives(hidden, inputs).chunk(4, dim=-1)
        return torch.sigmoid(i), torch.sigmoid(f), torch.tanh(g), torch.sigmoid(o), c

    def _blocks(self, states: States) -> tuple[Tensor, Tensor]:
        return states[:, : self.output_dim], states[:, self.output_dim :]

    def _enclose_gates(self, states: Interval, inputs: Interval) -> GateBoxes:
        w = self._weights
        read = inputs.affine(w.inputs, w.input_bias)
        hidden = states[: self.output_dim].affine(w.recurrent, w.recurrent_bias)
        i, f, g, o = (read + hidden).chunk(4)
        c = states[self.output_dim :]
        cells = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return GateBoxes(i, f, g, o, c, cells)

    def _project_ball(self, jacobians: Ball) -> Ball:
        projection = self._weights.projection
        return jacobians if projection is None else jacobians.premultiplied(projection)

    def _project(self, outputs: Tensor) -> Tensor:
        projection = self.weights_like(outputs).projection
        return outputs if projection is None else outputs @ projection.mT


@dataclass(frozen=True, eq=False)
class LSTMTangent(ClosedTangent):
    """Derivatives of new cells c' and outputs o tanh c'.

    Attributes:
        weights: of the layer.
        by_gates: of c' with respect to the drives of i, f and g, (n, 3, cells).
        kept: f, of c' with respect to c.
        by_output: of o tanh c' with respect to the drive of o.
        by_cell: of o tanh c' with respect to c'.
    """

    weights: Weights
    by_gates: Tensor
    kept: Tensor
    by_output: Tensor
    by_cell: Tensor

    def select(self, rows: Tensor) -> LSTMTangent:
        parts = self.by_gates, self.kept, self.by_output, self.by_cell
        return LSTMTangent(self.weights, *(part[rows] for part in parts))

    def jacobians(self) -> Jacobians:
        cells_by_h, outputs_by_h = self._through_gates(self.weights.recurrent)
        outputs_by_c = torch.diag_embed(self.by_cell * self.kept)
        hidden = torch.cat([outputs_by_h, outputs_by_c], dim=-1)
        cells = torch.cat([cells_by_h, torch.diag_embed(self.kept)], dim=-1)
        return torch.cat([self._projected(hidden), cells], dim=1)

    def input_jacobians(self) -> InputJacobians:
        cells_by_x, outputs_by_x = self._through_gates(self.weights.inputs)
        return torch.cat([self._projected(outputs_by_x), cells_by_x], dim=1)

    def push(
        self, state_tangents: States, input_tangents: Inputs | None = None
    ) -> States:
        hidden, cells = self._blocks(state_tangents)
        drives = hidden @ self.weights.recurrent.mT
        if input_tangents is not None:
            drives = drives + input_tangents @ self.weights.inputs.mT
        drives = drives.view(len(drives), 4, -1)
        moved = (self.by_gates * drives[:, :3]).sum(1) + self.kept * cells
        outputs = self.by_output * drives[:, 3] + self.by_cell * moved
        return torch.cat([self._project(outputs), moved], dim=-1)

    def pull(self, cotangents: States) -> tuple[States, Inputs]:
        outputs, cells = self._blocks(cotangents)
        if self.weights.projection is not None:
            outputs = outputs @ self.weights.projection
        cells = cells + outputs * self.by_cell
        by_gate = [self.by_gates * cells[:, None], (outputs * self.by_output)[:, None]]
        drives = torch.cat(by_gate, dim=1).flatten(1)
        by_state = [drives @ self.weights.recurrent, cells * self.kept]
        return torch.cat(by_state, dim=-1), drives @ self.weights.inputs

    def newton_direction(self, residuals: States) -> States:
        """Eliminate the cells, (1 - f) p_c = g_c + C p_h: one solve as wide as h.

        Where a gate keeps its cell for good (1 - f below 1e-6) the pivot is too small,
        and the row is solved whole.
        """
        g_h, g_c = self._blocks(residuals)
        leak = 1 - self.kept
        gain = self.by_cell / leak
        gates = [self.by_gates * gain[:, None], self.by_output[:, None]]
        reduced = scaled_sum(torch.cat(gates, dim=1), self.weights.recurrent)
        reduced = self._projected(reduced)
        reduced.diagonal(dim1=-2, dim2=-1).sub_(1)
        p_h = _linalg.solve(reduced, -g_h - self._project(gain * self.kept * g_c))
        drives = (p_h @ self.weights.recurrent.mT).view(len(p_h), 4, -1)[:, :3]
        p_c = (g_c + (self.by_gates * drives).sum(1)) / leak
        directions = torch.cat([p_h, p_c], dim=-1)
        hard = (leak < LEAST_LEAK).any(-1)
        if hard.any():
            whole = self.select(torch.nonzero(hard)[:, 0])
            directions[hard] = super(LSTMTangent, whole).newton_direction(
                residuals[hard]
            )
        return directions

    def _through_gates(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        """d c' and d (o tanh c') through the gates' drives, times `weights`."""
        width = 3 * self.kept.shape[1]
        cells = scaled_sum(self.by_gates, weights[:width])
        outputs = scaled_sum(self.by_output[:, None], weights[width:])
        return cells, outputs.addcmul_(self.by_cell[:, :, None], cells)

    def _blocks(self, states: States) -> tuple[Tensor, Tensor]:
        width = self.weights.recurrent.shape[1]
        return states[:, :width], states[:, width:]

    def _project(self, outputs: Tensor) -> Tensor:
        projection = self.weights.projection
        return outputs if projection is None else outputs @ projection.mT

    def _projected(self, jacobians: Tensor) -> Tensor:
        projection = self.weights.projection
        return jacobians if projection is None else projection @ jacobians


@register_adapter(nn.LSTM)
class LSTMAdapter(SequenceLayer, LSTMLayer):
    """nn.LSTM: one map for each level and direction, or a joint one of all levels."""

    @staticmethod
    def build(layer: nn.RNNBase, index: int, *, backward: bool) -> EnclosedLayer:
        return LSTMLayer(layer_weights(layer, index, backward=backward))


@register_adapter(nn.LSTMCell)
class LSTMCellAdapter(LSTMLayer):
    """nn.LSTMCell, called once a step."""

    calls = CellCalls()

    def __init__(self, cell: nn.LSTMCell) -> None:
        """Copy the cell's weights."""
        super().__init__(cell_weights(cell))


def _row_sums(matrix: Tensor) -> Tensor:
    return matrix.abs().sum(-1)


def _centre(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    return (low + high) / 2, (high - low) / 2
