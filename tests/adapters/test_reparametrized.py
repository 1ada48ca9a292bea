"""Weights computed from others are read as the layer's next call computes them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

import captum_dynamics as cd
from captum_dynamics.attr import DynamicsAttribution
from captum_dynamics.testing import check_adapter

pytestmark = pytest.mark.filterwarnings(
    "ignore:`torch.nn.utils.weight_norm` is deprecated:FutureWarning"
)

Wrap = Callable[..., nn.Module]
LAYERS = {
    "gru": lambda: nn.GRU(3, 5, batch_first=True),
    "two-way lstm": lambda: nn.LSTM(3, 5, batch_first=True, bidirectional=True),
    "rnn": lambda: nn.RNN(3, 5, batch_first=True),
    "cell": lambda: nn.LSTMCell(3, 5),
}
WRAPS: dict[str, Wrap] = {
    "parametrized weight norm": parametrizations.weight_norm,
    "parametrized spectral norm": parametrizations.spectral_norm,
    "parametrized orthogonal": parametrizations.orthogonal,
    "weight norm": nn.utils.weight_norm,
    "spectral norm": nn.utils.spectral_norm,
    "pruned": lambda layer, name: prune.l1_unstructured(layer, name, amount=0.4),
}


def wrapped(layer: nn.Module, wrap: Wrap) -> nn.Module:
    """Reparametrize all recurrent weights, in evaluation mode."""
    names = [n for n, _ in layer.named_parameters() if n.startswith("weight_hh")]
    for name in names:
        wrap(layer, name=name)
    return layer.eval()


def change(layer: nn.Module) -> None:
    """Change every parameter, as an optimizer does between two calls."""
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.mul_(1.5)


def vectors(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


PAIRS = [("gru", wrap) for wrap in WRAPS]
PAIRS += [(name, "weight norm") for name in ("two-way lstm", "rnn", "cell")]


@pytest.mark.parametrize(("name", "wrap"), PAIRS)
def test_the_weights_read_are_those_of_the_next_call(name: str, wrap: str) -> None:
    layer = wrapped(LAYERS[name](), WRAPS[wrap])
    inputs = vectors(4, 6, 3)
    layer(inputs[:, 0] if name == "cell" else inputs)
    change(layer)
    where = {"direction": "backward"} if "two" in name else {}
    adapter = cd.adapt(layer, **where)
    # The layer's own call computes its weights anew, which is no fault of an adapter.
    layer(inputs[:, 0] if name == "cell" else inputs)
    report = check_adapter(adapter, layer, inputs)
    assert report.passed, report.table()


@pytest.mark.parametrize("wrap", ["parametrized spectral norm", "spectral norm"])
def test_a_spectral_norm_in_training_mode_is_refused_and_left_alone(wrap: str) -> None:
    layer = wrapped(nn.GRU(3, 5), WRAPS[wrap]).train()
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    with pytest.raises(cd.UnsupportedLayerError, match=r"spectral norm.*model.eval"):
        cd.adapt(layer)
    head = WRAPS[wrap](nn.Linear(5, 2), name="weight").train()
    model = nn.Sequential(nn.GRU(3, 5), head)
    with pytest.raises(ValueError, match=r"spectral norm of 1 changes.*model.eval"):
        cd.record(model, "0", vectors(2, 4, 3))
    after = layer.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


class Reader(nn.Module):
    """A recurrent layer, and a readout of its last state."""

    def __init__(self, rnn: nn.Module) -> None:
        super().__init__()
        self.rnn, self.head = rnn, nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x)[0][:, -1])


@pytest.mark.parametrize("wrap", ["parametrized weight norm", "weight norm"])
def test_attributions_through_a_weight_normed_gru_are_complete(wrap: str) -> None:
    torch.manual_seed(0)
    model = Reader(wrapped(LAYERS["gru"](), WRAPS[wrap])).double().eval()
    inputs = vectors(3, 6, 3).double()
    model(inputs)
    change(model)
    method = DynamicsAttribution(model, model.rnn)
    found, delta = method.attribute(
        inputs, baselines=0.0, target=1, return_convergence_delta=True
    )
    gap = (model(inputs) - model(torch.zeros_like(inputs)))[:, 1]
    assert torch.allclose(found.sum((1, 2)), gap, atol=1e-9)
    assert float(delta.abs().max()) < 1e-9
    runs = cd.record(model, "rnn", inputs)
    assert torch.allclose(runs.states, model.rnn(inputs)[0], atol=1e-12)
