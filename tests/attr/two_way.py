"""Small models with a bidirectional layer, in every way to call and to read it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from tests.attr.models import WIDTH, Reader, reader

LENGTHS = torch.tensor([3, 5, 1])


def vectors() -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(3, 5, WIDTH, generator=generator).double()


def both_ends(m: Reader, x: Tensor, lengths: Tensor | None = None) -> Tensor:
    """h_n of the top level, both directions; packed where lengths are given."""
    given: Any = x
    if lengths is not None:
        given = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    hidden = m.rnn(given)[1]
    hidden = hidden[0] if isinstance(hidden, tuple) else hidden
    return m.head(torch.cat([hidden[-2], hidden[-1]], dim=-1))


def last(m: Reader, x: Tensor) -> Tensor:
    return m.head(m.rnn(x)[0][:, -1])


def packed_mean(m: Reader, x: Tensor, lengths: Tensor) -> Tensor:
    given = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    outputs, _ = pad_packed_sequence(m.rnn(given)[0], batch_first=True)
    return m.head(outputs.sum(1) / lengths[:, None])


def bent(m: Reader, x: Tensor) -> Tensor:
    return torch.tanh(m.head(m.rnn(x)[0][:, 1])).square()


def of_lower_level(m: Reader, x: Tensor) -> Tensor:
    """h_n of all levels: the lower ones are read past the upper ones too."""
    hidden = m.rnn(x)[1]
    return m.head(torch.cat([hidden[0], hidden[1], hidden[2]], dim=-1))


def time_first(m: Reader, x: Tensor) -> Tensor:
    return m.head(m.rnn(x.transpose(0, 1))[0][0])


def two_way(
    kind: type[nn.RNNBase], read: Callable[..., Tensor], layers: int = 1, **named: Any
) -> Reader:
    settings = {"batch_first": True, "bidirectional": True} | named
    width = 15 if read is of_lower_level else 2 * settings.get("proj_size", 5)
    return reader(kind(WIDTH, 5, layers, **settings), read, width=width)


def classifier() -> Reader:
    """A bidirectional LSTM of two levels, read at both its ends."""
    return two_way(nn.LSTM, both_ends, 2)


def packing(read: Callable[..., Tensor] = both_ends) -> Reader:
    """A bidirectional GRU over packed sequences."""
    return two_way(nn.GRU, read)


def always_on(layers: int, read: Callable[..., Tensor] = last) -> Reader:
    """A ReLU layer whose units are all on: an affine map."""
    model = two_way(nn.RNN, read, layers, nonlinearity="relu")
    with torch.no_grad():
        for name, parameter in model.rnn.named_parameters():
            parameter.mul_(0.04)
            if "bias" in name:
                parameter.fill_(4.0)
    return model


MODELS: dict[str, tuple[Callable[[], Reader], tuple[Any, ...]]] = {
    "two-level lstm": (classifier, ()),
    "two-level gru, lower level": (lambda: two_way(nn.GRU, of_lower_level, 2), ()),
    "gru, nonlinear head": (lambda: two_way(nn.GRU, bent), ()),
    "lstm, time first": (lambda: two_way(nn.LSTM, time_first, batch_first=False), ()),
    "packed gru": (packing, (LENGTHS,)),
    "packed two-level gru": (lambda: two_way(nn.GRU, packed_mean, 2), (LENGTHS,)),
}
