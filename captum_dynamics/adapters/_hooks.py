"""Hooks on the calls of a recurrent layer, eager or scripted, while a block runs.

Scripted modules take no hooks. What their layers call is an operator of torch, such as
`aten::lstm`, with the layer's own parameters: there the same hooks are put, on all
calls of the operator, and those with other parameters are passed on as they are.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import torch
from torch import Tensor, nn

from captum_dynamics.adapters._scripted import is_scripted

Before = Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], Any]
After = Callable[[nn.Module, tuple[Any, ...], dict[str, Any], Any], Any]

_OPERATORS = (
    *(f"{name}.input" for name in ("lstm", "gru", "rnn_tanh", "rnn_relu")),
    *(f"{name}.data" for name in ("lstm", "gru", "rnn_tanh", "rnn_relu")),
    *(f"{name}_cell" for name in ("lstm", "gru", "rnn_tanh", "rnn_relu")),
)
_KEYS = ("AutogradCPU", "AutogradCUDA")


@contextmanager
def before_calls(layer: nn.Module, hook: Before) -> Iterator[None]:
    """Let `hook` give other arguments to every call of a layer."""
    if is_scripted(layer):
        with _tapped(_Tap(layer, before=hook)):
            yield
        return
    handle = layer.register_forward_pre_hook(hook, with_kwargs=True)
    try:
        with _uncompiled():
            yield
    finally:
        handle.remove()


@contextmanager
def after_calls(layer: nn.Module, hook: After) -> Iterator[None]:
    """Let `hook` see every call of a layer, and give another output if it likes."""
    if is_scripted(layer):
        with _tapped(_Tap(layer, after=hook)):
            yield
        return
    handle = layer.register_forward_hook(hook, with_kwargs=True)
    try:
        with _uncompiled():
            yield
    finally:
        handle.remove()


@contextmanager
def instead_of_calls(layer: nn.Module, given: Sequence[Any]) -> Iterator[None]:
    """Let a layer give these outputs in turn, without running."""
    outputs = cycle(given)
    if is_scripted(layer):
        with _tapped(_Tap(layer, instead=lambda: next(outputs))):
            yield
        return
    own = vars(layer)
    before = {name: own[name] for name in ("forward",) if name in own}
    own["forward"] = lambda *_args, **_kwargs: next(outputs)
    try:
        with _uncompiled():
            yield
    finally:
        del own["forward"]
        own.update(before)


def _uncompiled() -> AbstractContextManager[Any]:
    """Run what `torch.compile` made as it was, and compile no hooks into it."""
    # Who compiled anything has imported dynamo, which takes seconds.
    set_stance = getattr(torch.compiler, "set_stance", None)  # since torch 2.6
    if "torch._dynamo" not in sys.modules or set_stance is None:
        return nullcontext()
    stance: AbstractContextManager[Any] = set_stance("force_eager")
    return stance


def hooks_before(layer: nn.Module) -> list[Any]:
    """The hooks that stand before a layer's calls."""
    if is_scripted(layer):
        return [tap.before for tap in _ACTIVE if tap.layer is layer]
    return list(layer._forward_pre_hooks.values())


@dataclass(frozen=True, eq=False)
class _Tap:
    """A hook on a scripted layer, one of the three kinds."""

    layer: nn.Module
    before: Before | None = None
    after: After | None = None
    instead: Callable[[], Any] | None = None

    @property
    def weight(self) -> Tensor:
        """The parameter by which an operator's call is known as the layer's."""
        weight: Tensor = next(self.layer.parameters())
        return weight


_ACTIVE: list[_Tap] = []
_LIBRARIES: list[torch.library.Library] = []
_LOCK = threading.Lock()


@contextmanager
def _tapped(tap: _Tap) -> Iterator[None]:
    """Keep the operators replaced while there is any tap, and no longer."""
    if torch.is_inference_mode_enabled():
        raise ValueError(
            "Expected a scripted layer to run outside `torch.inference_mode()`, where "
            "its calls cannot be seen; use `torch.no_grad()`."
        )
    with _LOCK:
        if not _ACTIVE:
            _LIBRARIES.append(_replaced_operators())
        _ACTIVE.append(tap)
    try:
        yield
    finally:
        with _LOCK:
            _ACTIVE.remove(tap)
            if not _ACTIVE:
                _LIBRARIES.pop()._destroy()  # type: ignore[no-untyped-call]


def _replaced_operators() -> torch.library.Library:
    library = torch.library.Library("aten", "IMPL")  # type: ignore[no-untyped-call]
    for name in _OPERATORS:
        for key in _KEYS:
            library.impl(name, _kernel(name), key)  # type: ignore[no-untyped-call]
    return library


def _kernel(name: str) -> Callable[..., Any]:
    """What an operator does while there are taps."""
    packet, _, overload = name.partition(".")
    operator = getattr(getattr(torch.ops.aten, packet), overload or "default")
    packed = overload == "data"

    def run(*args: Any) -> Any:
        weights = args[2 + packed]
        first = weights if isinstance(weights, Tensor) else weights[0]
        taps = [tap for tap in _ACTIVE if tap.weight is first]
        if not taps:
            return operator.decompose(*args)
        if packed:
            raise ValueError(
                "Expected a scripted layer to read a padded tensor, got a "
                "PackedSequence, whose order of rows it does not tell; pack nothing, "
                "or use the original module, before `torch.jit`."
            )
        return _hooked_call(operator, taps, args)

    return run


def _hooked_call(operator: Any, taps: list[_Tap], args: tuple[Any, ...]) -> Any:
    """Call an operator in the form of the layer, with the hooks around it."""
    joint = isinstance(args[1], list)
    state = tuple(args[1]) if joint else args[1]
    given, named = (args[0], state), dict[str, Any]()
    for tap in taps:
        if tap.before is not None:
            given, named = tap.before(tap.layer, given, named)
    instead = [tap.instead for tap in taps if tap.instead is not None]
    if instead:
        output = instead[-1]()
    else:
        read = list(given[1]) if joint else given[1]
        output = _as_layer(operator.decompose(given[0], read, *args[2:]))
    for tap in taps:
        if tap.after is not None:
            other = tap.after(tap.layer, given, named, output)
            output = output if other is None else other
    return _as_operator(output)


def _as_layer(output: Any) -> Any:
    """(out, h, c) as (out, (h, c)); the rest alike."""
    triple = isinstance(output, tuple) and len(output) == 3
    return (output[0], tuple(output[1:])) if triple else output


def _as_operator(output: Any) -> Any:
    """(out, (h, c)) as (out, h, c); the rest alike."""
    nested = isinstance(output, tuple) and isinstance(output[1], tuple)
    return (output[0], *output[1]) if nested else output
