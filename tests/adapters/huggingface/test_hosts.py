"""LSTMs and GRUs that stand in models of transformers are read by torch's adapters."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import captum_dynamics as cd
from captum_dynamics.adapters.huggingface import CachedLayer
from captum_dynamics.attr import DynamicsAttribution
from captum_dynamics.testing import TINY_MODELS, verify

pytest.importorskip("transformers", reason="transformers is not there")

HOSTS = {
    "encodec-encoder": ("encodec", "encoder.layers.7.lstm"),
    "encodec-decoder": ("encodec", "decoder.layers.1.lstm"),
    "parakeet-rnnt": ("parakeet_rnnt", "decoder.lstm"),
    "parakeet-tdt": ("parakeet_tdt", "decoder.lstm"),
    "slanet": ("slanet", "structure_attention_cell.rnn"),
}


@pytest.mark.parametrize("host", HOSTS)
def test_a_layer_of_torch_is_read_in_its_host(host: str) -> None:
    name, layer = HOSTS[host]
    family = TINY_MODELS[name]
    if family.missing is not None:
        pytest.skip(family.missing)
    model = family.build(seed=1)
    adapter = cd.adapt(model, layer)
    assert not isinstance(adapter, CachedLayer)
    given = family.inputs(3, 6)
    report = verify(adapter, model, given, layer=layer)
    assert report.passed, report.table()
    runs = cd.record(model, layer, given)
    assert runs.states.shape[0] == 3
    assert runs.states.std() > 0.01


class Loudness(nn.Module):
    """How loud EnCodec's decoder is, of embeddings that no quantiser cuts off.

    What its LSTM reads is added to what it gives out; that part is given as `past`.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.layers = model.decoder.layers

    def before(self, embeddings: Tensor) -> Tensor:
        hidden: Tensor = self.layers[0](embeddings.mT)
        return hidden

    def forward(self, embeddings: Tensor, past: Tensor) -> Tensor:
        read = self.before(embeddings).permute(2, 0, 1)
        hidden = self.layers[1].lstm(read)[0].permute(1, 2, 0) + past
        for layer in self.layers[2:]:
            hidden = layer(hidden)
        return hidden.square().mean((1, 2))


def test_contributions_through_a_decoder_of_sound_add_up() -> None:
    source: Any = TINY_MODELS["encodec"].build(seed=1)
    model = Loudness(source).eval()
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.randn(2, 5, 16, generator=generator)
    past = model.before(embeddings).detach()
    assert torch.allclose(
        model(embeddings, past), source.decoder(embeddings.mT).square().mean((1, 2))
    )
    method = DynamicsAttribution(model, model.layers[1].lstm)
    attributions, delta = method.attribute(
        embeddings,
        baselines=torch.zeros_like(embeddings),
        additional_forward_args=(past,),
        return_convergence_delta=True,
    )
    assert delta.abs().max() < 1e-5
    assert attributions.abs().sum() > 1e-3
