"""A quantised layer is refused; its dequantised weights are read where asked for."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import Tensor, nn

import captum_dynamics as cd

LAYERS = {
    "lstm": lambda: nn.LSTM(3, 6, batch_first=True),
    "two-way": lambda: nn.LSTM(3, 6, 2, bidirectional=True),
    "gru": lambda: nn.GRU(3, 6, batch_first=True),
    "tanh cell": lambda: nn.RNNCell(3, 6),
    "lstm cell": lambda: nn.LSTMCell(3, 6),
}


def quantised(name: str) -> tuple[nn.Module, nn.Module]:
    """A layer, and a model that holds it quantised."""
    torch.manual_seed(0)
    layer = LAYERS[name]()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kinds = {type(layer)}
        model = torch.ao.quantization.quantize_dynamic(nn.Sequential(layer), kinds)
    return layer, model


def vectors(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", LAYERS)
def test_a_quantised_layer_is_refused_with_its_remedy(name: str) -> None:
    _, model = quantised(name)
    for call in (
        lambda: cd.adapt(model, "0"),
        lambda: cd.adapt(model),
        lambda: cd.adapt_all(model),
        lambda: cd.record(model, "0", vectors(2, 4, 3)),
    ):
        with pytest.raises(cd.UnsupportedLayerError, match=r"silently.*dequantize=Tr"):
            call()


@pytest.mark.parametrize("name", LAYERS)
def test_a_dequantised_layer_is_near_the_float_one_and_says_how_near(name: str) -> None:
    layer, model = quantised(name)
    where = {"layer_index": 1, "direction": "backward"} if name == "two-way" else {}
    with pytest.warns(cd.SurrogateWarning, match="differ from those of the") as told:
        adapter = cd.adapt(model, "0", dequantize=True, **where)
    error = float(str(told[0].message).split()[-1].rstrip("."))
    assert 1e-4 < error < 5e-2
    if name != "two-way":
        weight = f"weight_hh{'' if 'cell' in name else '_l0'}"
        own = model[0].get_weight()[weight].dequantize().double()
        assert torch.equal(adapter._weights.recurrent, own)
        assert not torch.equal(own.float(), getattr(layer, weight))


def test_the_error_told_is_that_of_the_layers_own_outputs() -> None:
    _, model = quantised("lstm")
    with pytest.warns(cd.SurrogateWarning) as told:
        adapter = cd.adapt(model, dequantize=True)
    error = float(str(told[0].message).split()[-1].rstrip("."))
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(50, 8, 3, generator=generator).transpose(0, 1).contiguous()
    states = adapter.rollout(torch.zeros(8, 12).double(), inputs.double())
    found = float((states[..., :6] - model[0](inputs)[0]).abs().max())
    assert found == pytest.approx(error, rel=0.06)  # two digits are told
    with pytest.warns(cd.RecordingWarning, match="differ from the layer's own output"):
        runs = cd.record(model, "0", inputs, dynamics=adapter)
    assert torch.allclose(runs.states, states, atol=1e-12)


def test_dequantize_of_a_float_layer_is_refused() -> None:
    with pytest.raises(ValueError, match="no `dequantize` for GRU"):
        cd.adapt(nn.GRU(3, 2), dequantize=True)
