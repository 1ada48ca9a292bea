"""Run a private copy of a model for a few steps, and keep one call of a layer."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from captum_dynamics.adapters._attributes import restored
from captum_dynamics.adapters._base import refuse
from captum_dynamics.adapters.huggingface._decoding import (
    DecodingStep,
    Held,
    attribute_tensors,
    call_tensors,
    double,
    in_double,
)
from captum_dynamics.adapters.huggingface._functional import precision_of
from captum_dynamics.adapters.huggingface._hosts import embedding_of, new_cache
from captum_dynamics.adapters.huggingface._slots import Path, Slot, tensors_in

# How layers and models name what they read, and models what they keep.
_INPUTS = ("hidden_states", "inputs_embeds", "input_states", "hidden", "x")
_CACHES = ("cache", "cache_params", "past_key_values", "state")


@dataclass(frozen=True, eq=False)
class _Seen:
    """One call of a layer, and its tensors before and after it."""

    call: dict[str, Any]
    before: dict[Path, Tensor]
    after: dict[Path, Tensor]


@torch.no_grad()
def capture(
    host: nn.Module,
    layer: nn.Module,
    context: Tensor,
    *,
    is_state: Callable[[Path], bool] | None = None,
) -> DecodingStep:
    """Keep the call of a layer in the step after a context of ids (1, t).

    What the call writes anew, in its old shape, is the state of the layer. The axis of
    rows of a tensor is the one that grows when two rows are decoded.

    Args:
        host: the model of transformers that keeps the cache.
        layer: one of its layers, or itself.
        context: ids that were read before.
        is_state: whether the tensor at a path is state, where that is not to be seen
            from what the call writes.

    Raises:
        UnsupportedLayerError: the layer keeps no state of fixed size.
    """
    own, ours = private_copy(host, layer)
    one = _watch(own, ours, context)
    # A window of equal tokens stays the same: what a step writes shows with another.
    two = _watch(own, ours, context.expand(2, -1), unlike=True)
    held = {
        path: Held(double(value), path, _axis_of_rows(value, two.before.get(path)))
        for path, value in one.before.items()
    }
    if is_state is None:
        written = (h for h in held.values() if _is_state(h.path, two))
        states = tuple(part for h in written for part in _parts(h, two))
    else:
        states = tuple(h for h in held.values() if is_state(h.path))
    if not states:
        raise refuse(
            layer,
            "a step of it writes nothing that keeps its size: it has no recurrent "
            "state (keys and values of attention grow, and are none).",
        )
    call, read = one.call, _input_path(layer, one.call)
    for path in tensors_in(call):
        Slot(call, path).write(held[path].value)
    known = {read, *(h.path for h in states)}
    others = tuple(h for p, h in held.items() if p not in known)
    attends = any(_grew(path, one) for path in one.before)
    return DecodingStep(in_double(ours), call, states, held[read], others, attends)


def private_copy(host: nn.Module, layer: nn.Module) -> tuple[nn.Module, nn.Module]:
    """A copy of a model, sharing its parameters, to be evaluated; and its layer."""
    memo: dict[int, Any] = {id(p): p for p in host.parameters()}
    own = copy.deepcopy(host, memo).eval()
    # Fused kernels know no forward mode; those of experts, no float64 either.
    for name, kind in (("attn", "eager"), ("experts", "batched_mm")):
        choose = getattr(own, f"set_{name}_implementation", None)
        if choose is not None:
            choose(kind)
    path = next(name for name, module in host.named_modules() if module is layer)
    return own, own.get_submodule(path)


def decode(host: nn.Module, context: Tensor, inputs: Tensor) -> Any:
    """What a model gives out for inputs (n, 1, k) after a context of ids (n, t)."""
    with restored(host):
        return _run(host, inputs, _after(context), **_read(host, context))


def _watch(
    host: nn.Module, layer: nn.Module, context: Tensor, *, unlike: bool = False
) -> _Seen:
    """The call of a layer in the step after a context, whose last id comes again.

    Where `unlike`, what comes is moved away from that id, by more than a norm removes.
    """
    seen: list[_Seen] = []
    with precision_of(host):
        cache = _read(host, context)
        again = embedding_of(host)(context[:, -1:])
        if unlike:
            again = again + torch.linspace(-1, 1, again.shape[-1]).to(again)
        with _watched(layer, seen):
            _run(host, again, _after(context), **cache)
    if len(seen) != 1:
        raise refuse(
            layer,
            f"it is called {len(seen)} times in one step of decoding, not once; "
            f"`captum_dynamics.adapt_all(model)` lists the recurrent layers.",
        )
    return seen[0]


def _read(host: nn.Module, context: Tensor) -> dict[str, Any]:
    """The cache that a model keeps of a context, by its name."""
    embedded = embedding_of(host)(context)
    places = torch.arange(context.shape[1], device=context.device)
    known = inspect.signature(host.forward).parameters
    for name in (name for name in _CACHES if name in known):
        kept = _run(host, embedded, places).get(name)
        if kept is None:
            # Some models use a cache, but want the caller to make it.
            kept = new_cache(host, len(context))
            _run(host, embedded, places, **{name: kept})
        if kept is not None:
            return {name: kept}
    _run(host, embedded, places)
    if attribute_tensors(host):
        return {}  # it keeps all in attributes
    raise refuse(host, "it keeps no cache when it decodes.")


def _after(context: Tensor) -> Tensor:
    """Position (1,) of what comes after a context."""
    return torch.tensor([context.shape[1]], device=context.device)


def _run(host: nn.Module, embedded: Tensor, places: Tensor, **cache: Any) -> Any:
    known = inspect.signature(host.forward).parameters
    given = {
        "position_ids": places.expand(len(embedded), -1),
        "cache_position": places,
        "return_dict": True,
    }
    wanted = {name: value for name, value in given.items() if name in known}
    return host(inputs_embeds=embedded, use_cache=True, **cache, **wanted)


@contextmanager
def _watched(layer: nn.Module, seen: list[_Seen]) -> Iterator[None]:
    """Keep what the calls of a layer are given, as it was before and after them."""
    calls: list[tuple[dict[str, Any], dict[Path, Tensor]]] = []

    def before(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        call = copy.deepcopy({"args": args, "kwargs": kwargs})
        calls.append((call, _copies(call, layer)))

    def after(
        _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], _output: Any
    ) -> None:
        call, first = calls.pop()
        seen.append(
            _Seen(call, first, _copies({"args": args, "kwargs": kwargs}, layer))
        )

    handles = (
        layer.register_forward_pre_hook(before, with_kwargs=True),
        layer.register_forward_hook(after, with_kwargs=True),
    )
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _copies(call: dict[str, Any], layer: nn.Module) -> dict[Path, Tensor]:
    return {path: t.clone() for path, t in call_tensors(call, layer).items()}


def _is_state(path: Path, seen: _Seen) -> bool:
    old, new = seen.before[path], seen.after.get(path)
    if new is None or not old.is_floating_point() or old.shape != new.shape:
        return False
    return not torch.equal(old, new)


def _parts(held: Held, seen: _Seen) -> list[Held]:
    """The layers that a call writes, where a tensor stacks layers in front of rows."""
    if held.axis != 1:
        return [held]
    old, new = seen.before[held.path], seen.after[held.path]
    written = (old != new).flatten(1).any(1).nonzero()[:, 0].tolist()
    return [Held(held.value[i], (*held.path, i), 0) for i in written]


def _grew(path: Path, seen: _Seen) -> bool:
    new = seen.after.get(path)
    return new is not None and new.shape != seen.before[path].shape


def _axis_of_rows(one: Tensor, two: Tensor | None) -> int | None:
    if two is None or one.ndim != two.ndim:
        return None
    grown = (axis for axis, size in enumerate(two.shape) if size != one.shape[axis])
    return next(grown, None)


def _input_path(layer: nn.Module, call: dict[str, Any]) -> Path:
    if call["args"] and isinstance(call["args"][0], Tensor):
        return ("args", 0)
    for name in _INPUTS:
        if isinstance(call["kwargs"].get(name), Tensor):
            return ("kwargs", name)
    raise refuse(
        layer, f"its input is none of {list(_INPUTS)}: got {sorted(call['kwargs'])}."
    )
