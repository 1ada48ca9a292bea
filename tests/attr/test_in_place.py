"""Models that write into tensors in place are explained like those that do not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from captum_dynamics.attr import DynamicsAttribution, Switching
from tests.attr.models import Reader, reader, vectors


def doubled(m: Reader, x: Tensor) -> Tensor:
    return m.head(2 * m.rnn(x)[0][:, -1])


def doubled_in_place(m: Reader, x: Tensor) -> Tensor:
    return m.head(m.rnn(x)[0].mul_(2)[:, -1])


def masked(m: Reader, x: Tensor) -> Tensor:
    mask = torch.ones(6).to(x)
    mask[0] = 0
    return m.head((m.rnn(x)[0] * mask).mean(1))


def masked_in_place(m: Reader, x: Tensor) -> Tensor:
    states = m.rnn(x)[0]
    states[..., 0] = 0
    return m.head(states.mean(1))


def scaled(m: Reader, x: Tensor) -> Tensor:
    return m.head(m.rnn(0.5 * x)[0][:, -1])


def scaled_in_place(m: Reader, x: Tensor) -> Tensor:
    return m.head(m.rnn(x.mul_(0.5))[0][:, -1])


def erased_in_place(m: Reader, x: Tensor) -> Tensor:
    read = 0.5 * x
    states = m.rnn(read)[0]
    read.zero_()
    x.zero_()
    return m.head(states[:, -1])


def looped(m: Reader, x: Tensor) -> Tensor:
    state = None
    for step in x.unbind(1):
        state = m.rnn(step, state)
    return m.head(state)


def looped_over_a_buffer(m: Reader, x: Tensor) -> Tensor:
    buffer, state = torch.empty_like(x[:, 0]), None
    for step in x.unbind(1):
        state = m.rnn(buffer.copy_(step), state)
    return m.head(state)


def squared_cells(m: Reader, x: Tensor) -> Tensor:
    state = None
    for step in x.unbind(1):
        state = m.rnn(step, state)
    h, c = state
    return m.head(c * c + 2 * h)


def squared_cells_in_place(m: Reader, x: Tensor) -> Tensor:
    state = None
    for step in x.unbind(1):
        state = m.rnn(step, state)
    h, c = state
    squared = c * c
    return m.head(squared.add_(h.mul_(2)))


def sequences() -> nn.Module:
    return nn.GRU(3, 6, batch_first=True)


Read = Callable[[Reader, Tensor], Tensor]
CASES: dict[str, tuple[Callable[[], nn.Module], Read, Read]] = {
    "outputs": (sequences, doubled, doubled_in_place),
    "one unit": (sequences, masked, masked_in_place),
    "inputs before the layer": (sequences, scaled, scaled_in_place),
    "inputs after the layer": (sequences, scaled, erased_in_place),
    "input of a loop": (lambda: nn.GRUCell(3, 6), looped, looped_over_a_buffer),
    "one of two states": (
        lambda: nn.LSTMCell(3, 6),
        squared_cells,
        squared_cells_in_place,
    ),
}


@pytest.mark.parametrize("estimator", [None, Switching(anchors=3)])
@pytest.mark.parametrize("grad", [True, False], ids=["grad", "no_grad"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("case", CASES)
def test_writing_in_place_changes_no_attribution(
    case: str, dtype: torch.dtype, grad: bool, estimator: Switching | None
) -> None:
    build, plain, in_place = CASES[case]
    inputs = vectors().to(dtype)
    found = []
    for read in (plain, in_place):
        model = reader(build(), read).to(dtype)
        method = DynamicsAttribution(model, model.rnn, estimator=estimator)
        for baselines in (None, 0.5 * vectors().flip(0).to(dtype)):
            with torch.set_grad_enabled(grad):
                found.append(
                    method.attribute(
                        inputs, baselines, 1, return_convergence_delta=True
                    )
                )
    for ours, expected in zip(found[2:], found[:2], strict=True):
        torch.testing.assert_close(ours, expected)
    assert torch.equal(inputs, vectors().to(dtype))
