"""Nets as safetensors files: weights, and what they are in the metadata."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from captum_dynamics.exceptions import FileFormatError

Net = TypeVar("Net", bound=nn.Module)


def write_tensors(
    path: str | Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]
) -> None:
    """Write a file whole or not at all, and nothing beside it."""
    target = Path(path)
    plain = {name: value.detach().contiguous() for name, value in tensors.items()}
    part = target.with_name(target.name + ".part")
    try:
        with part.open("wb") as file:
            file.write(save(plain, metadata))
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def save_weights(net: nn.Module, path: str | Path, metadata: dict[str, str]) -> None:
    """Write a net's weights."""
    write_tensors(path, net.state_dict(), metadata)


def load_weights(
    path: str | Path, build: Callable[[dict[str, str]], Net], *, what: str
) -> Net:
    """Read a net in evaluation mode.

    Args:
        path: the file.
        build: makes the untrained net from the metadata.
        what: what the file should hold, for the message.

    Raises:
        FileFormatError: when the file is truncated, or holds something else.
    """
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        # A new module draws initial weights; the caller's random state must not notice.
        with torch.random.fork_rng(devices=[]):
            net = build(metadata)
        net.load_state_dict(weights)
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise FileFormatError(
            f"Expected {what} in {Path(path).name}: {error}"
        ) from error
    return net.eval()
