"""What the layers of torch.nn share: weights in float64, and boxes of their states."""

from __future__ import annotations

import torch

from captum_dynamics._typing import Inputs, States
from captum_dynamics.adapters._base import RecurrentAdapter
from captum_dynamics.adapters._weights import Weights


class TorchLayer(RecurrentAdapter):
    """A layer of `torch.nn`: its state starts with the output h, `output_dim` wide."""

    def __init__(self, weights: Weights) -> None:
        """Take the weights, gates in PyTorch's order."""
        self._weights = weights

    @property
    def input_dim(self) -> int:
        return self._weights.inputs.shape[1]

    @property
    def device(self) -> torch.device:
        return self._weights.inputs.device

    def state_box(
        self, lowest_inputs: Inputs, highest_inputs: Inputs
    ) -> tuple[States, States] | None:
        """Bounds of a box of states mapped into itself by every input of a box."""
        return None

    def invariant_box(self, inputs: Inputs) -> tuple[States, States] | None:
        return self.state_box(inputs, inputs)
