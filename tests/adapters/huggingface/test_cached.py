"""Layers of transformers, run in single steps with states of ours."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import captum_dynamics as cd
from captum_dynamics.attr import DynamicsAttribution
from captum_dynamics.testing import verify

transformers = pytest.importorskip("transformers", reason="transformers is not there")


@pytest.fixture(scope="module")
def model() -> nn.Module:
    config = transformers.MambaConfig(
        vocab_size=40,
        hidden_size=16,
        num_hidden_layers=2,
        state_size=4,
        initializer_range=0.2,
    )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        built: nn.Module = transformers.MambaForCausalLM(config).eval()
    return built


IDS = torch.tensor([[3, 1, 4, 1, 5, 9], [2, 7, 1, 8, 2, 8]])
MIXER = "backbone.layers.1.mixer"


@pytest.mark.parametrize("layer", [MIXER, "backbone"])
def test_a_layer_of_mamba_passes_all_checks(model: nn.Module, layer: str) -> None:
    report = verify(cd.adapt(model, layer), model, IDS, layer=layer)
    assert report.passed, report.table()


def test_a_model_with_a_head_is_read_as_the_model_without_it(model: nn.Module) -> None:
    adapter = cd.adapt(model)
    assert adapter.layout.names == ("conv0", "recurrent0", "conv1", "recurrent1")


def test_every_mixer_is_a_recurrent_layer_of_its_own(model: nn.Module) -> None:
    assert list(cd.adapt_all(model)) == [f"backbone.layers.{i}.mixer" for i in (0, 1)]


def test_contributions_through_a_whole_model_add_up(model: nn.Module) -> None:
    class LastLogits(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, embedded: Tensor) -> Tensor:
            logits: Tensor = self.model(inputs_embeds=embedded).logits[:, -1]
            return logits

    host = LastLogits()
    embedded = model.backbone.embeddings(IDS).detach()  # type: ignore[union-attr,operator]
    baselines = torch.full_like(embedded, 0.1)
    method = DynamicsAttribution(host, model.backbone)  # type: ignore[arg-type]
    found = method.attribute(embedded, baselines=baselines, target=3)
    with torch.no_grad():
        wanted = (host(embedded) - host(baselines))[:, 3]
    assert torch.allclose(found.sum((1, 2)), wanted, atol=1e-5)


@pytest.mark.filterwarnings("ignore:`gradient_checkpointing_enable`:FutureWarning")
def test_attributions_refuse_gradient_checkpointing(model: nn.Module) -> None:
    class LastLogits(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = copy.deepcopy(model).train()
            enable: Any = self.model.gradient_checkpointing_enable
            enable(gradient_checkpointing_kwargs={"use_reentrant": False})

        def forward(self, ids: Tensor) -> Tensor:
            logits: Tensor = self.model(ids).logits[:, -1]
            return logits

    host = LastLogits()
    lower = host.model.get_submodule("backbone.layers.0.mixer")
    with pytest.raises(ValueError, match=r"gradient checkpointing.*eval\(\)"):
        DynamicsAttribution(host, lower).attribute(IDS, target=3)


def test_a_list_of_layers_is_refused_with_where_to_look(model: nn.Module) -> None:
    with pytest.raises(cd.UnsupportedLayerError, match=r"0 times.*adapt_all\(model\)"):
        cd.adapt(model, "backbone.layers")


def test_a_function_does_not_show_the_model_that_holds_a_layer(
    model: nn.Module,
) -> None:
    layer = model.get_submodule(MIXER)
    with pytest.raises(cd.UnsupportedLayerError, match="`forward_func` that is a mod"):
        DynamicsAttribution(lambda ids: model(ids).logits[:, -1], layer)
    with pytest.raises(cd.UnsupportedLayerError, match=r"adapt\(model, layer\)"):
        cd.adapt(layer)


def test_a_call_that_goes_on_from_a_filled_cache_is_told_of(model: nn.Module) -> None:
    class Resumed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, ids: Tensor) -> Tensor:
            made: Tensor = self.model.generate(  # type: ignore[operator]
                ids, max_new_tokens=2, do_sample=False, return_dict_in_generate=True
            ).sequences
            return made

    with pytest.warns(cd.RecordingWarning, match="a cache that had been filled"):
        cd.record(Resumed(), f"model.{MIXER}", IDS, call=1)


def test_an_encoder_with_a_decoder_is_refused() -> None:
    config = transformers.T5Config(
        d_model=16, d_ff=16, num_layers=1, num_heads=2, d_kv=8, vocab_size=40
    )
    with pytest.raises(cd.UnsupportedLayerError, match="an encoder and a decoder"):
        cd.adapt(transformers.T5ForConditionalGeneration(config))


def test_a_model_with_attention_alone_is_refused() -> None:
    config = transformers.GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=40)
    with pytest.raises(cd.UnsupportedLayerError, match="no recurrent state"):
        cd.adapt(transformers.GPT2LMHeadModel(config))
