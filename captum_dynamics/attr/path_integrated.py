"""PathIntegrated: Jacobians averaged between two runs, complete by construction."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from captum_dynamics._typing import InputSequences, PerPoint, StateSequences
from captum_dynamics.attr._base import Adjoints, Estimator, FittedEstimator
from captum_dynamics.attr._pieces import warn_of_gaps
from captum_dynamics.attr._quadrature import Quadrature
from captum_dynamics.attr._runs import RunPair
from captum_dynamics.attr._segment_steps import SegmentSteps
from captum_dynamics.attr._step_ends import StepEnds
from captum_dynamics.attr._unitwise_steps import UnitwiseSteps, averaged_steps


@dataclass(frozen=True)
class PathIntegrated(Estimator):
    """Average the Jacobians of each step along the segment between two runs.

    h_t - h^b_t = Jbar_t (h_{t-1} - h^b_{t-1}) + Bbar_t (x_t - x^b_t) then holds, and
    the contributions sum to F(x) - F(baseline), to rounding. Nothing is fitted.
    Integrated Gradients averages the same derivatives along one global path instead.

    Where the map has a `unitwise_form`, as the layers of torch.nn have, only slopes of
    single units are averaged: exactly those of a ReLU, others until every coordinate
    of every step's equation holds. Each layer of a stack has a segment of its own, from
    what it reads in one run to what it reads in the other. For other maps the equation
    is checked along v, and a way with kinks is cut into pieces. What is missed is in
    the convergence delta, and a warning says how much.

    Args:
        nodes: Gauss-Legendre nodes of a step's average at first; they are doubled
            where the step's equation does not yet hold and more nodes would help.
        max_nodes: nodes of a piece at most.
        atol: largest error of that equation, for each piece of a step, in units of
            1 + |h_t - h^b_t|. By default 1e-10 for models in float64, and 1e-7 where
            the model's own outputs are rounded to float32 or less.
        max_pieces: a step is cut no further once so many pieces were made of it. A
            ReLU layer needs one for each unit that is on in one of the two runs only,
            stacked ones a few times as many.

    Raises:
        ValueError: If a setting is not positive, or `max_nodes` is below `nodes`.

    Example:
        >>> from captum_dynamics.attr import PathIntegrated
        >>> PathIntegrated(atol=1e-6)
        PathIntegrated(nodes=5, max_nodes=40, atol=1e-06, max_pieces=1024)
    """

    nodes: int = 5
    max_nodes: int = 40
    atol: float | None = None
    max_pieces: int = 1024

    def __post_init__(self) -> None:
        """Refuse settings without a meaning."""
        self.quadrature(torch.float64)

    def quadrature(self, precision: torch.dtype) -> Quadrature:
        """How segments are averaged, for outputs of some precision."""
        atol = self.atol
        if atol is None:
            atol = 1e-10 if precision == torch.float64 else 1e-7
        return Quadrature(self.nodes, self.max_nodes, atol, self.max_pieces)

    def fit(
        self,
        runs: Iterable[RunPair],
        generator: torch.Generator,
    ) -> FittedEstimator:
        """Return the picture: nothing has to be fitted."""
        return _AveragedJacobians(self)


@dataclass(frozen=True, eq=False)
class _AveragedJacobians(FittedEstimator):
    settings: PathIntegrated

    def adjoints(self, runs: RunPair) -> Adjoints:
        adjoints, missing = self._steps(runs).adjoints(runs.injections)
        _warn(runs, missing)
        return adjoints

    def gradients(self, runs: RunPair, cotangents: StateSequences) -> InputSequences:
        gradients, missing = self._steps(runs).gradients(cotangents)
        _warn(runs, missing)
        return gradients

    def drives(self, runs: RunPair) -> StateSequences:
        return self._steps(runs).drives()

    def free_run(self, runs: RunPair) -> StateSequences:
        return runs.states

    def constants(self, runs: RunPair, adjoints: Adjoints) -> PerPoint:
        initial = runs.initial_states - runs.baseline_initial_states
        baseline = (runs.injections * runs.baseline_states).sum((1, 2))
        return runs.intercepts + baseline + (adjoints.states[:, 0] * initial).sum(-1)

    def _steps(self, runs: RunPair) -> UnitwiseSteps | SegmentSteps:
        quadrature = self.settings.quadrature(runs.precision)
        return averaged_steps(StepEnds.between(runs), quadrature)


def _warn(runs: RunPair, unexplained: PerPoint) -> None:
    remedy = "A larger `max_pieces` of `PathIntegrated` lowers it."
    warn_of_gaps("layer", unexplained, runs.outputs - runs.baseline_outputs, remedy)
