"""PathIntegrated: Jacobians averaged between two runs, complete by construction."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from captum_dynamics._typing import InputSequences, PerPoint, States, StateSequences
from captum_dynamics.attr._base import Adjoints, Estimator, FittedEstimator
from captum_dynamics.attr._pieces import warn_of_gaps
from captum_dynamics.attr._quadrature import Quadrature
from captum_dynamics.attr._runs import RunPair
from captum_dynamics.attr._segments import Segments


@dataclass(frozen=True)
class PathIntegrated(Estimator):
    """Average the Jacobians of each step along the segment between two runs.

    h_t - h^b_t = Jbar_t (h_{t-1} - h^b_{t-1}) + Bbar_t (x_t - x^b_t) then holds, and
    the contributions sum to F(x) - F(baseline), to rounding for smooth layers. Across
    the kinks of a ReLU an average converges slowly; what it misses is in the
    convergence delta, and a warning says how much. Nothing is fitted. Integrated
    Gradients averages the same derivatives along one global path instead.

    Args:
        nodes: Gauss-Legendre nodes of a step's average at first; they are doubled
            where the step's equation does not yet hold and more nodes would help.
        max_nodes: nodes of a piece at most.
        atol: largest error of that equation, for each piece of a step, in units of
            1 + |h_t - h^b_t|. For models in float32, 1e-7 gives the same attributions
            in half the time.
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
    atol: float = 1e-10
    max_pieces: int = 1024

    def __post_init__(self) -> None:
        """Refuse settings without a meaning."""
        self.quadrature  # noqa: B018

    @property
    def quadrature(self) -> Quadrature:
        """How segments are averaged."""
        return Quadrature(self.nodes, self.max_nodes, self.atol, self.max_pieces)

    def fit(
        self,
        runs: Iterable[RunPair],
        generator: torch.Generator,
    ) -> FittedEstimator:
        """Return the picture: nothing has to be fitted."""
        return _AveragedJacobians(self.quadrature)


@dataclass(frozen=True, eq=False)
class _AveragedJacobians(FittedEstimator):
    quadrature: Quadrature

    def adjoints(self, runs: RunPair) -> Adjoints:
        segments, changes = _segments(runs)
        rows, steps = runs.inputs.shape[:2]
        all_rows = torch.arange(rows * steps, device=runs.inputs.device)
        gradients = torch.zeros_like(runs.inputs)
        carried = [torch.zeros_like(runs.initial_states)]
        unexplained = torch.zeros_like(runs.outputs)
        for step in reversed(range(steps)):
            carried[-1] = carried[-1] + runs.injections[:, step]
            of_step = all_rows[step::steps]
            back, gradients[:, step], missing = self.quadrature.pull_back(
                segments[of_step], carried[-1], changes[of_step]
            )
            carried.append(back)
            unexplained += missing
        _warn(runs, unexplained)
        return Adjoints(torch.stack(carried[::-1], dim=1), gradients)

    def gradients(self, runs: RunPair, cotangents: StateSequences) -> InputSequences:
        segments, changes = _segments(runs)
        _, gradients, missing = self.quadrature.pull_back(
            segments, cotangents.flatten(0, 1), changes
        )
        _warn(runs, missing.view(cotangents.shape[:2]).sum(1))
        return gradients.view_as(runs.inputs)

    def drives(self, runs: RunPair) -> StateSequences:
        segments, changes = _segments(runs)
        return self.quadrature.drives(segments, changes).view_as(runs.states)

    def free_run(self, runs: RunPair) -> StateSequences:
        return runs.states

    def constants(self, runs: RunPair, adjoints: Adjoints) -> PerPoint:
        initial = runs.initial_states - runs.baseline_initial_states
        baseline = (runs.injections * runs.baseline_states).sum((1, 2))
        return runs.intercepts + baseline + (adjoints.states[:, 0] * initial).sum(-1)


def _warn(runs: RunPair, unexplained: PerPoint) -> None:
    remedy = "A larger `max_pieces` of `PathIntegrated` lowers it."
    warn_of_gaps("layer", unexplained, runs.outputs - runs.baseline_outputs, remedy)


def _segments(runs: RunPair) -> tuple[Segments, States]:
    """The n t steps as rows, and how far each takes the two runs apart."""
    before = runs.previous_baseline_states
    segments = Segments(
        runs.dynamics,
        before.flatten(0, 1),
        (runs.previous_states - before).flatten(0, 1),
        runs.baseline_inputs.flatten(0, 1),
        runs.input_differences.flatten(0, 1),
    )
    return segments, (runs.states - runs.baseline_states).flatten(0, 1)
