"""Frozen results as one .npz file: arrays beside one JSON text, no pickle."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Mapping
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


def to_archive(result: Any, path: str | Path) -> Path:
    """Write a frozen dataclass, with all that it holds, to one file.

    Args:
        result: a dataclass of tensors, numbers, texts, enums, networkx graphs, tuples,
            dicts with text keys, and further such dataclasses.
        path: the file; ".npz" is appended where it has no such ending.

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
    tree = _encode(result, "result", arrays)
    content = {"format": FORMAT, "version": VERSION, "result": tree}
    # A zip of .npy files is what numpy calls npz; the text goes in as bytes.
    text = np.frombuffer(json.dumps(content).encode(), dtype=np.uint8)
    with target.open("wb") as file:
        np.savez_compressed(file, **{_CONTENT: text}, **arrays)  # type: ignore[arg-type]
    return target


def from_archive(path: str | Path, types: Mapping[str, type]) -> Any:
    """Read what `to_archive` wrote.

    Args:
        path: the file.
        types: the dataclasses and enums that the file may hold, by name.

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


def _encode(value: Any, name: str, arrays: dict[str, Any]) -> Any:
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, Enum):
        return {"enum": type(value).__name__, "name": value.name}
    if isinstance(value, (int, float)):
        return value
    if isinstance(value, Tensor):
        arrays[name] = value.detach().cpu().numpy()
        return {"array": name}
    if isinstance(value, nx.MultiDiGraph):
        return {"graph": graph_to_dict(value)}
    if is_dataclass(value) and not isinstance(value, type):
        parts = {
            field.name: _encode(
                getattr(value, field.name), f"{name}.{field.name}", arrays
            )
            for field in fields(value)
        }
        return {"class": type(value).__name__, "fields": parts}
    if isinstance(value, (tuple, list)):
        items = [_encode(v, f"{name}.{i}", arrays) for i, v in enumerate(value)]
        return {"tuple": items}
    if isinstance(value, dict):
        return {
            "dict": {k: _encode(v, f"{name}.{k}", arrays) for k, v in value.items()}
        }
    raise TypeError(f"Cannot save {name}, a {type(value).__name__}.")


def _decode(value: Any, archive: Any, types: Mapping[str, type]) -> Any:
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
