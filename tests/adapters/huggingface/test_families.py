"""The recurrent layers of each family of transformers, and the models around them."""

from __future__ import annotations

import warnings
from inspect import signature
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import captum_dynamics as cd
from captum_dynamics.adapters.huggingface import CachedLayer
from captum_dynamics.adapters.huggingface._hosts import body_of
from captum_dynamics.testing import TINY_MODELS, TinyModel, verify

transformers = pytest.importorskip("transformers", reason="transformers is not there")

FAMILIES = [
    "bamba",
    "falcon_h1",
    "falcon_mamba",
    "granitemoehybrid",
    "jamba",
    "kimi_linear",
    "lfm2",
    "mamba",
    "mamba2",
    "minimax",
    "nemotron_h",
    "olmo_hybrid",
    "qwen3_5",
    "qwen3_next",
    "zamba",
    "zamba2",
]
OLD = transformers.__version__.startswith("4.")
# Layers whose steps of decoding are not those of their own sequences, by how much.
# zamba2, nemotron_h: the scan holds time steps above `time_step_min`, decoding does
# not. minimax: the decay over a block is kept in float32.
UNEQUAL = {"minimax": 1e-7} | ({} if OLD else {"nemotron_h": 1e-4, "zamba2": 1e-4})
SEQUENCES = ("recorded run", "a sequence", "one step is", "of a batch is")


def each(names: list[str]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("name", names)


def built(name: str, dtype: torch.dtype = torch.float32) -> tuple[TinyModel, nn.Module]:
    family = TINY_MODELS[name]
    if family.missing is not None:
        pytest.skip(family.missing)
    model = family.build().to(dtype)
    if hasattr(model, "set_experts_implementation"):
        # The default has no float64.
        model.set_experts_implementation("batched_mm")  # type: ignore[operator]
    return family, model


def adapted(model: nn.Module, **given: Any) -> CachedLayer:
    """The whole model, whose warning of attention is another test's."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", cd.AdapterWarning)
        adapter = cd.adapt(model, **given)
    assert isinstance(adapter, CachedLayer)
    return adapter


def random(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


@torch.no_grad()
def next_output(family: TinyModel, model: nn.Module, ids: Tensor) -> Tensor:
    """What the body of a model gives for the last id, its cache holding the others."""
    body, name = body_of(model), family.cache_name(model) or ""
    cache = family.new_cache(model, len(ids))
    known = signature(body.forward).parameters
    for start, stop in ((0, ids.shape[1] - 1), (ids.shape[1] - 1, ids.shape[1])):
        places = torch.arange(start, stop)
        given = {"cache_position": places, "position_ids": places[None]}
        given = {key: value for key, value in given.items() if key in known}
        if cache is not None:
            given[name] = cache
        output = body(input_ids=ids[:, start:stop], use_cache=True, **given)
        kept = output.get(name)
        cache = cache if kept is None else kept
    last: Tensor = output.last_hidden_state[:, -1]
    return last


def error(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).abs().max() / wanted.abs().max())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["32", "64"])
@each(FAMILIES)
def test_a_mixer_passes_all_checks(name: str, dtype: torch.dtype) -> None:
    family, model = built(name, dtype)
    adapter = cd.adapt(model, family.layer)
    report = verify(adapter, model, family.inputs(2, 6), layer=family.layer)
    broken = [row for row in report.rows if not row.ok]
    if broken and name in UNEQUAL:
        assert all(any(word in row.name for word in SEQUENCES) for row in broken)
        assert all(row.value < UNEQUAL[name] for row in broken)
    else:
        assert not broken, report.table()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["b16", "16"])
@each(FAMILIES)
def test_a_mixer_in_half_precision_is_read_as_its_weights_say(
    name: str, dtype: torch.dtype
) -> None:
    family, model = built(name, dtype)
    half = cd.adapt(model, family.layer)
    full = cd.adapt(model.float(), family.layer)
    assert half.layout == full.layout
    states, inputs = random(3, full.state_dim), random(3, full.input_dim, seed=1)
    assert error(half.step(states, inputs), full.step(states, inputs)) < 1e-12


@each(["lfm2", "qwen3_next", "granitemoehybrid"])
def test_a_whole_model_that_attends_passes_all_checks(name: str) -> None:
    family, model = built(name, torch.float64)
    adapter = adapted(model)
    body = body_of(model)
    report = verify(adapter, model, family.inputs(2, 6), layer=body)
    assert report.passed, report.table()
    (row,) = [row for row in report.rows if row.check.startswith("1 ")]
    assert "after the context" in row.name
    assert "held fixed" in row.note


@each(FAMILIES)
def test_a_mixer_is_affine_in_its_recurrent_block(name: str) -> None:
    family, model = built(name)
    adapter = cd.adapt(model, family.layer)
    if "recurrent" not in adapter.layout.names:
        assert adapter.traits.affine_in_state  # a convolution alone
        return
    line, block = random(1, adapter.state_dim), adapter.layout.slice("recurrent")
    line[:, : block.start], line[:, block.stop :] = 0, 0
    states, inputs = random(1, adapter.state_dim), random(1, adapter.input_dim, seed=1)
    ahead, at, behind = (adapter.step(states + s * line, inputs) for s in (1, 0, -1))
    assert (ahead - 2 * at + behind).abs().max() < 1e-13 * ahead.abs().max()
    assert (ahead - at).abs().max() > 1e-4


@each(FAMILIES)
def test_a_model_goes_on_from_a_context_as_it_does_itself(name: str) -> None:
    family, model = built(name)
    ids = family.inputs(1, 9)["input_ids"]
    adapter = adapted(model, context=ids[:, :-1])
    embedded = model.get_input_embeddings()(ids[:, -1]).detach()  # type: ignore[operator]
    states, inputs = adapter.context_state, embedded.double()
    new, output = adapter.advance(states, inputs)
    assert error(output, next_output(family, model, ids)) < 1e-6
    later = adapted(model, context=ids)
    assert error(new, later.context_state) < max(1e-5, UNEQUAL.get(name, 0))
    # The context's keys and values are as before.
    again, _ = adapter.advance(states, inputs)
    assert torch.equal(again, new)


@each(FAMILIES)
def test_products_of_a_whole_model_are_differences(name: str) -> None:
    _, model = built(name)
    adapter = adapted(model)
    states, inputs = 0.5 * random(1, adapter.state_dim), random(1, adapter.input_dim)
    moves, turns = random(1, adapter.state_dim, seed=1), random(1, adapter.input_dim)
    ahead, behind = (
        adapter.step(states + h * moves, inputs + h * turns) for h in (1e-6, -1e-6)
    )
    pushed = adapter.jvp(states, inputs, moves, turns)
    assert error(pushed, (ahead - behind) / 2e-6) < 1e-8
    weights = random(1, adapter.state_dim, seed=2)
    by_state, by_input = adapter.vjp(states, inputs, weights)
    wanted = (weights * pushed).sum()
    assert torch.allclose((by_state * moves).sum() + (by_input * turns).sum(), wanted)
