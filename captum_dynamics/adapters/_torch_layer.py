"""What the layers of torch.nn share: weights in float64, and boxes of their states."""

from __future__ import annotations

import torch
from torch import Tensor

from captum_dynamics._typing import Inputs, States
from captum_dynamics.adapters._closed_form import ClosedFormLayer
from captum_dynamics.adapters._weights import Weights
from captum_dynamics.dynamics import Traits


class TorchLayer(ClosedFormLayer):
    """A layer of `torch.nn`: its state starts with the output h, `output_dim` wide."""

    traits = Traits(float32=True)

    def __init__(self, weights: Weights) -> None:
        """Take the weights, gates in PyTorch's order."""
        self._weights = weights
        self._single = weights.to(torch.float32)

    @property
    def input_dim(self) -> int:
        return self._weights.inputs.shape[1]

    @property
    def device(self) -> torch.device:
        return self._weights.inputs.device

    def weights_like(self, states: Tensor) -> Weights:
        """The weights in the dtype of `states`."""
        if states.dtype == torch.float64:
            return self._weights
        if states.dtype == torch.float32:
            return self._single
        return self._weights.to(states.dtype)

    def invariant_box(self, inputs: Inputs) -> tuple[States, States] | None:
        return self.state_box(inputs, inputs)
