"""nn.RNN, nn.GRU and nn.LSTM: which of their levels and directions make a map."""

from __future__ import annotations

from abc import abstractmethod

from torch import nn

from captum_dynamics.adapters._base import (
    RecurrentAdapter,
    no_direction,
    refuse,
)
from captum_dynamics.adapters._calls import SequenceCalls
from captum_dynamics.adapters._enclosed import EnclosedLayer
from captum_dynamics.adapters._one_system import OneSystemCalls
from captum_dynamics.adapters._stack import Stack
from captum_dynamics.adapters._systems import LayerSystems
from captum_dynamics.adapters._weights import check_sequence_layer

DIRECTIONS = ("forward", "backward")


class SequenceLayer(RecurrentAdapter):
    """A layer of `torch.nn` that reads whole sequences.

    Its levels are one joint map, or one map each. A bidirectional layer has a map for
    each level and direction, and no joint one: a level reads all of the one below.
    """

    @staticmethod
    @abstractmethod
    def build(layer: nn.RNNBase, index: int, *, backward: bool) -> EnclosedLayer:
        """The map of one level, counted from 0, in one direction."""

    @classmethod
    def from_layer(
        cls,
        layer: nn.Module,
        *,
        layer_index: int | None = None,
        direction: str | None = None,
    ) -> RecurrentAdapter:
        given = _checked(layer)
        _check_choice(given, layer_index, direction)
        if not given.bidirectional and (layer_index is None or given.num_layers == 1):
            return cls._joint(given)
        level, backward = layer_index or 0, direction == "backward"
        whole = LayerSystems(given, cls._all_systems(given))
        adapter = whole.systems[level][backward]
        adapter.calls = OneSystemCalls(whole, level, backward=backward)
        return adapter

    @classmethod
    def whole_layer(cls, layer: nn.Module, model: nn.Module) -> RecurrentAdapter:
        given = _checked(layer)
        if given.bidirectional:
            return LayerSystems(given, cls._all_systems(given))
        return cls._joint(given)

    @classmethod
    def _joint(cls, layer: nn.RNNBase) -> RecurrentAdapter:
        levels = tuple(level[0] for level in cls._all_systems(layer))
        adapter = levels[0] if len(levels) == 1 else Stack(levels)
        adapter.calls = SequenceCalls(layer)
        return adapter

    @classmethod
    def _all_systems(cls, layer: nn.RNNBase) -> tuple[tuple[EnclosedLayer, ...], ...]:
        directions = (False, True) if layer.bidirectional else (False,)
        return tuple(
            tuple(cls.build(layer, index, backward=b) for b in directions)
            for index in range(layer.num_layers)
        )


def _checked(layer: nn.Module) -> nn.RNNBase:
    if not isinstance(layer, nn.RNNBase):
        raise TypeError(
            f"Expected a torch.nn sequence layer, got {type(layer).__name__}."
        )
    check_sequence_layer(layer)
    return layer


def _check_choice(
    layer: nn.RNNBase, layer_index: int | None, direction: str | None
) -> None:
    """Refuse what selects no level, or no direction where there are two."""
    if layer_index is not None and layer_index not in range(layer.num_layers):
        raise ValueError(
            f"Expected `layer_index` between 0 and {layer.num_layers - 1}, got "
            f"{layer_index}."
        )
    if not layer.bidirectional:
        if direction is not None:
            raise no_direction(type(layer).__name__, direction)
        return
    if direction is None:
        raise refuse(
            layer,
            "it is bidirectional, two systems of which one runs backwards in time; "
            'say which with `captum_dynamics.adapt(..., direction="forward")` or '
            '"backward".',
        )
    if direction not in DIRECTIONS:
        raise ValueError(
            f'Expected `direction` to be "forward" or "backward", got {direction!r}.'
        )
    if layer_index is None and layer.num_layers > 1:
        raise ValueError(
            f"Expected `layer_index` between 0 and {layer.num_layers - 1} beside "
            f"`direction`, as each level of a bidirectional stack reads both "
            f"directions of the level below, got None."
        )
