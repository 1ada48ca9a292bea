"""Small models of every way to call and to read a recurrent layer, in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

WIDTH = 3
CLASSES = 4


class Reader(nn.Module):
    """A recurrent layer over embedded vectors, and a readout of its states."""

    def __init__(self, rnn: nn.Module, width: int, read: Callable[..., Tensor]) -> None:
        super().__init__()
        self.rnn = rnn
        self.head = nn.Linear(width, CLASSES)
        self.read = read

    def forward(self, x: Tensor, *rest: Any) -> Tensor:
        return self.read(self, x, *rest)


def last(m: Reader, x: Tensor) -> Tensor:
    return m.head(m.rnn(x)[0][:, -1])


def at_lengths(m: Reader, x: Tensor, lengths: Tensor) -> Tensor:
    states = m.rnn(x)[0]
    return m.head(states[torch.arange(len(states)), lengths - 1])


def packed(m: Reader, x: Tensor, lengths: Tensor) -> Tensor:
    given = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    hidden = m.rnn(given)[1]
    return m.head(hidden[0] if isinstance(hidden, tuple) else hidden[-1])


def mean(m: Reader, x: Tensor) -> Tensor:
    return m.head(m.rnn(x)[0].mean(1))


def every_step(m: Reader, x: Tensor) -> Tensor:
    return m.head(m.rnn(x)[0])


def h_n(m: Reader, x: Tensor) -> Tensor:
    return m.head(m.rnn(x)[1][-1])


def c_n(m: Reader, x: Tensor) -> Tensor:
    return m.head(m.rnn(x)[1][1][-1])


def nonlinear(m: Reader, x: Tensor) -> Tensor:
    return torch.tanh(m.head(m.rnn(x)[0][:, -1])).square()


def attention(m: Reader, x: Tensor) -> Tensor:
    states = m.rnn(x)[0]
    weights = torch.softmax(states.sum(-1), dim=1)
    return m.head((weights[:, :, None] * states).sum(1))


def looped(m: Reader, x: Tensor) -> Tensor:
    state = None
    for step in x.unbind(1):
        state = m.rnn(step, state)
    return m.head(state[0] if isinstance(state, tuple) else state)


def time_first(m: Reader, x: Tensor) -> Tensor:
    return m.head(m.rnn(x.transpose(0, 1))[0][-1])


def reader(rnn: nn.Module, read: Callable[..., Tensor], width: int = 6) -> Reader:
    torch.manual_seed(1)
    for parameter in rnn.parameters():
        # Larger than PyTorch's own: the map shall be clearly nonlinear.
        nn.init.normal_(parameter, std=0.6)
    return Reader(rnn, width, read).double().eval()


def gru(read: Callable[..., Tensor] = last) -> Reader:
    return reader(nn.GRU(WIDTH, 6, batch_first=True), read)


def projected_lstm() -> Reader:
    layers = nn.LSTM(WIDTH, 6, num_layers=2, proj_size=4, batch_first=True)
    return reader(layers, last, width=4)


class Classifier(nn.Module):
    """Token ids, an embedding, a GRU and a linear readout of the last state."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, WIDTH)
        self.rnn = nn.GRU(WIDTH, 6, batch_first=True)
        self.head = nn.Linear(6, CLASSES)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.rnn(self.embedding(ids))[0][:, -1])


def classifier() -> Classifier:
    torch.manual_seed(2)
    return Classifier().double().eval()


def vectors(rows: int = 4, steps: int = 7) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(rows, steps, WIDTH, generator=generator).double()
