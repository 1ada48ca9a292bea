"""What `inspect` says of models of transformers."""

from __future__ import annotations

from typing import Any

import pytest
from torch import nn

from captum_dynamics.adapters import describe_adapters, inspect_layers
from captum_dynamics.adapters.huggingface import cached
from captum_dynamics.adapters.huggingface._capturing import capture
from captum_dynamics.adapters.huggingface._decoding import DecodingStep
from captum_dynamics.testing import TINY_MODELS

pytest.importorskip("transformers", reason="transformers is not there")

MIXERS = ["backbone.layers.0.mixer", "backbone.layers.1.mixer"]


def test_a_model_and_its_mixers_are_listed_beside_each_other() -> None:
    host = nn.ModuleDict({"language": TINY_MODELS["mamba"].build()})
    readings = inspect_layers(host)
    inner = [f"language.{path}" for path in MIXERS]
    assert [reading.path for reading in readings] == ["language", *inner]
    assert [r.adapter for r in readings] == ["CachedModel", *["CachedLayer"] * 2]
    assert readings[0].layout.size == 2 * readings[1].layout.size
    assert readings[0].input_dim == readings[1].input_dim == 16


def test_layers_alike_take_one_run_of_their_model(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runs = []

    def counted(*given: Any) -> DecodingStep:
        runs.append(given)
        return capture(*given)

    monkeypatch.setattr(cached, "capture", counted)
    readings = inspect_layers(TINY_MODELS["mamba"].build())
    assert [reading.path for reading in readings] == ["", *MIXERS]
    assert len(runs) == 2  # of the model, and of one mixer


def test_registered_layers_say_the_versions_they_are_read_in() -> None:
    by_name = {info.layer: info for info in describe_adapters()}
    mixer = by_name["transformers.models.bamba.modeling_bamba.BambaMixer"]
    assert (mixer.adapter, mixer.supported) == ("CachedLayer", "transformers>=4.57")
    assert mixer.installed
