"""RecurrentGemma: attributes, a first token that differs, and a root with a bound."""

from __future__ import annotations

import copy
import sys
from inspect import signature
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import captum_dynamics as cd
from captum_dynamics.adapters.huggingface import CachedLayer
from captum_dynamics.testing import TINY_MODELS, verify

pytest.importorskip("transformers", reason="transformers is not there")

FAMILY = TINY_MODELS["recurrent_gemma"]
LAYER, MODEL = "model.layers.0.temporal_block", "model"
STATES = "conv1d_state", "recurrent_states"


@pytest.fixture
def model() -> nn.Module:
    return FAMILY.build(seed=1)


def kept(model: nn.Module) -> dict[str, Any]:
    """What the modules hold in their attributes, of the states and the keys."""
    names = (*STATES, "key_states", "value_states")
    return {
        f"{path}.{name}": vars(module)[name]
        for path, module in model.named_modules()
        for name in names
        if name in vars(module)
    }


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(one[key] is other[key] for key in one)


def test_the_recurrent_block_passes_all_checks(model: nn.Module) -> None:
    report = verify(cd.adapt(model, LAYER), model, FAMILY.inputs(3, 6), layer=LAYER)
    assert report.passed, report.table()


def test_the_whole_model_passes_the_checks_after_a_context(model: nn.Module) -> None:
    with pytest.warns(cd.AdapterWarning, match="no state"):
        adapter = cd.adapt(model, MODEL)
    report = verify(adapter, model, FAMILY.inputs(3, 6), layer=MODEL)
    assert report.passed, report.table()


@torch.no_grad()
def test_the_first_token_is_read_whole_and_the_others_scaled(model: nn.Module) -> None:
    adapter = cd.adapt(model, LAYER)
    x = torch.randn(1, 1, 16, generator=torch.Generator().manual_seed(0))
    layer: Any = copy.deepcopy(model.get_submodule(LAYER))
    start = torch.zeros(1, adapter.state_dim, dtype=torch.float64)
    later = start.clone()
    later[:, -1] = 1  # begun
    rest = "attention_mask", "cache_position"  # as far as the version has them
    known = signature(layer.forward).parameters
    nothing = {name: None for name in rest if name in known}
    for states, position in ((start, 0), (later, 5)):
        layer.conv1d_state, layer.rg_lru.recurrent_states = None, None
        given = torch.tensor([[position]])
        wanted = layer(x, given, **nothing, use_cache=False)
        wanted = wanted[0] if isinstance(wanted, tuple) else wanted
        assert isinstance(adapter, CachedLayer)
        found = adapter.advance(states, x[:, 0].double())[1]
        assert torch.allclose(found.float(), wanted[:, 0], atol=1e-6)


def test_a_run_starts_before_its_first_token_and_has_begun_then(
    model: nn.Module,
) -> None:
    runs = cd.record(model, LAYER, FAMILY.inputs(3, 6))
    assert (runs.initial_states == 0).all()
    assert (runs.states[..., -1] == 1).all()


@pytest.mark.parametrize("use_cache", [False, True], ids=["plain", "cached"])
def test_recording_leaves_the_attributes_of_the_model(
    model: nn.Module, use_cache: bool
) -> None:
    with torch.no_grad():
        model(**FAMILY.inputs(2, 5), use_cache=use_cache)
    before = kept(model)
    cd.record(model, LAYER, {**FAMILY.inputs(2, 6), "use_cache": use_cache})
    assert same(before, kept(model))


def test_an_error_within_a_step_leaves_the_model_and_its_copy(
    model: nn.Module,
) -> None:
    adapter = cd.adapt(model, LAYER)
    assert isinstance(adapter, CachedLayer)
    own = adapter._decoding.layer
    source: Any = sys.modules[type(own).__module__]
    before, root = (kept(model), kept(own)), source.SqrtBoundDerivative

    def fail(*_: Any) -> Tensor:
        raise ArithmeticError("in the middle of a step, with new states in place")

    handle = own.linear_out.register_forward_pre_hook(fail)  # type: ignore[union-attr]
    states = torch.ones(2, adapter.state_dim, dtype=torch.float64)
    with pytest.raises(ArithmeticError):
        adapter.step(states, states[:, :16])
    handle.remove()
    assert same(before[0], kept(model))
    assert same(before[1], kept(own))
    assert source.SqrtBoundDerivative is root
    broken = model.get_submodule(f"{LAYER}.linear_out")
    broken.register_forward_pre_hook(fail)
    with pytest.raises(ArithmeticError):
        cd.record(model, LAYER, FAMILY.inputs(2, 6))
    assert same(before[0], kept(model))


def test_the_root_of_the_model_cannot_be_differentiated_by_torch_func(
    model: nn.Module,
) -> None:
    adapter = cd.adapt(model, LAYER)
    assert isinstance(adapter, CachedLayer)
    step, coordinates = adapter._decoding, adapter._coordinates
    states = torch.ones(1, adapter.state_dim, dtype=torch.float64)

    def unguarded(inputs: Tensor) -> Tensor:
        return step.run(coordinates.tensors(states), inputs)[1]

    with pytest.raises(RuntimeError, match="setup_context"):
        torch.func.jacrev(unguarded)(states[:, :16])


@torch.no_grad()
def test_the_whole_model_steps_on_from_a_context(model: nn.Module) -> None:
    context = torch.tensor([[3, 1, 4, 1, 5]])
    with pytest.warns(cd.AdapterWarning, match="no state"):
        adapter = cd.adapt(model, MODEL, context=context)
    assert isinstance(adapter, CachedLayer)
    held = adapter._decoding.states
    state = adapter._coordinates.flat({h.path: h.to_rows(h.value) for h in held})
    ids = torch.tensor([[9], [2], [6]])
    body = model.get_submodule(MODEL)
    sequences = torch.cat([context.expand(3, -1), ids], dim=1)
    wanted = body(sequences, use_cache=False).last_hidden_state[:, -1]
    inputs = body.embed_tokens(ids)[:, 0].double()  # type: ignore[operator]
    found = adapter.advance(state.expand(3, -1), inputs)[1]
    assert torch.allclose(found.float(), wanted, atol=1e-5)
    assert adapter.layout.names == ("conv", "recurrent")


def test_products_of_the_whole_model_are_those_of_differences(
    model: nn.Module,
) -> None:
    with pytest.warns(cd.AdapterWarning):
        adapter = cd.adapt(model, MODEL)
    generator = torch.Generator().manual_seed(0)
    states, along, x = (
        torch.randn(3, size, generator=generator, dtype=torch.float64)
        for size in (adapter.state_dim, adapter.state_dim, adapter.input_dim)
    )
    step = 1e-6
    ahead, behind = (adapter.step(states + s * along, x) for s in (step, -step))
    wanted = (ahead - behind) / (2 * step)
    assert torch.allclose(adapter.jvp(states, x, along), wanted, atol=1e-6)
    found = adapter.jacobians(states, x) @ along[..., None]
    assert torch.allclose(found[..., 0], wanted, atol=1e-6)
