"""One method of a comparison: called as it can be, timed, its model calls counted."""

from __future__ import annotations

import functools
import inspect
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from captum_dynamics._typing import PerPoint
from captum_dynamics.attr._question import Question
from captum_dynamics.attr._seeding import seeded


@dataclass
class Tally:
    """How often a model was called, and with how many examples in all."""

    calls: int = 0
    examples: int = 0

    def add(self, inputs: tuple[Any, ...]) -> None:
        """Count one call."""
        self.calls += 1
        self.examples += _rows(inputs)


def _rows(value: Any) -> int:
    """Length of the first tensor: DeepLift hands over tuples of them."""
    if isinstance(value, Tensor):
        return len(value) if value.ndim else 0
    nested = value if isinstance(value, (tuple, list)) else ()
    return next(filter(None, map(_rows, nested)), 0)


@dataclass(frozen=True, eq=False)
class Answer:
    """Attributions (n, t, ...) of a method, and what they cost."""

    attributions: Tensor
    deltas: PerPoint
    seconds: float
    tally: Tally


def forward_of(method: Any) -> Callable[..., Any] | None:
    """The function that a method explains, or that the one inside explains."""
    inner = getattr(method, "attribution_method", method)
    found: Callable[..., Any] | None = getattr(inner, "forward_func", None)
    return found


def answer(method: Any, question: Question, own: Mapping[str, Any]) -> Answer:
    """Call a method with what it takes, and its own settings."""
    settings = {**understood(method, question.settings()), **own}
    with_delta = "return_convergence_delta" in _taken(method) and bool(
        method.has_convergence_delta()
    )
    if with_delta:
        settings["return_convergence_delta"] = True
    with counted(method) as tally, seeded(question.seed, question.inputs.device):
        began = time.perf_counter()
        found = explain(method, question.inputs, settings)
        seconds = time.perf_counter() - began
    values, deltas = found if with_delta else (found, None)
    attributions = _shared(_checked(values, question.inputs), own)
    return Answer(attributions, _one_each(deltas, len(attributions)), seconds, tally)


def explain(method: Any, inputs: Tensor, settings: Mapping[str, Any]) -> Any:
    """Call `attribute` on inputs of our own, which need gradients where they can."""
    own = inputs.detach().clone()
    return method.attribute(
        own.requires_grad_() if own.is_floating_point() else own, **settings
    )


def understood(method: Any, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Those settings that a method's `attribute` knows by name."""
    taken = _taken(method)
    return {name: value for name, value in settings.items() if name in taken}


def _taken(method: Any) -> set[str]:
    named = inspect.signature(method.attribute).parameters
    inner = getattr(method, "attribution_method", None)
    # A NoiseTunnel hands what it does not know to the method inside.
    return set(named) | (set() if inner is None else _taken(inner))


@contextmanager
def counted(method: Any) -> Iterator[Tally]:
    """Count the calls of a method's model while the block runs."""
    tally, forward_func = Tally(), forward_of(method)
    with ExitStack() as undo:
        if isinstance(forward_func, nn.Module):
            hook = forward_func.register_forward_pre_hook(
                lambda _, args: tally.add(args)
            )
            undo.callback(hook.remove)
        elif forward_func is not None:
            inner = getattr(method, "attribution_method", method)
            inner.forward_func = _counting(forward_func, tally)
            undo.callback(setattr, inner, "forward_func", forward_func)
        yield tally


def _counting(forward_func: Callable[..., Any], tally: Tally) -> Callable[..., Any]:
    @functools.wraps(forward_func)
    def call(*args: Any, **kwargs: Any) -> Any:
        tally.add(args)
        return forward_func(*args, **kwargs)

    return call


def _checked(values: Any, inputs: Tensor) -> Tensor:
    """The attributions, if they are one tensor of examples by steps."""
    one = values[0] if isinstance(values, tuple) and len(values) == 1 else values
    if not isinstance(one, Tensor):
        raise TypeError(
            f"Expected `attribute` to return one tensor, got {type(one).__name__}."
        )
    if one.ndim < 2 or one.shape[:2] != inputs.shape[:2]:
        raise ValueError(
            f"Expected attributions of {len(inputs)} examples on axis 0 and "
            f"{inputs.shape[1]} steps on axis 1, got {tuple(one.shape)}."
        )
    return one.detach()


def _shared(attributions: Tensor, own: Mapping[str, Any]) -> Tensor:
    """Give each feature its share of what a method said of a group of features.

    Captum writes the answer for a group at every feature of it, so that sums over
    features would count it many times.
    """
    window, mask = own.get("sliding_window_shapes"), own.get("feature_mask")
    if window is not None:
        sizes = window[0] if isinstance(window[0], tuple) else window
        return attributions / math.prod(sizes)
    if mask is None:
        return attributions
    groups = (mask[0] if isinstance(mask, tuple) else mask).expand_as(attributions)
    _, labels = torch.unique(groups, return_inverse=True)
    flat = labels.flatten(1)
    sizes = torch.zeros(len(flat), int(flat.max()) + 1).to(attributions)
    sizes.scatter_add_(1, flat, torch.ones_like(flat).to(attributions))
    return attributions / sizes.gather(1, flat).view_as(attributions)


def _one_each(deltas: Any, rows: int) -> PerPoint:
    """One delta (n,) for each example; NaN where there is none."""
    if deltas is None:
        return torch.full((rows,), torch.nan, dtype=torch.float64)
    # Methods that draw samples give a delta for each, sample after sample of a row.
    found: PerPoint = deltas.detach().double().reshape(rows, -1).mean(1)
    return found
