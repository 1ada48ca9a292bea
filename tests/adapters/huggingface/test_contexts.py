"""What models of transformers have read before, and that it stays as it is."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from inspect import signature
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import captum_dynamics as cd
from captum_dynamics.adapters.huggingface import CachedLayer
from captum_dynamics.adapters.huggingface._hosts import body_of
from captum_dynamics.attr import DynamicsAttribution
from captum_dynamics.testing import TINY_MODELS, verify
from captum_dynamics.testing._fingerprint import changes, fingerprint

pytest.importorskip("transformers", reason="transformers is not there")

BAMBA = TINY_MODELS["bamba"]


@pytest.fixture
def bamba() -> nn.Module:
    return BAMBA.build()


def adapted(model: nn.Module, context: Tensor | None = None) -> CachedLayer:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", cd.AdapterWarning)
        adapter = cd.adapt(model, context=context)
    assert isinstance(adapter, CachedLayer)
    return adapter


def read(model: nn.Module, ids: Tensor, start: int, cache: Any) -> tuple[Any, Any]:
    """Outputs of a model for ids at positions from `start`, and its cache."""
    name = BAMBA.cache_name(model)
    assert name is not None
    cache = BAMBA.new_cache(model, len(ids)) if cache is None else cache
    places = torch.arange(start, start + ids.shape[1])
    given = {"position_ids": places[None], "cache_position": places}
    given = {k: v for k, v in given.items() if k in signature(model.forward).parameters}
    kept = {} if cache is None else {name: cache}
    with torch.no_grad():
        output = model(input_ids=ids, use_cache=True, **given, **kept)
    return output, output.get(name, cache)


def tensors(held: Any) -> Iterator[Tensor]:
    if isinstance(held, Tensor):
        yield held
    elif isinstance(held, list | tuple | dict):
        for value in held.values() if isinstance(held, dict) else held:
            yield from tensors(value)
    elif "Cache" in type(held).__name__ or "Layer" in type(held).__name__:
        yield from tensors(vars(held))


def test_bamba_depends_on_how_much_it_has_read(bamba: nn.Module) -> None:
    body = body_of(bamba)
    ids = BAMBA.inputs(1, 21)["input_ids"]
    outputs = {}
    for length in (8, 20):
        adapter = adapted(bamba, ids[:, :length])
        embedded = bamba.get_input_embeddings()(ids[:, 20]).detach()  # type: ignore[operator]
        state = adapter.context_state
        _, outputs[length] = adapter.advance(state, embedded.double())
        _, cache = read(body, ids[:, :length], 0, None)
        misplaced, _ = read(body, ids[:, 20:], 0, copy.deepcopy(cache))
        wanted, _ = read(body, ids[:, 20:], length, cache)
        own = wanted.last_hidden_state[:, 0]
        assert torch.allclose(outputs[length].float(), own, atol=1e-5)
        # At position 0, which it takes when told nothing, it says something else.
        assert (misplaced.last_hidden_state[:, 0] - own).abs().max() > 1e-2
    assert (outputs[8] - outputs[20]).abs().max() > 1e-2


def test_attention_is_read_with_a_warning(bamba: nn.Module) -> None:
    with pytest.warns(cd.AdapterWarning, match="keys and values, which are no state"):
        adapter = cd.adapt(bamba)
    assert adapter.layout.names == ("conv", "recurrent")


def test_a_cache_of_the_caller_stays_as_it_is(bamba: nn.Module) -> None:
    ids = BAMBA.inputs(1, 8)["input_ids"]
    _, cache = read(bamba, ids, 0, None)
    before = [t.clone() for t in tensors(cache)]
    adapter = adapted(bamba, ids)
    states = adapter.context_state.clone()
    kept = states.clone()
    adapter.jacobians(states, torch.ones(1, adapter.input_dim, dtype=torch.float64))
    assert torch.equal(states, kept)
    assert torch.equal(adapter.context_state, kept)
    found = list(tensors(cache))
    assert len(found) == len(before) > 3
    assert all(torch.equal(a, b) for a, b in zip(found, before, strict=True))


def test_a_model_is_left_as_it_was_also_after_an_exception(bamba: nn.Module) -> None:
    def fail(_: nn.Module, _args: tuple[Any, ...]) -> None:
        raise KeyError("no such thing")

    layer = bamba.get_submodule(BAMBA.layer)
    handle = layer.register_forward_pre_hook(fail)
    before = fingerprint(bamba)
    with pytest.raises(KeyError, match="no such thing"):
        adapted(bamba)
    assert changes(before, fingerprint(bamba)) == []
    handle.remove()
    before = fingerprint(bamba)
    adapter = adapted(bamba)
    with pytest.raises(RuntimeError):
        adapter.step(adapter.context_state, torch.zeros(1, 3, dtype=torch.float64))
    assert changes(before, fingerprint(bamba)) == []


@pytest.mark.misuse
@pytest.mark.parametrize(
    ("context", "told"),
    [
        (torch.ones(1, 3), "torch.float32 of shape"),
        (torch.ones(2, 3, dtype=torch.long), r"shape \(2, 3\)"),
        (torch.ones(1, 0, dtype=torch.long), r"shape \(1, 0\)"),
        (torch.tensor([[3, 40]]), "from 0 to 39"),
        ("a text", "got str"),
    ],
    ids=["floats", "rows", "empty", "beyond", "text"],
)
def test_a_context_that_is_no_ids_is_refused(
    bamba: nn.Module, context: Any, told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        cd.adapt(bamba, context=context)


def test_runs_of_a_model_that_attends_are_refused(bamba: nn.Module) -> None:
    class Host(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = bamba

        def forward(self, embedded: Tensor) -> Tensor:
            logits: Tensor = self.model(inputs_embeds=embedded).logits
            return logits[:, -1]

    adapter = adapted(bamba)
    with pytest.raises(ValueError, match="keys and values of a context fixed"):
        cd.record(bamba, body_of(bamba), BAMBA.inputs(2, 4), dynamics=adapter)
    with pytest.warns(cd.AdapterWarning, match="keys and values"):
        method = DynamicsAttribution(Host(), body_of(bamba))
    with (
        pytest.warns(cd.AdapterWarning, match="keys and values"),
        pytest.raises(ValueError, match="keys and values of a context fixed"),
    ):
        method.attribute(torch.ones(2, 4, 16), target=3)


@pytest.mark.parametrize("name", ["mamba2", "qwen3_next"])
def test_padding_after_the_end_is_not_read(name: str) -> None:
    family = TINY_MODELS[name]
    model = family.build()
    mask = torch.tensor([[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]])
    given = {**family.inputs(2, 6), "attention_mask": mask}
    adapter = cd.adapt(model, family.layer)
    report = verify(adapter, model, given, layer=family.layer)
    assert report.passed, report.table()
    assert cd.record(model, family.layer, given).lengths.tolist() == [4, 6]
    given["attention_mask"] = mask.flip(1)
    with pytest.raises(ValueError, match="padding last"):
        cd.record(model, family.layer, given)
