"""Relevance propagation in numpy, one message at a time, as the papers write it.

R_{i<-j} = z_i w_ij / (z_j + eps sign z_j) R_j for sums; for products, the shares of
Arras et al. (2019), section "product rules", by the papers' own names.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import nn

Vector = Any
Share = Callable[[float, float], float]

GATE_SHARES: dict[str, Share] = {
    "all": lambda gate, signal: 0.0,
    "half": lambda gate, signal: 0.5,
    "prop": lambda gate, signal: gate / (gate + signal),
    "abs": lambda gate, signal: abs(gate) / (abs(gate) + abs(signal)),
}


def sigmoid(values: Vector) -> Vector:
    return 1 / (1 + np.exp(-values))


def message(term: float, total: float, relevance: float, eps: float) -> float:
    sign = 1.0 if total >= 0 else -1.0
    return term / (total + eps * sign) * relevance


def through_weights(
    values: Vector, weights: Vector, totals: Vector, relevance: Vector, eps: float
) -> Vector:
    """Relevance of values that are weighted into totals, by weights (out, in)."""
    received = np.zeros(len(values))
    for j in range(len(totals)):
        for i in range(len(values)):
            term = values[i] * weights[j, i]
            received[i] += message(term, totals[j], relevance[j], eps)
    return received


def named(layer: nn.Module) -> dict[str, Vector]:
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    return {n: getattr(layer, f"{n}_l0").detach().double().numpy() for n in names}


def lstm(layer: nn.LSTM, x: Vector, w_out: Vector, share: Share, eps: float) -> Vector:
    """Relevance (t, k) of the inputs of one LSTM whose last h is read by w_out."""
    p, d = named(layer), layer.hidden_size
    h, c, tape = np.zeros(d), np.zeros(d), []
    for x_t in x:
        drive = p["weight_ih"] @ x_t + p["weight_hh"] @ h + p["bias_ih"] + p["bias_hh"]
        i, f, o = (sigmoid(drive[k * d : (k + 1) * d]) for k in (0, 1, 3))
        g = np.tanh(drive[2 * d : 3 * d])
        c_new = f * c + i * g
        tape.append((x_t, h, c, drive, i, f, g, o, c_new))
        h, c = o * np.tanh(c_new), c_new
    r_h, r_c, found = w_out * h, np.zeros(d), []
    for x_t, h, c, drive, i, f, g, o, c_new in reversed(tape):
        r_drive, r_c_before = np.zeros(4 * d), np.zeros(d)
        for u in range(d):
            s = share(o[u], np.tanh(c_new[u]))
            r_drive[3 * d + u] = s * r_h[u]
            r_cell = r_c[u] + (1 - s) * r_h[u]
            kept = message(f[u] * c[u], c_new[u], r_cell, eps)
            new = message(i[u] * g[u], c_new[u], r_cell, eps)
            s = share(f[u], c[u])
            r_drive[d + u], r_c_before[u] = s * kept, (1 - s) * kept
            s = share(i[u], g[u])
            r_drive[u], r_drive[2 * d + u] = s * new, (1 - s) * new
        found.append(through_weights(x_t, p["weight_ih"], drive, r_drive, eps))
        r_h = through_weights(h, p["weight_hh"], drive, r_drive, eps)
        r_c = r_c_before
    return np.stack(found[::-1])


def gru(layer: nn.GRU, x: Vector, w_out: Vector, share: Share, eps: float) -> Vector:
    """Relevance (t, k) of the inputs of one GRU whose last h is read by w_out."""
    p, d = named(layer), layer.hidden_size
    h, tape = np.zeros(d), []
    for x_t in x:
        read = p["weight_ih"] @ x_t + p["bias_ih"]
        recurrent = p["weight_hh"] @ h + p["bias_hh"]
        r, z = (sigmoid((read + recurrent)[k * d : (k + 1) * d]) for k in (0, 1))
        q = recurrent[2 * d :]
        n_drive = read[2 * d :] + r * q
        n = np.tanh(n_drive)
        h_new = (1 - z) * n + z * h
        gates = (read + recurrent)[: 2 * d]
        tape.append((x_t, h, gates, r, z, q, n_drive, n, h_new))
        h = h_new
    r_h, found = w_out * h, []
    for x_t, h, gates, r, z, q, n_drive, n, h_new in reversed(tape):
        r_gates, r_n, r_q, r_before = np.zeros(2 * d), *np.zeros((3, d))
        for u in range(d):
            new = message((1 - z[u]) * n[u], h_new[u], r_h[u], eps)
            kept = message(z[u] * h[u], h_new[u], r_h[u], eps)
            s_new, s_kept = share(1 - z[u], n[u]), share(z[u], h[u])
            r_gates[d + u] = s_new * new + s_kept * kept
            r_n[u], r_before[u] = (1 - s_new) * new, (1 - s_kept) * kept
            gated = message(r[u] * q[u], n_drive[u], r_n[u], eps)
            s = share(r[u], q[u])
            r_gates[u], r_q[u] = s * gated, (1 - s) * gated
        w_x, w_h = p["weight_ih"], p["weight_hh"]
        found.append(
            through_weights(x_t, w_x[: 2 * d], gates, r_gates, eps)
            + through_weights(x_t, w_x[2 * d :], n_drive, r_n, eps)
        )
        r_h = (
            r_before
            + through_weights(h, w_h[: 2 * d], gates, r_gates, eps)
            + through_weights(h, w_h[2 * d :], q, r_q, eps)
        )
    return np.stack(found[::-1])


def rnn(layer: nn.RNN, x: Vector, w_out: Vector, share: Share, eps: float) -> Vector:  # noqa: ARG001
    """Relevance (t, k) of the inputs of one tanh RNN whose last h is read by w_out."""
    p, h, tape = named(layer), np.zeros(layer.hidden_size), []
    for x_t in x:
        drive = p["weight_ih"] @ x_t + p["weight_hh"] @ h + p["bias_ih"] + p["bias_hh"]
        tape.append((x_t, h, drive))
        h = np.tanh(drive)
    r_h, found = w_out * h, []
    for x_t, h, drive in reversed(tape):
        found.append(through_weights(x_t, p["weight_ih"], drive, r_h, eps))
        r_h = through_weights(h, p["weight_hh"], drive, r_h, eps)
    return np.stack(found[::-1])
