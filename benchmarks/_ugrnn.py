"""The update gate RNN as a layer of a user, read by its function alone.

The package has one of its own, `models.UGRNN`, with an adapter that knows closed forms;
here it has none (Collins et al. 2017).

g = sigma(W_g x + U_g h + b_g + 1), c = tanh(W_c x + U_c h + b_c), h' = g h + (1 - g) c.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from tqdm import tqdm

import captum_dynamics as cd
from captum_dynamics.tasks.flipflop import sample_flipflop

OPEN = 1.0  # added to the gate's bias, so that a new net remembers


class UGRNN(nn.Module):
    """A layer that is called as nn.GRU is, batch first."""

    batch_first = True

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.read = nn.Linear(input_size, 2 * hidden_size)
        self.recur = nn.Linear(hidden_size, 2 * hidden_size, bias=False)

    def forward(
        self, inputs: Tensor, states: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Read (n, t, k) from states (1, n, d): all states (n, t, d), and the last."""
        shape = (len(inputs), self.hidden_size)
        h = inputs.new_zeros(shape) if states is None else states[0]
        visited = []
        for drive in self.read(inputs).unbind(1):
            h = _update(h, drive + self.recur(h))
            visited.append(h)
        return torch.stack(visited, dim=1), h[None]


def ugrnn_dynamics(layer: UGRNN) -> cd.FunctionAdapter:
    """The layer's map, as a user would write it who knows that h stays in [-1, 1]."""
    weights = {
        dtype: [p.detach().to(dtype) for p in layer.parameters()]
        for dtype in (torch.float32, torch.float64)
    }

    def step(states: Tensor, inputs: Tensor) -> Tensor:
        read, bias, recur = weights[states.dtype]
        return _update(states, inputs @ read.mT + bias + states @ recur.mT)

    ones = torch.ones(layer.hidden_size, dtype=torch.float64)
    return cd.FunctionAdapter(
        step,
        layer.hidden_size,
        layer.read.in_features,
        traits=cd.Traits(float32=True),
        box=(-ones, ones),
    )


def train_ugrnn(hidden: int, seed: int, *, updates: int, bits: int = 3) -> UGRNN:
    """Train on the flip-flop, by the recipe of `train_flipflop`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layer, readout = UGRNN(bits, hidden), nn.Linear(hidden, bits)
    generator = torch.Generator().manual_seed(seed)
    parameters = [*layer.parameters(), *readout.parameters()]
    optimizer = torch.optim.Adam(parameters, 1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, updates, 1e-4)
    for _ in tqdm(range(updates), f"ugrnn {seed}"):
        data = sample_flipflop(64, 50, bits=bits, generator=generator)
        loss = nn.functional.mse_loss(readout(layer(data.inputs)[0]), data.targets)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
    return layer


def _update(states: Tensor, drives: Tensor) -> Tensor:
    gate, candidate = drives.chunk(2, dim=-1)
    g = torch.sigmoid(gate + OPEN)
    return g * states + (1 - g) * torch.tanh(candidate)
