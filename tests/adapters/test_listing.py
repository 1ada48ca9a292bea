"""What a model's recurrent layers are read as, and why some are refused."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import Tensor, nn

from captum_dynamics.adapters import describe_adapters, inspect_layers


class OwnCell(nn.Module):
    """A cell that nothing is registered for."""

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return x + h


class Stateful(nn.Module):
    """Recurrent by its arguments, not by its name."""

    def forward(self, x: Tensor, state: Tensor) -> Tensor:
        return x + state


class LSTMClassifier(nn.Module):
    """A host whose name and arguments say nothing of itself."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(5, 3)
        self.rnn = nn.LSTM(3, 4)
        self.two = nn.GRU(4, 5, 2, bidirectional=True)
        self.noisy = nn.GRU(4, 5, 2, dropout=0.5)
        self.relu = nn.RNNCell(5, 6, nonlinearity="relu")
        self.inner = nn.ModuleList([OwnCell(), Stateful()])
        self.head = nn.Linear(6, 1)

    def forward(self, x: Tensor, hidden: Tensor) -> Tensor:
        return x + hidden


def test_each_recurrent_layer_is_listed_with_its_adapter_or_a_reason() -> None:
    readings = {reading.path: reading for reading in inspect_layers(LSTMClassifier())}
    assert [*readings] == ["rnn", "two", "noisy", "relu", "inner.0", "inner.1"]
    assert readings["rnn"].adapter == "LSTMAdapter"
    assert readings["rnn"].layout.names == ("h", "c")
    assert readings["rnn"].input_dim == 3
    assert readings["two"].arguments == "layer_index=0, direction='forward'"
    assert "model.eval()" in readings["noisy"].reason
    assert "piecewise_linear" in readings["relu"].traits
    for path, kind in (("inner.0", "OwnCell"), ("inner.1", "Stateful")):
        assert f"register_adapter({kind})" in readings[path].reason
        assert readings[path].adapter == ""


def test_a_layer_alone_and_a_model_without_any() -> None:
    (reading,) = inspect_layers(nn.GRU(3, 4))
    assert (reading.path, reading.layout.size, reading.reason) == ("", 4, "")
    assert inspect_layers(nn.Sequential(nn.Linear(2, 2), nn.Conv1d(1, 1, 1))) == ()


def test_a_traced_layer_is_listed_under_the_name_of_its_source() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(nn.Sequential(nn.GRU(3, 4)), torch.zeros(2, 5, 3))
    (reading,) = inspect_layers(traced)
    assert (reading.path, reading.kind) == ("0", "GRU")
    assert "traced" in reading.reason


@pytest.mark.parametrize("name", ["RNN", "GRU", "LSTM", "GRUCell"])
def test_a_registered_layer_says_its_package_and_version(name: str) -> None:
    info = {info.layer: info for info in describe_adapters()}
    found = info[f"torch.nn.modules.rnn.{name}"]
    assert found.package == "torch"
    assert torch.__version__.startswith(found.installed.partition("+")[0])
    assert "vmap_safe" in found.traits
