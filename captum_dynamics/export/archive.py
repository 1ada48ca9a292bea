"""Frozen results as one .npz file: arrays beside one JSON text, no pickle."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import networkx as nx
import numpy as np
import torch
from jaxtyping import jaxtyped
from torch import Tensor

from captum_dynamics.exceptions import FileFormatError
from captum_dynamics.export.graph import graph_from_dict, graph_to_dict

FORMAT = "captum_dynamics archive"
VERSION = 2
LARGEST = 8 * 2**30  # bytes; a hundred points of 2,000 states take half of it
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


def from_archive(
    path: str | Path,
    types: Mapping[str, Callable[..., Any]],
    *,
    max_bytes: int = LARGEST,
) -> Any:
    """Read what `to_archive` wrote.

    Every dataclass is checked against its annotations: types, and the shapes of its
    tensors against each other.

    Args:
        path: the file.
        types: by name, the enums that the file may hold, and what makes a dataclass
            from the fields that were written.
        max_bytes: bytes that the file may unpack to.

    Returns:
        The result, with tensors on the CPU.

    Raises:
        OSError: when the file cannot be read; FileNotFoundError when there is none.
        FileFormatError: for a damaged, foreign or newer file, or too large a one.
    """
    # From memory: numpy leaves a truncated file open.
    stored = Path(path).read_bytes()
    try:
        with np.load(io.BytesIO(stored), allow_pickle=False) as archive:
            _check_size(sum(i.file_size for i in archive.zip.infolist()), max_bytes)
            arrays = {name: archive[name] for name in archive.files}
        content = json.loads(arrays.pop(_CONTENT).tobytes().decode())
        _check_header(content)
        return _decode(content["result"], arrays, types)
    except FileFormatError as error:
        raise FileFormatError(f"{path} {error}") from None
    # Zip, numpy and JSON answer damage with errors of any kind: all mean the file.
    except Exception as error:
        raise FileFormatError(
            f"{path} is damaged or was not written by captum_dynamics: {error!r}."
        ) from error


def _check_size(size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise FileFormatError(
            f"unpacks to {size:,} bytes, got `max_bytes` of {max_bytes:,}; raise it if "
            f"you trust the file."
        )


def _check_header(content: Any) -> None:
    if content.get("format") != FORMAT:
        raise FileFormatError("was not written by captum_dynamics.")
    if content.get("version") != VERSION:
        raise FileFormatError(
            f"has format version {content.get('version')}, this release reads "
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


def _decode(
    value: Any, arrays: Mapping[str, Any], types: Mapping[str, Callable[..., Any]]
) -> Any:
    if not isinstance(value, dict):
        return value
    if "array" in value:
        return torch.from_numpy(arrays[value["array"]])
    if "graph" in value:
        return graph_from_dict(value["graph"])
    if "tuple" in value:
        return tuple(_decode(item, arrays, types) for item in value["tuple"])
    if "dict" in value:
        return {k: _decode(v, arrays, types) for k, v in value["dict"].items()}
    if "enum" in value:
        return types[value["enum"]][value["name"]]  # type: ignore[index]
    parts = {k: _decode(v, arrays, types) for k, v in value["fields"].items()}
    make = types[value["class"]]
    _check_fields(value["class"], get_type_hints(make), parts)
    return make(**parts)


def _check_fields(
    name: str, hints: Mapping[str, Any], parts: Mapping[str, Any]
) -> None:
    """Refuse parts of another type, or whose sizes contradict each other."""
    with jaxtyped("context"):  # a letter has one size
        for field, value in parts.items():
            if not _fits(value, hints[field]):
                shape = f" of shape {tuple(value.shape)}" * isinstance(value, Tensor)
                raise FileFormatError(
                    f"holds a {name} whose {field!r} does not fit: a "
                    f"{type(value).__name__}{shape}."
                )


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value is of a type, with the types of its items and the shape."""
    kind, inner = get_origin(hint) or hint, get_args(hint)
    if kind is UnionType:  # X | None
        return any(_fits(value, member) for member in inner)
    if kind is tuple:  # tuple[X, ...]
        return isinstance(value, tuple) and all(_fits(v, inner[0]) for v in value)
    if kind is dict:
        return isinstance(value, dict) and all(
            _fits(item, inner[1]) for item in value.values()
        )
    return isinstance(value, (int, float) if kind is float else kind)
