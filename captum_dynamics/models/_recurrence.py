"""Running a layer of one level step by step, as torch runs its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from captum_dynamics._typing import InputSequences, States, StateSequences

FinalStates = Float[Tensor, "1 n d"]


def run_layer(
    layer: Any,
    inputs: InputSequences,
    initial: FinalStates | None,
    step: Callable[[Tensor, States], States],
) -> tuple[StateSequences, FinalStates]:
    """Read sequences (n, t, k) from states (1, n, d), zero by default.

    Args:
        layer: has `input_size`, `hidden_size` and torch's four parameters of level 0.
        inputs: sequences of at least one step.
        initial: states before the first step.
        step: the new states, of what was read of an input with both biases (n, rows)
            and of the old states.

    Returns:
        States after every step (n, t, d), and those after the last (1, n, d).
    """
    if inputs.ndim != 3 or inputs.shape[1] == 0:
        raise ValueError(
            f"Expected `input` of shape (n, t, {layer.input_size}) and at least one "
            f"step, got {tuple(inputs.shape)}."
        )
    width = layer.hidden_size
    h = inputs.new_zeros(len(inputs), width) if initial is None else initial[0]
    bias = layer.bias_ih_l0 + layer.bias_hh_l0
    visited = []
    for read in nn.functional.linear(inputs, layer.weight_ih_l0, bias).unbind(1):
        h = step(read, h)
        visited.append(h)
    return torch.stack(visited, dim=1), h[None]
