"""What an estimator is: how the dynamics along a run are made linear."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from captum_dynamics._typing import InputSequences, PerPoint, StateSequences
from captum_dynamics.attr._host import Steps
from captum_dynamics.attr._runs import RunPair


@dataclass(frozen=True, eq=False)
class Adjoints:
    """How the output depends on states and inputs in a linear picture of a run.

    Attributes:
        states: v_0 to v_T, (n, times, d), with one time more than steps.
        inputs: v_t B_t, (n, t, k).
    """

    states: Float[Tensor, "n times d"]
    inputs: InputSequences


class Picture(ABC):
    """A linear picture of a layer's runs, fitted."""

    @abstractmethod
    def adjoints(self, runs: RunPair) -> Adjoints:
        """Carry the readout back in time: v_{t-1} = A_t^T v_t + G_{t-1}."""

    @abstractmethod
    def free_outputs(self, runs: RunPair) -> PerPoint:
        """Outputs (n,) of the picture left to itself."""

    @abstractmethod
    def constants(self, runs: RunPair, adjoints: Adjoints) -> PerPoint:
        """The part of the picture's output that no input adds, (n,)."""

    @abstractmethod
    def system(
        self, runs: RunPair, *, backward: bool
    ) -> tuple[FittedEstimator, RunPair]:
        """Picture and runs of a map that reads the layer's inputs, in one direction."""


class FittedEstimator(Picture):
    """A linear picture of one map: h_t = A_t h_{t-1} + u_t + constants."""

    @abstractmethod
    def gradients(self, runs: RunPair, cotangents: StateSequences) -> InputSequences:
        """Pull cotangents v_t (n, t, d) back to the inputs of their steps: v_t B_t."""

    @abstractmethod
    def drives(self, runs: RunPair) -> StateSequences:
        """What each input adds to the state of its step: u_t, (n, t, d)."""

    @abstractmethod
    def free_run(self, runs: RunPair) -> StateSequences:
        """States (n, t, d) of the linear picture, left to itself from h_0."""

    def free_outputs(self, runs: RunPair) -> PerPoint:
        return runs.intercepts + (runs.injections * self.free_run(runs)).sum((1, 2))

    def system(
        self, runs: RunPair, *, backward: bool
    ) -> tuple[FittedEstimator, RunPair]:
        return self, runs


@dataclass(frozen=True)
class Estimator(ABC):
    """Settings of a linear picture; a frozen dataclass with `fit`."""

    @abstractmethod
    def fit(
        self, runs: Iterable[RunPair], generator: torch.Generator
    ) -> FittedEstimator:
        """Fit the picture to calibration runs, which are made only if iterated."""


def calibrating_steps(runs: Sequence[RunPair]) -> list[Steps]:
    """Steps (n, t) of each pair by which to fit: those that matter, if any does.

    Where the output reads no state, contributions are zero whatever the fit.
    """
    found = [pair.mattering for pair in runs]
    if any(bool(steps.any()) for steps in found):
        return found
    return [torch.ones_like(steps) for steps in found]
