"""xLSTM: sums without their scale, affine in the state."""

from __future__ import annotations

import copy
import math
import warnings
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import captum_dynamics as cd
from captum_dynamics.adapters.huggingface import CachedLayer
from captum_dynamics.adapters.huggingface._coordinates import OwnCoordinates
from captum_dynamics.testing import TINY_MODELS, verify

pytest.importorskip("transformers", reason="transformers is not there")

# 16 heads of 4 x 4: a small state, though widths must be multiples of 64.
HEADS, SIZE = 16, 4
_TINY = TINY_MODELS["xlstm"]
FAMILY = replace(_TINY, sizes={**_TINY.sizes, "num_heads": HEADS})
LAYER, BLOCK, MODEL = "backbone.blocks.0.mlstm_layer", "backbone.blocks.1", "backbone"


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return FAMILY.build(seed=1)


def drawn(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def in_float64(eps: float) -> nn.Module:
    """The model, of which also the states are float64, as no configuration can say."""
    model: Any = FAMILY.build(seed=1).double()
    config = copy.copy(model.config)
    vars(config).update(inference_state_dtype="float64", eps=eps)
    config.norm_reduction_force_float32 = False
    for block in model.backbone.blocks:
        backend = block.mlstm_layer.mlstm_backend
        block.mlstm_layer.mlstm_backend = type(backend)(config)
        block.mlstm_layer.multihead_norm.force_float32_reductions = False
    found: nn.Module = model
    return found


def test_a_layer_of_xlstm_passes_all_checks_in_float64() -> None:
    model = in_float64(eps=0.0)
    report = verify(cd.adapt(model, LAYER), model, FAMILY.inputs(3, 6), layer=LAYER)
    assert report.passed, report.table()


@torch.no_grad()
def test_the_scale_is_left_in_the_outputs_by_no_more_than_eps() -> None:
    # The layer adds eps to a denominator in units of e^m: the one thing m changes.
    eps = 1e-6
    model = in_float64(eps=eps)
    adapter = cd.adapt(model, LAYER)
    assert isinstance(adapter, CachedLayer)
    x = drawn(3, 6, 64)
    call = adapter.calls.read(adapter, (x,), {})
    states = adapter.rollout(call.initial_states, x)
    wanted = model.get_submodule(LAYER)(x)[0]
    error = (adapter.outputs(states, call) - wanted).abs().max()
    assert 1e-12 < error < eps


@pytest.mark.parametrize("layer", [BLOCK, MODEL])
def test_more_than_a_layer_is_the_models_own_with_derivatives(
    model: nn.Module, layer: str
) -> None:
    adapter = cd.adapt(model, layer)
    with warnings.catch_warnings():
        warnings.simplefilter("error", cd.RecordingWarning)
        runs = cd.record(model, layer, FAMILY.inputs(3, 6), dynamics=adapter)
    states, x = runs.states[:, 3], runs.inputs[:, 3]
    along = drawn(3, adapter.state_dim)
    step = 1e-6
    ahead, behind = (adapter.step(states + s * along, x) for s in (step, -step))
    wanted = (ahead - behind) / (2 * step)
    assert torch.allclose(adapter.jvp(states, x, along), wanted, atol=1e-7)


def test_a_layer_is_affine_in_its_whole_state(model: nn.Module) -> None:
    adapter = cd.adapt(model, BLOCK)
    assert adapter.traits.affine_in_state
    states, lines = drawn(2, 3, adapter.state_dim)
    x = drawn(3, 64)
    at, ahead, behind = (adapter.step(states + s * lines, x) for s in (0.0, 2.0, -1.0))
    assert (ahead - 3 * at + 2 * behind).abs().max() < 1e-14 * at.abs().max()


@torch.no_grad()
def test_the_direct_solve_is_the_published_series(model: nn.Module) -> None:
    adapter = cd.adapt(model, LAYER)
    x = drawn(1, 64)
    points = cd.find_fixed_points(adapter, drawn(2, adapter.state_dim), x)
    assert points.converged.all()
    layer: Any = model.get_submodule(LAYER)
    key, value = _read(layer.k, x), _read(layer.v, x)
    gate = _capped(layer, _read(layer.igate_preact, x))
    # C = f C + i k v^T and n = f n + i k, at rest.
    weight = (gate.exp() / (1 - _forget(layer, x))).reshape(HEADS, 1)
    normalizer = weight * key.reshape(HEADS, SIZE)
    memory = normalizer[:, :, None] * value.reshape(HEADS, 1, SIZE)
    wanted = torch.cat([memory.flatten(), normalizer.flatten()])
    assert torch.allclose(points.states, wanted.expand(2, -1), rtol=1e-9)


def test_shifting_the_scale_is_a_multiplier_1_that_the_map_has_not(
    model: nn.Module,
) -> None:
    adapter = cd.adapt(model, LAYER)
    assert isinstance(adapter, CachedLayer)
    step = adapter._decoding
    raw = CachedLayer(step, OwnCoordinates(step.states), adapter.calls)
    states, x = drawn(1, adapter.state_dim), drawn(1, 64)
    scale = 20.0  # so large that the step carries it on
    tensors = adapter._coordinates.tensors(states)
    for path, tensor in tensors.items():
        if path[-1] == 2:
            tensors[path] = tensor + scale
        else:
            tensors[path] = tensor * math.exp(-scale)
    at = raw._coordinates.flat(tensors)
    theirs = torch.linalg.eigvals(raw.jacobians(at, x)[0]).abs()
    assert torch.allclose(theirs, torch.ones_like(theirs))
    ours = torch.linalg.eigvals(adapter.jacobians(states, x)[0]).abs()
    forget = _forget(model.get_submodule(LAYER), x).repeat_interleave(SIZE**2 + SIZE)
    assert torch.allclose(ours.sort().values, forget.sort().values)
    assert float(ours.max()) < 0.999
    both = adapter._coordinates.flat(raw._coordinates.tensors(raw.step(at, x)))
    assert torch.allclose(both, adapter.step(states, x), rtol=1e-6)


def _forget(layer: Any, x: Tensor) -> Tensor:
    return torch.sigmoid(_capped(layer, _read(layer.fgate_preact, x)))[0].detach()


def _capped(layer: Any, gate: Tensor) -> Tensor:
    cap = layer.config.gate_soft_cap
    return cap * torch.tanh(gate / cap)


def _read(part: Any, x: Tensor) -> Tensor:
    bias = None if part.bias is None else part.bias.double()
    return nn.functional.linear(x, part.weight.double(), bias)


@pytest.mark.parametrize("layer", [LAYER, BLOCK, MODEL])
def test_layers_of_the_package_xlstm_are_refused(layer: str) -> None:
    model: Any = FAMILY.build(seed=1)
    own = type(model.backbone.blocks[0].mlstm_layer)
    named = {"__module__": "xlstm.xlstm_large.model"}
    model.backbone.blocks[0].mlstm_layer.__class__ = type("mLSTMLayer", (own,), named)
    with pytest.raises(cd.UnsupportedLayerError, match="uninstall that package"):
        cd.adapt(model, layer)
