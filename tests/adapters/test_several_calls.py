"""A layer called twice, and several layers in one model."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import captum_dynamics as cd
from captum_dynamics.attr import DynamicsAttribution


class Siamese(nn.Module):
    """One layer reads two sequences."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(3, 4, batch_first=True)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return (self.rnn(a)[0][:, -1] * self.rnn(b)[0][:, -1]).sum(-1)


def pair() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 6, 3, generator=generator), torch.randn(
        2, 4, 3, generator=generator
    )


@pytest.mark.parametrize("size", [None, 1])
@pytest.mark.parametrize("call", [0, 1])
def test_each_call_of_a_layer_can_be_recorded(call: int, size: int | None) -> None:
    model, inputs = Siamese().eval(), pair()
    runs = cd.record(model, "rnn", inputs, call=call, batch_size=size)
    assert torch.equal(runs.inputs, inputs[call].double())
    assert torch.allclose(runs.states.float(), model.rnn(inputs[call])[0], atol=1e-6)


def test_two_calls_need_a_choice() -> None:
    model, inputs = Siamese().eval(), pair()
    with pytest.raises(ValueError, match=r"one call.*got 2; choose.*call=0"):
        cd.record(model, "rnn", inputs)
    with pytest.raises(ValueError, match=r"analyse each use with its own layer"):
        DynamicsAttribution(model, model.rnn).attribute(inputs)
    with pytest.raises(ValueError, match=r"`call` from 0, of the 2 calls.*got 2"):
        cd.record(model, "rnn", inputs, call=2)
    with pytest.raises(ValueError, match=r"no `call` for a cell.*got 0"):
        cd.record(nn.GRUCell(3, 4), None, inputs[0][:, 0], call=0)


def test_all_layers_of_a_model_are_adapted() -> None:
    shared = nn.GRU(3, 4)
    layers = {"a": shared, "b": nn.Linear(3, 3), "c": nn.ModuleList([nn.LSTM(3, 2)])}
    two_way = nn.LSTM(3, 2, 2, bidirectional=True)
    model = nn.ModuleDict({**layers, "again": shared, "two": two_way})
    found = cd.adapt_all(model)
    assert list(found) == ["a", "c.0", "two"]
    inputs = torch.zeros(1, 3).double()
    for path in ("a", "c.0"):
        states = torch.ones(1, found[path].state_dim).double()
        wanted = cd.adapt(model, path)(states, inputs)
        assert torch.equal(found[path](states, inputs), wanted)
    assert not found["two"].one_map
    assert [len(level) for level in found["two"].systems] == [2, 2]
    assert list(cd.adapt_all(shared)) == [""]


def test_a_model_with_nothing_to_adapt_says_so() -> None:
    with pytest.raises(cd.LayerNotFoundError, match=r"nothing to adapt.*no recurrent"):
        cd.adapt_all(nn.Linear(2, 2))
