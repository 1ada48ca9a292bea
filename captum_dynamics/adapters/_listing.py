"""What is registered, and what of it would read the layers of a model."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from importlib import metadata
from typing import Any

from torch import nn

from captum_dynamics.adapters._base import RecurrentAdapter
from captum_dynamics.adapters._registry import (
    adapt,
    recurrent_layers,
    registered_adapters,
    registered_for,
)
from captum_dynamics.dynamics import Traits
from captum_dynamics.layout import StateLayout

# Names by which authors call recurrent modules, and the state that these are given.
_NAMES = re.compile(r"RNN|Rnn|GRU|Gru|LSTM|Lstm|Recurrent|Cell$|SSM|Mamba|Reservoir")
_STATES = {"hx", "h", "h0", "h_0", "h_prev", "hidden", "hidden_state", "state"}
_STATES |= {"states", "prev_state", "initial_state", "carry"}
# How a layer may have to be asked for: whole, by direction, and by level too.
_WAYS: tuple[dict[str, Any], ...] = (
    {},
    {"direction": "forward"},
    {"layer_index": 0, "direction": "forward"},
)


@dataclass(frozen=True)
class AdapterInfo:
    """One registered layer type.

    Attributes:
        layer: dotted name of the layer type.
        adapter: name of the adapter class.
        package: distribution that the layer comes from.
        installed: version of it that is installed; "" where it is not.
        supported: versions the adapter is made for, such as "torch>=2.2", or "".
        traits: what every such map is; a layer's settings may add to it.
    """

    layer: str
    adapter: str
    package: str
    installed: str
    supported: str
    traits: tuple[str, ...]


@dataclass(frozen=True)
class LayerReading:
    """What one layer of a model is read as, or why it is not.

    Attributes:
        path: dotted path in the model; "" for the model itself.
        kind: name of the layer's class.
        adapter: name of the adapter class; "" where the layer is refused.
        arguments: what `adapt` needs besides the path, as code.
        layout: blocks of the state; none where the layer is refused.
        input_dim: width of one input.
        traits: what is known of the map.
        reason: why the layer is refused, and what to do; "" where it is read.
    """

    path: str
    kind: str
    adapter: str
    arguments: str
    layout: StateLayout
    input_dim: int
    traits: tuple[str, ...]
    reason: str


def describe_adapters() -> tuple[AdapterInfo, ...]:
    """Say of every registered layer type for which versions it is read, and as what.

    Example:
        >>> from captum_dynamics.adapters import describe_adapters
        >>> gru = [a for a in describe_adapters() if a.layer.endswith(".GRU")][0]
        >>> gru.adapter, gru.package, "float64" in gru.traits
        ('GRUAdapter', 'torch', True)
    """
    found = []
    for layer, adapter in registered_adapters().items():
        package = layer.partition(".")[0]
        info = AdapterInfo(
            layer,
            adapter.__name__,
            package,
            _installed(package),
            adapter.supported or _required(package),
            _trait_names(adapter.traits),
        )
        found.append(info)
    return tuple(sorted(found, key=lambda info: info.layer))


def inspect_layers(model: nn.Module) -> tuple[LayerReading, ...]:
    """Say of each recurrent layer of a model how it is read, or why it is refused.

    Layers that no adapter is registered for are listed where their name, or a state
    among the arguments of `forward`, shows that they are recurrent.

    Args:
        model: any module; it is not called, and left as it is.

    Returns:
        One reading a layer, in the order of `model.named_modules()`.

    Example:
        >>> import torch
        >>> from captum_dynamics.adapters import inspect_layers
        >>> model = torch.nn.ModuleDict({"rnn": torch.nn.GRU(4, 8)})
        >>> [(r.path, r.adapter, r.layout.size) for r in inspect_layers(model)]
        [('rnn', 'GRUAdapter', 8)]
    """
    known = recurrent_layers(model)
    whole = {path: module for path, module in known.items() if _is_model(module)}
    layers = {path: module for path, module in known.items() if path not in whole}
    others = {
        path: module
        for path, module in model.named_modules()
        if _looks_recurrent(module) and path not in known and not _within(path, known)
    }
    candidates = {*known, *others}
    listed = {
        *(path for path in whole if not _within(path, whole)),
        *(path for path in layers if not _within(path, layers)),
        *(path for path in others if not _holds(path, candidates)),
    }
    return tuple(_readings(model, listed))


def _readings(model: nn.Module, listed: set[str]) -> Iterator[LayerReading]:
    """Read each layer; of layers alike that take a run of the model, one."""
    read: dict[object, LayerReading] = {}
    for path, module in model.named_modules():
        if path not in listed:
            continue
        adapter = registered_for(type(module))
        if adapter is None or not adapter.runs_model:
            yield _reading(path, module, module)
            continue
        alike = type(module), tuple(p.shape for p in module.parameters())
        if alike not in read:
            read[alike] = _reading(path, model, module)
        yield replace(read[alike], path=path)


def _reading(path: str, model: nn.Module, module: nn.Module) -> LayerReading:
    reason = ""
    for way in _WAYS:
        try:
            adapter = adapt(model, module, **way)
        except Exception as error:  # whatever an adapter says of it is the answer
            reason = reason or " ".join(str(error).split()) or type(error).__name__
            continue
        return _read_as(path, module, adapter, way)
    return LayerReading(path, _kind(module), "", "", StateLayout(()), 0, (), reason)


def _is_model(module: nn.Module) -> bool:
    adapter = registered_for(type(module))
    return adapter is not None and adapter.of_model


def _read_as(
    path: str, module: nn.Module, adapter: RecurrentAdapter, way: dict[str, Any]
) -> LayerReading:
    return LayerReading(
        path,
        _kind(module),
        _adapter_name(module, adapter),
        ", ".join(f"{name}={value!r}" for name, value in way.items()),
        adapter.layout,
        adapter.input_dim,
        _trait_names(adapter.traits),
        "",
    )


def _adapter_name(module: nn.Module, adapter: RecurrentAdapter) -> str:
    """Name of the registered class, which may give a map of another one."""
    return (registered_for(type(module)) or type(adapter)).__name__


def _looks_recurrent(module: nn.Module) -> bool:
    if _NAMES.search(_kind(module)):
        return True
    try:
        named = inspect.signature(module.forward).parameters
    except (TypeError, ValueError):  # compiled code has no signature
        return False
    return not _STATES.isdisjoint(named)


def _kind(module: nn.Module) -> str:
    """Class of a module; of a scripted one, that of its source."""
    return str(getattr(module, "original_name", type(module).__name__))


def _within(path: str, outer: dict[str, nn.Module]) -> bool:
    """Whether a path lies inside another one's module."""
    return any(path != top and (not top or _below(path, top)) for top in outer)


def _holds(path: str, candidates: set[str]) -> bool:
    return any(p != path and (not path or _below(p, path)) for p in candidates)


def _below(path: str, top: str) -> bool:
    return path.startswith(f"{top}.")


def _trait_names(traits: Traits) -> tuple[str, ...]:
    return tuple(f.name for f in fields(traits) if getattr(traits, f.name))


def _installed(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _required(package: str) -> str:
    """What this package's own metadata asks of another, such as "torch>=2.2"."""
    try:
        lines = metadata.requires("captum-dynamics") or []
    except metadata.PackageNotFoundError:
        return ""
    names = (line.partition(";")[0].strip() for line in lines)
    asked = (n for n in names if re.match(rf"{re.escape(package)}\W", n, re.IGNORECASE))
    return next(asked, "")
