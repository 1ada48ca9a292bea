"""How far two outputs of one form are apart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor
from torch.nn.utils.rnn import PackedSequence


def largest_error(found: Any, wanted: Any) -> float:
    """Largest relative error over all tensors of two outputs of one form."""
    pairs = zip(tensors_of(found), tensors_of(wanted), strict=True)
    return max((relative_error(a, b) for a, b in pairs), default=float("nan"))


def tensors_of(output: Any) -> Iterator[Tensor]:
    """Every tensor of a nested output, in order."""
    if isinstance(output, PackedSequence):
        yield output.data
    elif isinstance(output, Tensor):
        yield output
    elif isinstance(output, (Mapping, list, tuple)):
        parts = output.values() if isinstance(output, Mapping) else output
        for part in parts:
            yield from tensors_of(part)


def copied(output: Any) -> list[Tensor]:
    """The tensors of an output, kept as they are now."""
    return [tensor.detach().clone() for tensor in tensors_of(output)]


def relative_error(found: Tensor, wanted: Tensor) -> float:
    """Largest difference relative to the largest value; NaN where shapes differ."""
    if found.shape != wanted.shape:
        return float("nan")
    if not wanted.numel():
        return 0.0
    # In double, so that the comparison adds no rounding of its own.
    gap = (found.double() - wanted.double()).abs().max()
    return float(gap / wanted.double().abs().max().clamp_min(1.0))
