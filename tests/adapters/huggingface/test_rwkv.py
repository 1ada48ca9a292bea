"""RWKV-4: rows, weights that rescale themselves, and sums without their scale."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn

import captum_dynamics as cd
from captum_dynamics.adapters.huggingface import CachedLayer
from captum_dynamics.adapters.huggingface._coordinates import OwnCoordinates
from captum_dynamics.testing import TINY_MODELS, verify

pytest.importorskip("transformers", reason="transformers is not there")

FAMILY = TINY_MODELS["rwkv"]
ATTENTION, BLOCK, MODEL = "rwkv.blocks.1.attention", "rwkv.blocks.1", "rwkv"
WIDTH = 16


@pytest.fixture
def model() -> nn.Module:
    return FAMILY.build(seed=1)


@pytest.fixture
def evaluated(model: nn.Module) -> nn.Module:
    """The model after its first evaluation, in which it rescales its weights."""
    with torch.no_grad():
        model(**FAMILY.inputs(1, 2))
    return model


def embedded(rows: int, steps: int) -> Tensor:
    # The model's own embeddings are so small (1e-4) that differences cannot be taken.
    generator = torch.Generator().manual_seed(0)
    return torch.randn(rows, steps, WIDTH, generator=generator)


@pytest.mark.parametrize("layer", [ATTENTION, BLOCK, MODEL])
def test_a_layer_of_rwkv_passes_all_checks_at_batch_3(
    evaluated: nn.Module, layer: str
) -> None:
    given = {"inputs_embeds": embedded(3, 6)}
    report = verify(cd.adapt(evaluated, layer), evaluated, given, layer=layer)
    assert report.passed, report.table()


@torch.no_grad()
def test_three_rows_are_the_models_own_though_its_step_mixes_them(
    evaluated: nn.Module,
) -> None:
    ids = FAMILY.inputs(3, 6)["input_ids"]
    body = evaluated.get_submodule(MODEL)
    wanted = body(ids, use_cache=False).last_hidden_state
    adapter = cd.adapt(evaluated, MODEL)
    states = torch.zeros(3, adapter.state_dim, dtype=torch.float64)
    inputs = body.embeddings(ids).double()  # type: ignore[operator]
    found = []
    for step in range(6):
        states, output = adapter.advance(states, inputs[:, step])
        found.append(output)
    assert torch.allclose(torch.stack(found, 1).float(), wanted, atol=1e-5)

    cache = body(ids[:, :5], use_cache=True).state
    mixed = body(ids[:, 5:], state=cache, use_cache=True).last_hidden_state
    assert mixed.shape == (3, 3, WIDTH)  # every row with the shift of every other


def test_reading_leaves_weights_that_would_be_rescaled(model: nn.Module) -> None:
    before = copy.deepcopy(model.state_dict())
    adapter = cd.adapt(model, ATTENTION)
    after = model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert model.get_submodule(MODEL).layers_are_rescaled is False
    # The map is that of the weights as evaluated, which the model has after a run.
    given = {"inputs_embeds": embedded(2, 5)}
    assert cd.record(model, ATTENTION, given, dynamics=adapter).states.isfinite().all()
    changed = model.state_dict()
    name = f"{ATTENTION}.output.weight"
    assert torch.equal(changed[name], before[name] / 2)


def test_shifting_the_scale_is_a_multiplier_1_that_the_map_has_not(
    evaluated: nn.Module,
) -> None:
    adapter = cd.adapt(evaluated, ATTENTION)
    assert isinstance(adapter, CachedLayer)
    raw = CachedLayer(
        adapter._decoding, OwnCoordinates(adapter._decoding.states), adapter.calls
    )
    states = torch.zeros(1, adapter.state_dim, dtype=torch.float64)
    parts = adapter.layout.split(states)
    parts["numerator"].fill_(3.0)
    parts["denominator"].fill_(200.0)
    x = embedded(1, 1)[:, 0].double()
    ours = torch.linalg.eigvals(adapter.jacobians(states, x)[0]).abs()

    # The same sums, divided by e^m: m is so large that the step carries it on.
    scale, layer = 20.0, 1
    tensors = {
        path: tensor.clone()
        for path, tensor in adapter._coordinates.tensors(states).items()
    }
    for path, tensor in tensors.items():
        if path[-1] in (2, 3):
            tensor[..., layer] *= math.exp(-scale)
        if path[-1] == 4:
            tensor[..., layer] += scale
    at = raw._coordinates.flat(tensors)
    jacobian = raw.jacobians(at, x)[0]
    # Of each tensor the layer owns one column; the rest it only hands on.
    names = torch.arange(raw.state_dim).reshape(4, WIDTH, -1)[..., layer].flatten()
    theirs = torch.linalg.eigvals(jacobian[names][:, names]).abs()

    # Even the sums seem to last for ever, as their scale decays in their place.
    wanted = torch.tensor([0.0, 1, 1, 1], dtype=theirs.dtype)
    assert torch.allclose(theirs.sort().values, wanted.repeat_interleave(WIDTH))
    decay = evaluated.get_submodule(ATTENTION).time_decay.detach().double()  # type: ignore[union-attr]
    wanted = torch.exp(-torch.exp(decay)).repeat(2).sort().values  # type: ignore[operator]
    assert torch.allclose(ours.sort().values[WIDTH:], wanted, atol=1e-9)
    # One step from both is one state.
    both = adapter._coordinates.flat(raw._coordinates.tensors(raw.step(at, x)))
    assert torch.allclose(both, adapter.step(states, x), rtol=1e-12)


def test_the_sums_are_affine_when_the_shift_is_held(evaluated: nn.Module) -> None:
    adapter = cd.adapt(evaluated, ATTENTION)
    generator = torch.Generator().manual_seed(0)
    states, lines = (
        torch.rand(4, adapter.state_dim, generator=generator, dtype=torch.float64)
        for _ in range(2)
    )
    lines[:, :WIDTH] = 0  # the shift
    x = embedded(4, 1)[:, 0].double()
    at, ahead, behind = (adapter.step(states + s * lines, x) for s in (0.0, 2.0, -1.0))
    assert (ahead - 3 * at + 2 * behind).abs().max() < 1e-13 * at.abs().max()


@torch.no_grad()
def test_a_search_finds_the_fixed_point_of_the_published_sums(
    evaluated: nn.Module,
) -> None:
    adapter = cd.adapt(evaluated, ATTENTION)
    layer = evaluated.get_submodule(ATTENTION).double()
    x = embedded(1, 1)[:, 0].double()
    generator = torch.Generator().manual_seed(0)
    starts = torch.rand(3, adapter.state_dim, generator=generator, dtype=x.dtype)
    points = cd.find_fixed_points(adapter, starts, x)
    assert points.converged.all()
    # At rest the token before is the token; the sums are geometric series.
    weight = layer.key(x).exp() / (1 - torch.exp(-layer.time_decay.exp()))  # type: ignore[operator,union-attr]
    wanted = torch.cat([x, weight * layer.value(x), weight], dim=-1)  # type: ignore[operator]
    assert torch.allclose(points.states, wanted.expand_as(points.states), rtol=1e-9)


def test_a_block_without_its_model_is_refused(model: nn.Module) -> None:
    with pytest.raises(cd.UnsupportedLayerError, match="no model of transformers"):
        cd.adapt(model.get_submodule(BLOCK))
