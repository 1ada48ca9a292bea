"""Families that nobody registered: read by what they write into a cache, or refused."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import captum_dynamics as cd
from captum_dynamics.adapters.huggingface import CachedLayer
from captum_dynamics.testing import TINY_MODELS, verify

transformers = pytest.importorskip("transformers", reason="transformers is not there")

_EXPERTS = {"num_experts": 2, "num_experts_per_tok": 1, "moe_intermediate_size": 24}
_LFM2 = TINY_MODELS["lfm2"].sizes
_QWEN = TINY_MODELS["qwen3_5"].sizes
_BAILING = {
    **{k: v for k, v in _QWEN.items() if not k.startswith("linear")},
    "num_key_value_heads": 2,
    "kv_lora_rank": 8,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 4,
    "v_head_dim": 8,
    "num_local_experts": 2,
    "n_group": 1,
    "topk_group": 1,
    "num_experts_per_tok": 1,
    "moe_intermediate_size": 24,
    "first_k_dense_replace": 1,
    "layer_group_size": 2,
}
FAMILIES: Mapping[str, tuple[str, str, Mapping[str, Any], str]] = {
    "lfm2_moe": ("Lfm2Moe", "Config", {**_LFM2, **_EXPERTS}, "conv"),
    "qwen3_5_moe": (
        *("Qwen3_5Moe", "TextConfig"),
        {**_QWEN, **_EXPERTS, "shared_expert_intermediate_size": 24},
        "linear_attn",
    ),
    "bailing_hybrid": ("BailingHybrid", "Config", _BAILING, "self_attn"),
}


def built(name: str) -> tuple[nn.Module, str]:
    """A tiny model of a family, and the path of its first layer that remembers."""
    prefix, config, sizes, layer = FAMILIES[name]
    try:
        modeling = import_module(f"transformers.models.{name}.modeling_{name}")
        configuring = import_module(f"transformers.models.{name}.configuration_{name}")
    except ImportError:
        pytest.skip(f"transformers {transformers.__version__} has no {name}")
    given = getattr(configuring, prefix + config)(**sizes)
    given.initializer_range = 0.25
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        model: nn.Module = getattr(modeling, f"{prefix}ForCausalLM")(given).eval()
    return model, f"model.layers.0.{layer}"


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_that_nobody_registered_passes_all_checks(name: str) -> None:
    model, layer = built(name)
    kind = type(model.get_submodule(layer))
    assert f"{kind.__module__}.{kind.__qualname__}" not in cd.list_adapters()
    adapter = cd.adapt(model, layer)
    assert type(adapter) is CachedLayer
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(3, 40, (3, 6), generator=generator)
    given = {"input_ids": ids, "position_ids": torch.arange(6).expand(3, -1)}
    report = verify(adapter, model, given, layer=layer)
    assert report.passed, report.table()


class _Averages(nn.Module):
    """A layer of a user's own, which writes running averages into a list."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(8, 8)

    def forward(self, x: Tensor, state: list[Tensor] | None = None) -> Tensor:
        now = x.new_zeros(len(x), 8) if state is None else state[0]
        given = []
        for step in range(x.shape[1]):
            now = 0.5 * now + torch.tanh(self.project(x[:, step]) + now)
            given.append(now)
        if state is not None:
            state[0].copy_(now)
        return torch.stack(given, dim=1)


class OwnModel(transformers.PreTrainedModel):  # type: ignore[misc,name-defined]
    """A model of a user's own on the base class of transformers."""

    config_class = transformers.PretrainedConfig

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.embed = nn.Embedding(12, 8)
        self.layer = _Averages()
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        pass  # as torch draws them

    def get_input_embeddings(self) -> nn.Module:
        return self.embed

    def forward(
        self,
        input_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        state: list[Tensor] | None = None,
        use_cache: bool = False,
        return_dict: bool = True,
    ) -> Any:
        x = self.embed(input_ids) if inputs_embeds is None else inputs_embeds
        if use_cache and state is None:
            state = [x.new_zeros(len(x), 8)]
        given = self.layer(x, state)
        return transformers.utils.ModelOutput(last_hidden_state=given, state=state)


def own_model() -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return OwnModel(transformers.PretrainedConfig(vocab_size=12)).eval()


def test_a_layer_of_a_users_own_model_passes_all_checks() -> None:
    model = own_model()
    adapter = cd.adapt(model, "layer")
    report = verify(adapter, model, torch.tensor([[1, 2, 3], [4, 5, 6]]), layer="layer")
    assert report.passed, report.table()
    states = torch.ones(1, 8, dtype=torch.float64)
    given = torch.zeros(1, 8, dtype=torch.float64)
    drive = model.layer.project.bias.detach().double() + 1
    assert torch.allclose(adapter.step(states, given), 0.5 + torch.tanh(drive))


def test_layers_that_remember_nothing_are_refused_with_the_reason() -> None:
    model = own_model()
    with pytest.raises(cd.UnsupportedLayerError, match="no recurrent state"):
        cd.adapt(model, "layer.project")
