"""What the layers of torch.nn share: weights in float64, boxes, verified bounds."""

from __future__ import annotations

from abc import abstractmethod

import torch

from captum_dynamics._intervals import Ball, Interval, box, constant
from captum_dynamics._typing import Inputs, Jacobians, States
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

    @abstractmethod
    def enclose(self, states: Interval, inputs: Interval) -> Interval:
        """F over boxes of states and inputs."""

    @abstractmethod
    def enclose_jacobians(self, states: Interval, inputs: Interval) -> Ball:
        """J over boxes of states and inputs."""

    @abstractmethod
    def enclose_input_jacobians(self, states: Interval, inputs: Interval) -> Ball:
        """B over boxes of states and inputs."""

    @abstractmethod
    def variation(self, states: Interval, inputs: Interval) -> States:
        """Lipschitz constants (n, d) of the rows of J over a box, in the 1-norm."""

    def interval_step(
        self, low: States, high: States, inputs: Inputs
    ) -> tuple[States, States]:
        new = self.enclose(*boxes(low, high, inputs))
        return new.low, new.high

    def interval_jacobians(
        self, low: States, high: States, inputs: Inputs
    ) -> tuple[Jacobians, Jacobians]:
        return self.enclose_jacobians(*boxes(low, high, inputs)).bounds

    def jacobian_lipschitz(self, low: States, high: States, inputs: Inputs) -> States:
        return self.variation(*boxes(low, high, inputs))


def boxes(low: States, high: States, inputs: Inputs) -> tuple[Interval, Interval]:
    """A box of states, and one input, in float64."""
    return box(low.double(), high.double()), constant(inputs.double())
