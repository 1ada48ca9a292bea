"""Layers whose steps and Jacobians are bounded over boxes, for certificates."""

from __future__ import annotations

from abc import abstractmethod

from captum_dynamics._intervals import Ball, Interval, box, constant
from captum_dynamics._typing import Inputs, Jacobians, States
from captum_dynamics.adapters._torch_layer import TorchLayer


class EnclosedLayer(TorchLayer):
    """A layer of `torch.nn` with verified bounds of F, J and B."""

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
