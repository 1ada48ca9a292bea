"""The only validators: each says what was expected, for which argument, what came."""

from __future__ import annotations

from concurrent.futures import Executor
from typing import SupportsIndex

import torch
from torch import Tensor


def check_matrix(
    name: str, value: Tensor, columns: int, device: torch.device | None = None
) -> Tensor:
    """Return `value` if it is a finite floating (n, columns) tensor on `device`."""
    check_floating(name, value)
    if value.ndim != 2 or value.shape[1] != columns:
        raise ValueError(
            f"Expected `{name}` to have shape (n, {columns}), got {tuple(value.shape)}."
        )
    if device is not None and value.device != device:
        raise ValueError(
            f"Expected `{name}` on {device}, where the dynamics live, "
            f"got {value.device}; move it with `.to(...)`."
        )
    return check_finite(name, value)


def check_rows(name: str, value: Tensor) -> Tensor:
    """Return `value` if it has at least one row."""
    if value.shape[0] == 0:
        raise ValueError(f"Expected `{name}` to have at least one row, got none.")
    return value


def check_inputs(
    name: str,
    value: Tensor,
    rows: int,
    columns: int,
    device: torch.device | None = None,
) -> Tensor:
    """Return one input a row, (rows, columns), from as many rows, one, or a vector."""
    check_floating(name, value)
    matrix = value[None] if value.ndim == 1 else value
    if matrix.ndim == 2 and matrix.shape == (1, columns):
        matrix = matrix.expand(rows, columns)
    if matrix.shape != (rows, columns):
        raise ValueError(
            f"Expected `{name}` to have shape ({rows}, {columns}), (1, {columns}) or "
            f"({columns},), got {tuple(value.shape)}."
        )
    return check_matrix(name, matrix, columns, device)


def check_floating(name: str, value: Tensor) -> Tensor:
    """Return `value` if it is a real floating tensor."""
    if not isinstance(value, Tensor):
        raise TypeError(
            f"Expected `{name}` to be a tensor, got {type(value).__name__}."
        )
    if not value.is_floating_point():
        raise TypeError(
            f"Expected `{name}` to be a floating tensor, got {value.dtype}; "
            f"convert it with `.double()`."
        )
    return value


def check_shape(name: str, value: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return `value` if it has exactly this shape."""
    if value.shape != shape:
        raise ValueError(
            f"Expected `{name}` to have shape {shape}, got {tuple(value.shape)}."
        )
    return value


def check_finite(name: str, value: Tensor) -> Tensor:
    """Return `value` if it holds neither NaN nor infinity."""
    bad = int((~torch.isfinite(value)).sum())
    if bad:
        raise ValueError(
            f"Expected `{name}` to be finite, got {bad} NaN or infinite of "
            f"{value.numel()} values."
        )
    return value


def check_count(name: str, value: int, least: int = 1) -> int:
    """Return `value` if it is a whole number of at least `least`."""
    if not isinstance(value, SupportsIndex) or value < least:
        raise ValueError(
            f"Expected `{name}` to be a whole number of at least {least}, got {value}."
        )
    return value


def check_lengths(name: str, value: Tensor, rows: int, steps: int) -> Tensor:
    """Return `value` if it holds `rows` sequence lengths between 1 and `steps`."""
    if value.shape != (rows,) or value.is_floating_point():
        raise ValueError(
            f"Expected `{name}` to hold {rows} whole numbers, got shape "
            f"{tuple(value.shape)} of {value.dtype}."
        )
    if rows and (int(value.min()) < 1 or int(value.max()) > steps):
        raise ValueError(
            f"Expected `{name}` between 1 and {steps}, got values from "
            f"{int(value.min())} to {int(value.max())}; drop empty sequences first."
        )
    return value


def check_positive(name: str, value: float) -> float:
    """Return `value` if it is above zero."""
    if not value > 0:
        raise ValueError(f"Expected `{name}` to be positive, got {value}.")
    return value


def check_not_negative(name: str, value: float) -> float:
    """Return `value` if it is zero or above."""
    if not value >= 0:
        raise ValueError(f"Expected `{name}` to be zero or more, got {value}.")
    return value


def check_executor(name: str, value: Executor | None) -> Executor | None:
    """Return `value` if work can be submitted to it as to a pool of Python's own."""
    if not isinstance(value, (Executor, type(None))):
        raise TypeError(
            f"Expected `{name}` to be a concurrent.futures.Executor, got "
            f"{type(value).__name__}; a dask client gives one by `.get_executor()`."
        )
    return value
