"""A linear recurrent layer, h' = W x + U h + b: what the others are compared with."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from captum_dynamics import _checks
from captum_dynamics._typing import InputSequences, StateSequences
from captum_dynamics.models._recurrence import FinalStates, run_layer


class LinearRNN(nn.Module):
    """A recurrent layer without a nonlinearity, called as a batch-first `nn.RNN` is.

    What such a layer reaches on a task needs no more than a bag of words and its
    positions: each input adds a vector, whatever came before.

    Attributes:
        weight_ih_l0: (hidden_size, input_size).
        weight_hh_l0: (hidden_size, hidden_size).
        bias_ih_l0: (hidden_size,).
        bias_hh_l0: (hidden_size,); the equation adds both biases.

    Args:
        input_size: width k of an input.
        hidden_size: units d.

    Raises:
        ValueError: if a size is not a whole number above zero, or inputs are not
            sequences (n, t, k) of at least one step.

    Example:
        >>> layer = LinearRNN(3, 4)
        >>> states, last = layer(torch.zeros(2, 7, 3))
        >>> states.shape, last.shape
        (torch.Size([2, 7, 4]), torch.Size([1, 2, 4]))
    """

    batch_first = True
    bidirectional = False
    num_layers = 1
    weight_ih_l0: Tensor
    weight_hh_l0: Tensor
    bias_ih_l0: Tensor
    bias_hh_l0: Tensor

    def __init__(self, input_size: int, hidden_size: int) -> None:
        """Draw initial weights as torch's own layers do."""
        super().__init__()
        self.input_size = _checks.check_count("input_size", input_size)
        self.hidden_size = _checks.check_count("hidden_size", hidden_size)
        shapes = {
            "weight_ih_l0": (hidden_size, input_size),
            "weight_hh_l0": (hidden_size, hidden_size),
            "bias_ih_l0": (hidden_size,),
            "bias_hh_l0": (hidden_size,),
        }
        for name, shape in shapes.items():
            self.register_parameter(name, nn.Parameter(torch.empty(shape)))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new initial weights."""
        bound = 1 / math.sqrt(self.hidden_size)
        for weight in self.parameters():
            nn.init.uniform_(weight, -bound, bound)

    def forward(
        self, input: InputSequences, hx: FinalStates | None = None
    ) -> tuple[StateSequences, FinalStates]:
        """Read sequences (n, t, k) from states (1, n, d), zero by default.

        Returns:
            States after every step (n, t, d), and those after the last (1, n, d).
        """
        return run_layer(
            self, input, hx, lambda read, h: torch.addmm(read, h, self.weight_hh_l0.mT)
        )
