"""Relevance through one step of an RNN, a GRU and an LSTM.

Elementwise functions pass relevance on unchanged; weighted sums divide it among their
terms; products divide it between gate and signal. Equations are those of the adapters.
"""

from __future__ import annotations

import torch

from captum_dynamics._typing import Inputs, PerPoint, States
from captum_dynamics.attr._relevance import CellRelevance, Passed, Rules, Sums


class RNNRelevance(CellRelevance):
    """h' = phi(W x + U h + b)."""

    def pull(
        self, rules: Rules, states: States, inputs: Inputs, relevance: States
    ) -> Passed:
        w = self.weights
        ratios, kept = rules.per_term(relevance, w.drives(states, inputs))
        return Passed(
            states * (ratios @ w.recurrent),
            inputs * (ratios @ w.inputs),
            ratios @ w.bias,
            kept,
        )


class GRURelevance(CellRelevance):
    """h' = (1 - z) n + z h, n = tanh(W_n x + b_in + r q), q = U_n h + b_hn.

    z gates h and 1 - z gates n: both are functions of one drive, which takes the
    relevance of both. r gates q.
    """

    def pull(
        self, rules: Rules, states: States, inputs: Inputs, relevance: States
    ) -> Passed:
        w, width = self.weights, self.layer.state_dim
        read = torch.addmm(w.input_bias, inputs, w.inputs.mT)
        recurrent = torch.addmm(w.recurrent_bias, states, w.recurrent.mT)
        gate_drives = (read + recurrent)[:, : 2 * width]
        r, z = torch.sigmoid(gate_drives).chunk(2, dim=-1)
        q = recurrent[:, 2 * width :]
        n_drive = read[:, 2 * width :] + r * q
        n = torch.tanh(n_drive)

        ratios, kept = rules.per_term(relevance, (1 - z) * n + z * states)
        to_write, to_n = rules.split((1 - z) * n * ratios, 1 - z, n)
        to_keep, to_states = rules.split(z * states * ratios, z, states)
        n_ratios, n_kept = rules.per_term(to_n, n_drive)
        to_r, to_q = rules.split(r * q * n_ratios, r, q)
        q_ratios, q_kept = rules.per_term(to_q, q)
        to_gates = torch.cat([to_r, to_write + to_keep], dim=-1)
        gate_ratios, gates_kept = rules.per_term(to_gates, gate_drives)

        of_inputs = torch.cat([gate_ratios, n_ratios], dim=-1)
        of_states = torch.cat([gate_ratios, q_ratios], dim=-1)
        return Passed(
            to_states + states * (of_states @ w.recurrent),
            inputs * (of_inputs @ w.inputs),
            of_inputs @ w.input_bias + of_states @ w.recurrent_bias,
            kept + n_kept + q_kept + gates_kept,
        )


class LSTMRelevance(CellRelevance):
    """c' = f c + i g, h' = P (o tanh c'): i gates g, f gates c, o gates tanh c'."""

    def pull(
        self, rules: Rules, states: States, inputs: Inputs, relevance: States
    ) -> Passed:
        w, width = self.weights, self.layer.output_dim
        h, c = states[:, :width], states[:, width:]
        drives = w.drives(h, inputs)
        i, f, g, o = drives.chunk(4, dim=-1)
        i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
        cells = f * c + i * g
        outputs = o * torch.tanh(cells)

        to_h, to_cells = relevance[:, :width], relevance[:, width:]
        to_outputs, kept = self._through_projection(rules, to_h, outputs)
        to_o, to_tanh = rules.split(to_outputs, o, torch.tanh(cells))
        ratios, cells_kept = rules.per_term(to_cells + to_tanh, cells)
        to_f, to_c = rules.split(f * c * ratios, f, c)
        to_i, to_g = rules.split(i * g * ratios, i, g)
        to_drives = torch.cat([to_i, to_f, to_g, to_o], dim=-1)
        drive_ratios, drives_kept = rules.per_term(to_drives, drives)
        return Passed(
            torch.cat([h * (drive_ratios @ w.recurrent), to_c], dim=-1),
            inputs * (drive_ratios @ w.inputs),
            drive_ratios @ w.bias,
            kept + cells_kept + drives_kept,
        )

    def _through_projection(
        self, rules: Rules, relevance: Sums, outputs: States
    ) -> tuple[States, PerPoint]:
        """Relevance of o tanh c', and what the stabilizer of its projection takes."""
        projection = self.weights.projection
        if projection is None:
            return relevance, relevance.new_zeros(len(relevance))
        ratios, kept = rules.per_term(relevance, outputs @ projection.mT)
        return outputs * (ratios @ projection), kept
