"""What a run of a model calls, as a method of Captum would meet it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from captum_dynamics.calling import ModelInputs, call_model, count_rows, take_rows

# Layers whose nonlinear functions are no modules.
_FUSED = (nn.RNNBase, nn.RNNCellBase)


@dataclass(frozen=True, eq=False)
class FusedCall:
    """One call of a fused recurrent layer: its layer, and whether cuDNN refuses it."""

    layer: nn.Module
    lacks_backward: bool


@dataclass(frozen=True, eq=False)
class Watched:
    """What one run of a model called, before and after the layer of a method.

    Attributes:
        before: calls of recurrent layers up to the method's layer, its own included;
            all of them where the method has no layer.
        after: those that follow it.
        visits: how often the method's layer was called.
        is_read: whether the output depends on what the method's layer gives.
    """

    before: tuple[FusedCall, ...]
    after: tuple[FusedCall, ...]
    visits: int = 0
    is_read: bool = True


def look(model: nn.Module) -> Watched:
    """Fused recurrent layers of a model that is not run, in no known order."""
    return Watched(tuple(FusedCall(layer, False) for layer in _fused(model)), ())


def watch(model: nn.Module, inputs: ModelInputs, layer: nn.Module | None) -> Watched:
    """Run a model once, and see what it calls and whether it reads a layer's output."""
    calls: tuple[list[FusedCall], list[FusedCall]] = ([], [])
    visits: list[Tensor | None] = []

    def call(module: nn.Module, _args: Any) -> None:
        # The flag as it stands where the layer runs: a tap sets it, or a user's block.
        on_cudnn = _on_cuda(module) and torch.backends.cudnn.enabled
        found = FusedCall(module, on_cudnn and not module.training)
        calls[bool(visits)].append(found)

    def visit(_module: nn.Module, _args: Any, output: Any) -> Any:
        first = output[0] if type(output) is tuple else output
        if not isinstance(first, Tensor):
            visits.append(None)
            return output
        leaf = first.detach().requires_grad_()
        visits.append(leaf)
        # A copy: the model may write into it.
        return (leaf.clone(), *output[1:]) if type(output) is tuple else leaf.clone()

    with ExitStack() as hooks, torch.enable_grad():
        for module in _fused(model):
            hooks.callback(module.register_forward_pre_hook(call).remove)
        if layer is not None:
            hooks.callback(layer.register_forward_hook(visit).remove)
        output = call_model(model, inputs)
        leaves = [leaf for leaf in visits if leaf is not None]
        read = len(leaves) < len(visits) or not visits or _depends(output, leaves)
    return Watched(tuple(calls[0]), tuple(calls[1]), len(visits), read)


def reads_rows(model: nn.Module, inputs: ModelInputs) -> bool:
    """Whether two examples are twice as many sequences for the layers as one.

    Of a time-first model, two steps are as many sequences as one.
    """
    rows = count_rows(inputs)
    if rows < 2:
        return True
    try:
        one, two = (
            _first_count(model, take_rows(inputs, slice(0, size), rows))
            for size in (1, 2)
        )
    except (RuntimeError, ValueError, IndexError):  # a cut the model cannot read
        return False
    return two == 2 * one


def is_packed(inputs: Any) -> bool:
    """Whether inputs are, or hold, a PackedSequence."""
    if isinstance(inputs, (Tensor, PackedSequence)):
        return isinstance(inputs, PackedSequence)
    values: Iterable[Any] = inputs.values() if isinstance(inputs, dict) else inputs
    return any(isinstance(value, PackedSequence) for value in values)


def _depends(output: Any, leaves: list[Tensor]) -> bool:
    if not isinstance(output, Tensor) or not output.requires_grad:
        return False
    gradients = torch.autograd.grad(output.sum(), leaves, allow_unused=True)
    return any(gradient is not None for gradient in gradients)


def _on_cuda(layer: nn.Module) -> bool:
    return any(parameter.is_cuda for parameter in layer.parameters())


def _first_count(model: nn.Module, inputs: ModelInputs) -> int:
    """Number of sequences that the first call of a recurrent layer reads."""
    counts: list[int] = []

    def count(module: nn.Module, _args: Any, output: Any) -> None:
        # Its output, not its arguments: other hooks may replace these.
        given = output[0] if type(output) is tuple else output
        if isinstance(given, PackedSequence):
            counts.append(int(given.batch_sizes[0]))
        elif given.ndim == 3:
            counts.append(given.shape[0 if module.batch_first else 1])
        else:
            of_cell = isinstance(module, nn.RNNCellBase) and given.ndim == 2
            counts.append(len(given) if of_cell else 1)

    with ExitStack() as hooks, torch.no_grad():
        for module in _fused(model):
            hooks.callback(module.register_forward_hook(count).remove)
        call_model(model, inputs)
    return counts[0] if counts else count_rows(inputs)


def _fused(model: nn.Module) -> Iterator[nn.Module]:
    return (module for module in model.modules() if isinstance(module, _FUSED))
