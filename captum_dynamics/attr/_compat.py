"""The private helpers of Captum 0.7 to 0.9 that its own algorithms use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from captum._utils.common import (
    _format_additional_forward_args,
    _run_forward,
    _select_targets,
)
from captum.log import log_usage
from torch import Tensor

__all__ = ["as_tuple", "log_usage", "run_forward", "select"]

Target = Any
"""Captum's target: None, int, tuple, tensor, or a list with one for each example."""


def as_tuple(values: Any) -> tuple[Any, ...]:
    """Wrap what is not a tuple in one; None becomes the empty tuple."""
    formatted = _format_additional_forward_args(values)
    return () if formatted is None else tuple(formatted)


def run_forward(
    forward_func: Callable[..., Any],
    inputs: tuple[Tensor, ...],
    additional_forward_args: tuple[Any, ...],
) -> Any:
    """Call a model as Captum does."""
    return _run_forward(forward_func, inputs, None, additional_forward_args)


def select(outputs: Tensor, target: Target) -> Tensor:
    """Select the target from a model's outputs, in any of Captum's forms."""
    try:
        selected: Tensor = _select_targets(outputs, target)
    except (AssertionError, IndexError, RuntimeError) as error:
        raise ValueError(
            f"Expected `target` to select from outputs of shape "
            f"{tuple(outputs.shape)} in one of Captum's forms; {error}"
        ) from error
    return selected
