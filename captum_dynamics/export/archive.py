"""Frozen results as one .npz file: arrays beside one JSON text, no pickle."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import torch
from torch import Tensor

from captum_dynamics.exceptions import FileFormatError
from captum_dynamics.export.graph import graph_from_dict, graph_to_dict

FORMAT = "captum_dynamics archive"
VERSION = 1
_CONTENT = "content.json"


def to_archive(
    result: Any, path: str | Path, *, omit: Mapping[str, Collection[str]] | None = None
) -> Path:
    """Write a frozen dataclass, with all that it holds, to one file.

    Args:
        result: a dataclass of tensors, numbers, texts, enums, networkx graphs, tuples,
            dicts with text keys, and further such dataclasses.
        path: the file; ".npz" is appended where it has no such ending.
        omit: fields, by class name, that the reader can work out again.

    Returns:
        The path that was written.

    Raises:
        OSError: when the path cannot be written.
        TypeError: for a value of any other type.
    """
    target = Path(path)
    if target.suffix != ".npz":
        target = target.with_name(target.name + ".npz")
    arrays: dict[str, Any] = {}
    tree = _Encoder(arrays, omit or {}).encode(result, "result")
    content = {"format": FORMAT, "version": VERSION, "result": tree}
    # A zip of .npy files is what numpy calls npz; the text goes in as bytes.
    text = np.frombuffer(json.dumps(content).encode(), dtype=np.uint8)
    with target.open("wb") as file:
        np.savez_compressed(file, **{_CONTENT: text}, **arrays)  # type: ignore[arg-type]
    return target


def from_archive(path: str | Path, types: Mapping[str, Callable[..., Any]]) -> Any:
    """Read what `to_archive` wrote.

    Args:
        path: the file.
        types: by name, the enums that the file may hold, and what makes a dataclass
            from the fields that were written.

    Returns:
        The result, with tensors on the CPU.

    Raises:
        FileNotFoundError: when there is no such file.
        FileFormatError: for a truncated, foreign or newer file.
    """
    try:
        # From memory: numpy leaves a truncated file open.
        stored = io.BytesIO(Path(path).read_bytes())
        with np.load(stored, allow_pickle=False) as archive:
            content = json.loads(archive[_CONTENT].tobytes().decode())
            _check_header(content, path)
            return _decode(content["result"], archive, types)
    except FileNotFoundError:
        raise
    except FileFormatError:
        raise
    except (
        OSError,
        EOFError,
        KeyError,
        TypeError,
        ValueError,
        AttributeError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise FileFormatError(
            f"{path} is truncated or was not written by captum_dynamics: {error!r}."
        ) from error


def _check_header(content: Any, path: str | Path) -> None:
    if content.get("format") != FORMAT:
        raise FileFormatError(f"{path} was not written by captum_dynamics.")
    if content.get("version") != VERSION:
        raise FileFormatError(
            f"{path} has format version {content.get('version')}, this release reads "
            f"{VERSION}."
        )


class _Encoder:
    """Turns a result into a tree for JSON, and collects its arrays on the way."""

    def __init__(
        self, arrays: dict[str, Any], omit: Mapping[str, Collection[str]]
    ) -> None:
        self._arrays = arrays
        self._omit = omit

    def encode(self, value: Any, name: str) -> Any:
        """Encode a value that stands at `name`."""
        if value is None or isinstance(value, (bool, str)):
            return value
        if isinstance(value, Enum):
            return {"enum": type(value).__name__, "name": value.name}
        if isinstance(value, (int, float)):
            return value
        if isinstance(value, Tensor):
            self._arrays[name] = value.detach().cpu().numpy()
            return {"array": name}
        if isinstance(value, nx.MultiDiGraph):
            return {"graph": graph_to_dict(value)}
        if is_dataclass(value) and not isinstance(value, type):
            return self._dataclass(value, name)
        if isinstance(value, (tuple, list)):
            items = [self.encode(v, f"{name}.{i}") for i, v in enumerate(value)]
            return {"tuple": items}
        if isinstance(value, dict):
            parts = {k: self.encode(v, f"{name}.{k}") for k, v in value.items()}
            return {"dict": parts}
        raise TypeError(f"Cannot save {name}, a {type(value).__name__}.")

    def _dataclass(self, value: Any, name: str) -> dict[str, Any]:
        kind = type(value).__name__
        names = [
            f.name for f in fields(value) if f.name not in self._omit.get(kind, ())
        ]
        parts = {n: self.encode(getattr(value, n), f"{name}.{n}") for n in names}
        return {"class": kind, "fields": parts}


def _decode(value: Any, archive: Any, types: Mapping[str, Callable[..., Any]]) -> Any:
    if not isinstance(value, dict):
        return value
    if "array" in value:
        return torch.from_numpy(archive[value["array"]])
    if "graph" in value:
        return graph_from_dict(value["graph"])
    if "tuple" in value:
        return tuple(_decode(item, archive, types) for item in value["tuple"])
    if "dict" in value:
        return {k: _decode(v, archive, types) for k, v in value["dict"].items()}
    if "enum" in value:
        return types[value["enum"]][value["name"]]  # type: ignore[index]
    parts = {k: _decode(v, archive, types) for k, v in value["fields"].items()}
    return types[value["class"]](**parts)
