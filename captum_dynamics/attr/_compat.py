"""The private helpers of Captum 0.7 to 0.9 that its own algorithms use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from captum._utils.common import _format_additional_forward_args, _run_forward
from captum.log import log_usage
from torch import Tensor

__all__ = ["as_tuple", "log_usage", "run_forward"]

Target = Any
"""Captum's target: None, int, tuple, tensor, or a list with one for each example."""


def as_tuple(values: Any) -> tuple[Any, ...]:
    """Wrap what is not a tuple in one; None becomes the empty tuple."""
    formatted = _format_additional_forward_args(values)
    return () if formatted is None else tuple(formatted)


def run_forward(
    forward_func: Callable[..., Any],
    inputs: tuple[Tensor, ...],
    target: Target,
    additional_forward_args: tuple[Any, ...],
) -> Any:
    """Call a model as Captum does, and select the target from its output."""
    return _run_forward(forward_func, inputs, target, additional_forward_args)
