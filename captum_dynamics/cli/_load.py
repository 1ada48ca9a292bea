"""A user's model and arrays, loaded; what is wrong with them is said in one line."""

from __future__ import annotations

import importlib
import io
import os
import sys
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from captum_dynamics.calling import call_model, check_deterministic
from captum_dynamics.exceptions import FileFormatError

Arrays = dict[str, NDArray[np.generic]]


def load_model(name: str) -> nn.Module:
    """Import MODULE:FACTORY, and call it where it is no model yet."""
    module_name, separator, attribute = name.partition(":")
    if not module_name or not separator or not attribute:
        raise ValueError(
            f"Expected MODULE:FACTORY, such as mymodel:build, got {name!r}."
        )
    sys.path.insert(0, os.getcwd())  # noqa: PTH109
    # Any error here comes from the user's own module, which `--debug` shows.
    try:
        found = getattr(importlib.import_module(module_name), attribute)
        model = found if isinstance(found, nn.Module) else found()
    except Exception as error:
        raise ValueError(f"Cannot load {name!r}: {_told(error)}.") from error
    finally:
        sys.path.pop(0)
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"Expected {name!r} to give a torch.nn.Module, got {type(model).__name__}."
        )
    return model


def load_weights(model: nn.Module, path: Path) -> None:
    """Load a safetensors file into a model."""
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    try:
        model.load_state_dict(load_file(path))
    except (SafetensorError, RuntimeError) as error:
        raise FileFormatError(f"Cannot load {path}: {_told(error)}.") from error


def load_arrays(path: Path) -> Arrays:
    """Read all arrays of an .npz file."""
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    # From memory: numpy leaves a truncated file open.
    stored = io.BytesIO(path.read_bytes())
    try:
        with np.load(stored, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    # Zip, numpy and pickle answer damage with errors of any kind.
    except Exception as error:
        raise FileFormatError(
            f"{path} is not an .npz of plain arrays: {_told(error)}."
        ) from error
    if not arrays:
        raise FileFormatError(f"Expected at least one array in {path}, got none.")
    return arrays


def take_lengths(arrays: Arrays, name: str, path: Path) -> Tensor:
    """Take the lengths of sequences out of the arrays; whole floats will do."""
    if name not in arrays:
        raise ValueError(f"Expected an array {name!r} in {path}, got {sorted(arrays)}.")
    lengths = arrays.pop(name)
    if not arrays:
        raise ValueError(f"Expected arrays besides {name!r} in {path}, got none.")
    if lengths.dtype.kind not in "iuf":
        raise ValueError(
            f"Expected numbers in the array {name!r} of {path}, got {lengths.dtype}."
        )
    broken = lengths[lengths != np.floor(lengths)]
    if broken.size or not np.isfinite(lengths).all():
        raise ValueError(
            f"Expected whole numbers in the array {name!r} of {path}, got "
            f"{broken.flat[0] if broken.size else 'infinite ones'}."
        )
    return torch.from_numpy(lengths.astype(np.int64))


def prepare(model: nn.Module, arrays: Arrays) -> dict[str, Tensor]:
    """Turn arrays into tensors of the model's own device and precision."""
    parameters = list(model.parameters())
    device = parameters[0].device if parameters else torch.device("cpu")
    floating = [p.dtype for p in parameters if p.is_floating_point()]
    precision = floating[0] if floating else torch.get_default_dtype()

    def tensor(name: str, array: NDArray[np.generic]) -> Tensor:
        if array.dtype.kind == "f":
            return torch.from_numpy(array.astype(np.float64)).to(device, precision)
        if array.dtype.kind in "iu":
            return torch.from_numpy(array.astype(np.int64)).to(device)
        if array.dtype.kind == "b":
            return torch.from_numpy(array).to(device)
        raise FileFormatError(
            f"Expected numbers in the array {name!r}, got {array.dtype}."
        )

    return {name: tensor(name, array) for name, array in arrays.items()}


def check_call(model: nn.Module, inputs: dict[str, Tensor], path: Path) -> None:
    """Refuse arrays that the model cannot be called with."""
    check_deterministic(model)
    given = next(iter(inputs.values())) if len(inputs) == 1 else inputs
    # Any error here comes from the user's own model, which `--debug` shows.
    try:
        with torch.no_grad():
            call_model(model, given)
    except Exception as error:
        shapes = (f"{n} {tuple(v.shape)} {v.dtype}" for n, v in inputs.items())
        raise ValueError(
            f"The model cannot be called with {path} ({', '.join(shapes)}): "
            f"{_told(error)}."
        ) from error


def _told(error: Exception) -> str:
    """An error in one line, with its type."""
    text = " ".join(str(error).split()).rstrip(".")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
