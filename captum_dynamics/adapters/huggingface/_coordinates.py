"""How the tensors of a cache are the flat state of a map."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from captum_dynamics._typing import States
from captum_dynamics.adapters.huggingface._decoding import Held
from captum_dynamics.adapters.huggingface._slots import Path
from captum_dynamics.layout import StateLayout

Tensors = Mapping[Path, Tensor]


class Coordinates(ABC):
    """States (n, d) from the tensors of a cache, and back."""

    layout: StateLayout

    @abstractmethod
    def flat(self, tensors: Tensors) -> States:
        """The state (n, d) in tensors whose rows are in front."""

    @abstractmethod
    def tensors(self, states: States) -> dict[Path, Tensor]:
        """The tensors, rows in front, of states (n, d)."""


class OwnCoordinates(Coordinates):
    """Every tensor is a block as it is."""

    def __init__(self, held: Sequence[Held]) -> None:
        """Name the blocks after the places of their tensors."""
        self._paths = [h.path for h in held]
        names = block_names(self._paths)
        self.layout = StateLayout.of(
            {name: h.shape or 1 for name, h in zip(names, held, strict=True)}
        )
        self._shapes = [h.shape for h in held]

    def flat(self, tensors: Tensors) -> States:
        return torch.cat([tensors[path].flatten(1) for path in self._paths], dim=-1)

    def tensors(self, states: States) -> dict[Path, Tensor]:
        parts = self.layout.split(states).values()
        return {
            path: part.reshape(len(states), *shape)
            for path, part, shape in zip(self._paths, parts, self._shapes, strict=True)
        }


def block_names(paths: Sequence[Path]) -> list[str]:
    """Short names of what stands at paths: "conv", "recurrent", of several with layer.

    Of a stack the first whole number of a path is the layer.
    """
    kinds = [_kind(path) for path in paths]
    several = [path for path in paths if kinds.count(_kind(path)) > 1]
    names = [
        f"{kind}{_layer(path)}" if path in several else kind
        for kind, path in zip(kinds, paths, strict=True)
    ]
    seen: Counter[str] = Counter()
    unique = []
    for name in names:
        seen[name] += 1
        unique.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return unique


def layer_order(held: Sequence[Held]) -> list[Held]:
    """Tensors by layer, as far as their places tell."""
    return sorted(held, key=lambda h: int(_layer(h.path) or 0))


def _kind(path: Path) -> str:
    named = [key for key in path if isinstance(key, str)]
    last = named[-1].lower() if named else ""
    if "conv" in last:
        return "conv"
    return "recurrent" if re.search("recurrent|ssm|linear", last) else "state"


def _layer(path: Path) -> str:
    return next((str(key) for key in path[1:] if isinstance(key, int)), "")
