"""Steps whose states have a form of their own, as steps of flat states."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from captum_dynamics.layout import Block, StateLayout

Shape = int | tuple[int, ...]
StateForm = Shape | Mapping[str, Shape] | StateLayout
"""Width or shape of one block, shapes of named ones, or a layout of flat states."""

Flat = Callable[[Tensor, Tensor], Tensor]


def flat_step(step: Callable[[Any, Tensor], Any], state: StateForm) -> Flat:
    """The step as one of flat states, whatever form its states have.

    A shape gives it tensors (n, *shape), a mapping of shapes dicts of such tensors.
    """
    if isinstance(state, (int, StateLayout)):
        return step
    layout = layout_of(state)
    if isinstance(state, Mapping):
        return lambda h, x: layout.flatten(step(layout.unflatten(h), x))

    def shaped(h: Tensor, x: Tensor) -> Tensor:
        (name,) = layout.names
        return layout.flatten({name: step(layout.unflatten(h)[name], x)})

    return shaped


def layout_of(state: StateForm) -> StateLayout:
    """The layout of a state given by its form; a single block is "h"."""
    if isinstance(state, StateLayout):
        return state
    if isinstance(state, int):
        return StateLayout((Block("h", state),))
    shapes = state if isinstance(state, Mapping) else {"h": state}
    return StateLayout.of(shapes)
