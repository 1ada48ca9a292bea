"""Which adapter reads which layer, and how a layer is found in a model."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

from captum_dynamics.adapters._base import RecurrentAdapter
from captum_dynamics.adapters._plugins import load_plugins
from captum_dynamics.adapters._quantised import (
    dequantised,
    quantised_type,
    refuse_quantised,
)
from captum_dynamics.adapters._scripted import check_scripted, layer_type, rebuilt
from captum_dynamics.adapters._wrappers import (
    check_wrappers,
    dotted_name,
    follow,
    unwrapped,
)
from captum_dynamics.exceptions import AdapterNotFoundError, LayerNotFoundError

# By class, or by the dotted name of one that need not be imported nor installed.
_ADAPTERS: dict[type[nn.Module] | str, type[RecurrentAdapter]] = {}
# What may read layers that nobody registered, by the model that holds them.
_OTHERS: list[type[RecurrentAdapter]] = []
Adapter = TypeVar("Adapter", bound=type[RecurrentAdapter])


def register_adapter(
    *layer_types: type[nn.Module] | str,
) -> Callable[[Adapter], Adapter]:
    """Register an adapter class for layer types and their subclasses.

    Args:
        *layer_types: module classes that the decorated adapter reads. One of another
            package may be given by its name, "package.module.Class", with the module
            that defines it: the package is not imported, nor need it be installed. An
            adapter registered for the class itself goes before one for its name.

    Returns:
        A decorator that registers the class and returns it unchanged.

    Raises:
        ValueError: when a type already has another adapter, or a name is not dotted.
            A class that is defined once more, as by a cell of a notebook that runs
            again, is no other one: it takes the place of the former.

    Example:
        >>> import torch, captum_dynamics as cd
        >>> class Leaky(torch.nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.linear = torch.nn.Linear(3, 3)
        ...     def forward(self, inputs, states):
        ...         return 0.9 * states + 0.1 * torch.tanh(self.linear(states) + inputs)
        >>> @cd.register_adapter(Leaky)
        ... class LeakyAdapter(cd.RecurrentAdapter):
        ...     input_dim = 3
        ...     layout = cd.StateLayout((cd.Block("h", 3),))
        ...     def __init__(self, layer):
        ...         self.weight = layer.linear.weight.detach().double()
        ...         self.bias = layer.linear.bias.detach().double()
        ...     def step(self, states, inputs):
        ...         drive = states @ self.weight.mT + self.bias + inputs
        ...         return 0.9 * states + 0.1 * torch.tanh(drive)
        >>> cd.adapt(Leaky()).state_dim
        3
    """
    for kind in layer_types:
        _check_name(kind)

    def register(adapter: Adapter) -> Adapter:
        for kind in layer_types:
            known = _ADAPTERS.get(kind)
            if known is not None and not _same_definition(known, adapter):
                name = kind if isinstance(kind, str) else kind.__name__
                raise ValueError(
                    f"Expected {name} to have no adapter yet, but "
                    f"{known.__name__} reads it."
                )
            _ADAPTERS[kind] = adapter
        return adapter

    return register


def _same_definition(known: type[object], new: type[object]) -> bool:
    """Whether a class is the other, or that again from the same place."""
    if known is new:
        return True
    place = (known.__module__, known.__qualname__)
    return place == (new.__module__, new.__qualname__)


def register_reader(adapter: Adapter) -> Adapter:
    """Ask an adapter class, by its `can_read`, of layers that nobody registered."""
    _OTHERS.append(adapter)
    return adapter


def list_adapters() -> dict[str, str]:
    """Name of each registered layer type, with the name of its adapter.

    Example:
        >>> import captum_dynamics as cd
        >>> cd.list_adapters()["torch.nn.modules.rnn.GRU"]
        'GRUAdapter'
    """
    named = {name: adapter.__name__ for name, adapter in registered_adapters().items()}
    return dict(sorted(named.items()))


def registered_adapters() -> dict[str, type[RecurrentAdapter]]:
    """Adapter of every registered layer type by dotted name, other packages' too."""
    load_plugins(_ADAPTERS)
    # A class itself goes before its name, here too.
    by_name = {kind: a for kind, a in _ADAPTERS.items() if isinstance(kind, str)}
    by_class = {
        dotted_name(kind): a
        for kind, a in _ADAPTERS.items()
        if not isinstance(kind, str)
    }
    return {**by_name, **by_class}


def adapt(
    model: nn.Module,
    layer: str | nn.Module | None = None,
    *,
    layer_index: int | None = None,
    direction: str | None = None,
    dequantize: bool = False,
    context: Tensor | None = None,
) -> RecurrentAdapter:
    """Turn a recurrent layer into a dynamics map.

    The map is a float64 copy of the layer's equations: later training of the layer
    does not change it, and nothing about the model is changed.

    Args:
        model: the host model, or the recurrent layer itself.
        layer: dotted path of the layer in the model, or the layer. It may be left
            out where `model` is a layer or holds exactly one. A path may leave out
            the wrappers of `torch.compile`, DataParallel and peft.
        layer_index: one layer of a stack, counted from 0; its inputs are the outputs
            of the layer below. Without it a stack is one joint map.
        direction: "forward" or "backward", of a bidirectional layer, which is two
            systems and no joint map. The backward one reads a sequence from its end:
            its first step is the last one. Of a stack give `layer_index` too: each
            level reads both directions of the level below.
        dequantize: read a dynamically quantised layer as the float layer with its
            weights, which it is not: a warning tells how far their outputs differ.
        context: ids (1, t) of the tokens that a Hugging Face model has read before.
            Keys and values that its attention layers keep of them do not change. By
            default they are eight times the token that begins a text.

    Returns:
        The layer's dynamics, with blocks such as "h" and "c" in `layout`.

    Raises:
        LayerNotFoundError: no such path; the message lists the recurrent layers.
        AdapterNotFoundError: nothing registered reads the layer.
        UnsupportedLayerError: the layer's dynamics cannot be read faithfully, or it
            is bidirectional and no `direction` is given.
        ValueError: `layer_index` or `direction` selects nothing of the layer, or
            `dequantize` is asked of one that is not quantised.

    Warns:
        SurrogateWarning: what `dequantize` costs.

    Example:
        >>> import torch, captum_dynamics as cd
        >>> model = torch.nn.ModuleDict({"rnn": torch.nn.GRU(4, 8)})
        >>> cd.adapt(model, "rnn").layout
        StateLayout(blocks=(Block(name='h', size=8),))
        >>> two_way = torch.nn.LSTM(4, 8, bidirectional=True)
        >>> cd.adapt(two_way, direction="backward").state_dim
        16
    """
    found = find_layer(model, layer)
    if dequantize and quantised_type(found) is None:
        raise ValueError(
            f"Expected no `dequantize` for {type(found).__name__}, which is no "
            f"dynamically quantised recurrent layer, got True."
        )
    readable = dequantised(found) if dequantize else _readable(found)
    return _adapter_of(readable, model).from_model(
        model, readable, layer_index=layer_index, direction=direction, context=context
    )


def adapt_all(model: nn.Module) -> dict[str, RecurrentAdapter]:
    """Adapt every recurrent layer of a model.

    A layer that stands at two paths is one layer, and comes with the first. Stacked
    layers are joint maps. A bidirectional layer has no single map: its adapter has
    `one_map` False and holds one map for each level and direction in `systems`.

    Args:
        model: the host model, or a recurrent layer, whose path is then "".

    Returns:
        The adapter of each layer by its path, in the model's own order.

    Raises:
        LayerNotFoundError: the model holds no recurrent layer.
        UnsupportedLayerError: one of the layers cannot be read faithfully.

    Example:
        >>> import torch, captum_dynamics as cd
        >>> layers = {"encoder": torch.nn.LSTM(4, 3), "decoder": torch.nn.GRU(3, 2)}
        >>> found = cd.adapt_all(torch.nn.ModuleDict(layers))
        >>> {path: adapter.state_dim for path, adapter in found.items()}
        {'encoder': 6, 'decoder': 2}
    """
    _check_module(model)
    layers = recurrent_layers(model)
    if not layers:
        raise LayerNotFoundError("`model` has nothing to adapt." + _listing(model))
    single = {path: m for path, m in layers.items() if not _reads_model(m)}
    return {
        path: adapt_whole(find_layer(model, m), model) for path, m in single.items()
    }


def adapt_whole(layer: nn.Module, model: nn.Module | None = None) -> RecurrentAdapter:
    """Adapt a layer with all its directions, which may be more than one map."""
    readable = _readable(layer)
    model = layer if model is None else model
    return _adapter_of(readable, model).whole_layer(readable, model)


def find_layer(model: nn.Module, layer: str | nn.Module | None) -> nn.Module:
    """Find a layer in a model by path, by identity, or because it is the only one."""
    _check_module(model)
    found = unwrapped(_only_layer(model) if layer is None else _find(model, layer))
    check_wrappers(model, found)
    check_scripted(found)
    adapter = registered_for(_kind(found))
    return found if adapter is None else adapter.core(found)


def recurrent_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Paths of the layers in a model that a registered adapter reads.

    A layer within another one is part of it, and often called in a way of its own;
    those of a whole model that is read as one map are layers beside it.
    """
    found: dict[str, nn.Module] = {}
    layers: list[str] = []
    for path, module in model.named_modules():
        inner = any(not top or path.startswith(f"{top}.") for top in layers)
        if not inner and registered_for(_kind(module)) is not None:
            found[path] = module
            layers += [] if _reads_model(module) else [path]
    return found


def _find(model: nn.Module, layer: str | nn.Module) -> nn.Module:
    if isinstance(layer, nn.Module):
        inner = unwrapped(layer)
        if all(module is not inner for module in model.modules()):
            raise LayerNotFoundError(
                f"The given {type(layer).__name__} is not part of `model`."
                + _listing(model)
            )
        return layer
    if not isinstance(layer, str):
        raise TypeError(
            f"Expected `layer` to be a path or a module, got {type(layer).__name__}."
        )
    found = follow(model, layer)
    if found is None:
        raise LayerNotFoundError(
            f"`model` has no layer at {layer!r}." + _listing(model)
        )
    return found


def _only_layer(model: nn.Module) -> nn.Module:
    found = recurrent_layers(model)
    if "" in found or not found:
        return model
    outermost, module = next(iter(found.items()))
    if _reads_model(module) and all(p.startswith(outermost) for p in found):
        return module
    if len(found) > 1:
        raise LayerNotFoundError("Say which `layer` to read." + _listing(model))
    return next(iter(found.values()))


def _listing(model: nn.Module) -> str:
    found = recurrent_layers(model)
    if not found:
        return " It holds no recurrent layer that a registered adapter reads."
    rows = (f"{path!r} ({_kind(m).__name__})" for path, m in found.items())
    return f" Its recurrent layers: {', '.join(rows)}."


def registered_for(layer_type: type[nn.Module]) -> type[RecurrentAdapter] | None:
    """The adapter class for a layer type or the nearest of its bases, if any."""
    load_plugins(_ADAPTERS)
    for base in layer_type.__mro__:
        for known in (base, dotted_name(base)):
            if known in _ADAPTERS:
                return _ADAPTERS[known]
    return None


def _adapter_of(layer: nn.Module, model: nn.Module) -> type[RecurrentAdapter]:
    kind = type(layer)
    adapter = registered_for(kind)
    if adapter is None:
        others = (other for other in _OTHERS if other.can_read(model, layer))
        adapter = next(others, None)
    if adapter is None:
        raise AdapterNotFoundError(
            f"No adapter reads {kind.__name__}. Register one with "
            f"`@captum_dynamics.register_adapter({kind.__name__})`, or wrap its step "
            f"with `captum_dynamics.FunctionAdapter`."
        )
    return adapter


def _reads_model(module: nn.Module) -> bool:
    adapter = registered_for(_kind(module))
    return adapter is not None and adapter.of_model


def _check_name(kind: type[nn.Module] | str) -> None:
    if not isinstance(kind, str):
        return
    parts = kind.split(".")
    if len(parts) < 2 or not all(part.isidentifier() for part in parts):
        raise ValueError(
            f"Expected `layer_types` to be classes or dotted names such as "
            f'"package.module.Class", got {kind!r}.'
        )


def _check_module(model: nn.Module) -> None:
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"Expected `model` to be a torch.nn.Module, got {type(model).__name__}."
        )


def _kind(module: nn.Module) -> type[nn.Module]:
    """The class whose adapter reads a module: that from which it was compiled."""
    return quantised_type(module) or layer_type(module)


def _readable(layer: nn.Module) -> nn.Module:
    """The layer, or one like it whose settings and weights can be read."""
    refuse_quantised(layer)
    return rebuilt(layer) if isinstance(layer, torch.jit.ScriptModule) else layer
