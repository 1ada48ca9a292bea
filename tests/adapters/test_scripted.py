"""Scripted layers are rebuilt from their parameters, and their calls are seen."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

import captum_dynamics as cd
from captum_dynamics.adapters import _hooks
from captum_dynamics.attr import DynamicsAttribution
from captum_dynamics.testing import check_adapter

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")

LAYERS = {
    "lstm": lambda: nn.LSTM(3, 5, batch_first=True),
    "stack": lambda: nn.RNN(3, 5, 2, batch_first=True, bias=False),
    "two-way": lambda: nn.LSTM(3, 5, batch_first=True, bidirectional=True),
    "gru": lambda: nn.GRU(3, 5, batch_first=True),
    "relu": lambda: nn.RNN(3, 5, nonlinearity="relu", batch_first=True),
}


class Reader(nn.Module):
    """A recurrent layer, dropout and a readout of its last state."""

    def __init__(self, rnn: nn.Module) -> None:
        super().__init__()
        width = 10 if rnn.bidirectional else 5
        self.rnn, self.drop, self.head = rnn, nn.Dropout(0.3), nn.Linear(width, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.drop(self.rnn(x)[0][:, -1]))


class Loop(nn.Module):
    """A cell called in a loop."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head = nn.LSTMCell(3, 5), nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        h, c = torch.zeros(len(x), 5).to(x), torch.zeros(len(x), 5).to(x)
        for t in range(x.size(1)):
            h, c = self.rnn(x[:, t], (h, c))
        return self.head(h)


def scripted(name: str) -> tuple[nn.Module, Any]:
    """A host, and the same scripted, in evaluation mode and float64."""
    torch.manual_seed(0)
    host = Loop() if name == "cell" else Reader(LAYERS[name]())
    host = host.double().eval()
    return host, torch.jit.script(host)


def vectors(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("name", [*LAYERS, "cell"])
def test_attributions_in_a_scripted_model_are_those_in_the_original(name: str) -> None:
    host, script = scripted(name)
    inputs = vectors(3, 6, 3)
    script(inputs)
    found, delta = (
        DynamicsAttribution(model, model.rnn).attribute(
            inputs, baselines=0.0, target=1, return_convergence_delta=True
        )
        for model in (script, host)
    )
    assert torch.allclose(found[0], delta[0], atol=1e-10)
    gap = (host(inputs) - host(torch.zeros_like(inputs)))[:, 1]
    assert torch.allclose(found[0].sum((1, 2)), gap, atol=1e-9)
    assert not _hooks._ACTIVE
    assert not _hooks._LIBRARIES


@pytest.mark.parametrize("name", ["lstm", "stack", "gru", "relu", "cell"])
def test_a_scripted_layer_is_recorded_as_the_original(name: str) -> None:
    host, script = scripted(name)
    inputs = vectors(3, 6, 3)
    adapter = cd.adapt(script, "rnn")
    report = check_adapter(adapter, host.rnn, inputs)
    assert report.passed, report.table()
    ours, theirs = (cd.record(model, "rnn", inputs) for model in (script, host))
    assert torch.allclose(ours.states, theirs.states, atol=1e-12)
    assert torch.equal(ours.inputs, theirs.inputs)
    assert cd.adapt(script).state_dim == adapter.state_dim


def test_points_of_a_scripted_lstm_connect() -> None:
    _, script = scripted("lstm")
    runs = cd.record(script, "rnn", vectors(4, 6, 3))
    dynamics = cd.adapt(script, "rnn")
    starts = runs.sample_states(8, generator=torch.Generator().manual_seed(0))
    points = cd.find_fixed_points(dynamics, starts, cd.mean_input(runs))
    graph = cd.connect(dynamics, cd.linearize(dynamics, points))
    assert points.converged.any()
    assert graph.graph.number_of_nodes() > 0


def test_reading_a_scripted_layer_draws_nothing_and_changes_nothing() -> None:
    _, script = scripted("lstm")
    before = torch.get_rng_state()
    kept = {name: value.clone() for name, value in script.state_dict().items()}
    inputs = vectors(2, 4, 3)
    output = script(inputs)
    cd.adapt(script, "rnn")
    cd.record(script, "rnn", inputs)
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(script(inputs), output)
    assert all(torch.equal(kept[n], value) for n, value in script.state_dict().items())


def test_other_layers_run_as_always_while_a_scripted_one_is_hooked() -> None:
    _, script = scripted("lstm")
    other, inputs = nn.LSTM(3, 5, batch_first=True).double(), vectors(2, 4, 3)
    wanted = other(inputs)[0]
    calls: list[Any] = []
    with _hooks.after_calls(script.rnn, lambda *call: calls.append(call)):
        assert torch.allclose(other(inputs)[0], wanted, atol=1e-14)
        assert not calls
        script(inputs)
    assert len(calls) == 1
    script(inputs)
    assert len(calls) == 1


def test_active_dropout_in_a_scripted_model_is_refused() -> None:
    host, _ = scripted("lstm")
    script = torch.jit.script(host.train())
    with pytest.raises(ValueError, match=r"drop has p=0.3 in training mode"):
        cd.record(script, "rnn", vectors(2, 4, 3))
    stack = torch.jit.script(nn.GRU(3, 5, 2, dropout=0.5))
    with pytest.raises(cd.UnsupportedLayerError, match=r"dropout=0.5.*model.eval"):
        cd.adapt(stack)


class Packed(nn.Module):
    """A model that packs what its layer reads."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(3, 5)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        given: PackedSequence = pack_padded_sequence(x, lengths, enforce_sorted=False)
        return self.rnn(given)[1][0]


def test_packed_sequences_in_a_scripted_model_are_refused() -> None:
    script = torch.jit.script(Packed())
    inputs = vectors(4, 2, 3).float(), torch.tensor([2, 4])
    with pytest.raises(Exception, match="scripted layer to read a padded tensor"):
        cd.record(script, "rnn", inputs)
    assert not _hooks._ACTIVE


def test_a_scripted_layer_in_inference_mode_is_refused() -> None:
    _, script = scripted("lstm")
    with (
        torch.inference_mode(),
        pytest.raises(ValueError, match=r"outside `torch.inference_mode\(\)`"),
    ):
        cd.record(script, "rnn", vectors(2, 4, 3))


class Gates(nn.Module):
    """A layer of the user's own."""

    def forward(self, x: Tensor) -> Tensor:
        return x


def test_a_scripted_layer_of_another_class_is_refused() -> None:
    script = torch.jit.script(nn.Sequential(Gates()))
    with pytest.raises(
        cd.UnsupportedLayerError, match=r"Gates compiled by `torch.jit`"
    ):
        cd.adapt(script, "0")
