"""Switching: a few local linear models, chosen by where the true state is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from sklearn.cluster import KMeans
from torch import Tensor

from captum_dynamics import _checks
from captum_dynamics._typing import PerPoint, States, StateSequences
from captum_dynamics.attr._base import Adjoints, Estimator, FittedEstimator
from captum_dynamics.attr._quadrature import Quadrature
from captum_dynamics.attr._runs import RunPair
from captum_dynamics.attr._segments import Segments

ANCHOR_COUNTS = (1, 2, 5, 10, 20, 40, 64)
"""Numbers of anchors tried where none is given."""

LARGEST_SAMPLE = 20_000
"""Visited states given to k-means; more do not move 64 centres."""


QUADRATURE = Quadrature(atol=1e-12)
"""Splits a step's contribution among features; the sum over steps errs by 1e-10."""


@dataclass(frozen=True)
class Switching(Estimator):
    """Linearize in the state around anchors, and switch between them.

    With j(t) the anchor p_j nearest to the true h_{t-1},

    h_t ~ F(p_j, x_t) + J(p_j, x_t) (h_{t-1} - p_j),    v_{t-1} = J(p_j, x_t)^T v_t,
    a_t = v_t . (F(p_j, x_t) - F(p_j, x*)).

    Nothing is linearized in the input. The contributions and a constant sum to this
    picture's own output, not to the model's: the constant depends on the example, and
    Captum's delta may be large. `DynamicsAttribution.evaluate` reports all of it.

    Args:
        anchors: Number of anchors, found by k-means of visited states; by default the
            smallest of 1, 2, 5, 10, 20, 40 and 64 with which the picture, left to
            itself, predicts the output of the calibration data well enough.
        r2: What well enough means: R^2 of the picture's outputs.

    Raises:
        ValueError: If `anchors` or `r2` is not positive.

    Example:
        >>> from captum_dynamics.attr import Switching
        >>> Switching(anchors=10)
        Switching(anchors=10, r2=0.98)
    """

    anchors: int | None = None
    r2: float = 0.98

    def __post_init__(self) -> None:
        """Refuse settings without a meaning."""
        _checks.check_positive("r2", self.r2)
        if self.anchors is not None:
            _checks.check_positive("anchors", self.anchors)

    def fit(
        self, runs: Iterable[RunPair], generator: torch.Generator
    ) -> FittedEstimator:
        """Place the anchors among the states that the calibration runs visit."""
        kept = list(runs)
        visited = torch.cat([pair.previous_states[pair.mattering] for pair in kept])
        order = torch.randperm(len(visited), generator=generator)[:LARGEST_SAMPLE]
        visited = torch.unique(visited[order.to(visited.device)], dim=0)
        _checks.check_rows("visited states", visited)
        seed = int(torch.randint(2**31 - 1, (1,), generator=generator))
        counts = ANCHOR_COUNTS if self.anchors is None else (self.anchors,)
        picture = _LocalLinear(_centres(visited, counts[0], seed))
        for _, larger in pairwise(counts):
            if _r2(picture, kept) >= self.r2:
                break
            picture = _LocalLinear(_centres(visited, larger, seed))
        return picture


def _centres(states: States, count: int, seed: int) -> Float[Tensor, "m d"]:
    clusters = KMeans(min(count, len(states)), n_init=1, random_state=seed)
    centres = clusters.fit(states.cpu().numpy()).cluster_centers_
    return torch.from_numpy(centres).to(states)


def _r2(picture: _LocalLinear, runs: Sequence[RunPair]) -> float:
    outputs = torch.cat([pair.outputs for pair in runs])
    predicted = torch.cat([picture.outputs(pair) for pair in runs])
    spread = (outputs - outputs.mean()).square().sum()
    return float(1 - (outputs - predicted).square().sum() / spread)


@dataclass(frozen=True, eq=False)
class _LocalLinear(FittedEstimator):
    anchors: States

    def adjoints(self, runs: RunPair) -> Adjoints:
        carried = self._carried(runs)
        segments = self._segments(runs)
        cotangents = carried[:, 1:].flatten(0, 1)
        # J is not averaged here: of the segments, only B is used.
        gradients = QUADRATURE.pull_back(segments, cotangents, segments.changes())
        return Adjoints(carried, gradients[1].view_as(runs.inputs))

    def drives(self, runs: RunPair) -> StateSequences:
        return self._segments(runs).changes().view_as(runs.states)

    def free_run(self, runs: RunPair) -> StateSequences:
        states, visited = runs.initial_states, []
        points = self._nearest(runs)
        for step in range(runs.inputs.shape[1]):
            point, read = points[:, step], runs.inputs[:, step]
            moved = runs.dynamics.jvp(point, read, states - point)
            states = runs.dynamics.step(point, read) + moved
            visited.append(states)
        return torch.stack(visited, dim=1)

    def constants(self, runs: RunPair, adjoints: Adjoints) -> PerPoint:
        points, carried = self._nearest(runs), adjoints.states
        rests = runs.dynamics.step(
            points.flatten(0, 1), runs.baseline_inputs.flatten(0, 1)
        ).view_as(runs.states)
        # v_t J = v_{t-1} - G_{t-1}, and v_0 = v_1 J.
        through = carried[:, :-1].clone()
        through[:, 1:] -= runs.injections[:, :-1]
        along = carried[:, 1:] * rests - through * points
        initial = (carried[:, 0] * runs.initial_states).sum(-1)
        return along.sum((1, 2)) + initial + runs.intercepts

    def outputs(self, runs: RunPair) -> PerPoint:
        """Outputs (n,) of the picture left to itself, without its per-input parts."""
        carried = self._carried(runs)
        adjoints = Adjoints(carried, torch.zeros_like(runs.inputs))
        totals = (carried[:, 1:] * self.drives(runs)).sum((1, 2))
        return totals + self.constants(runs, adjoints)

    def _carried(self, runs: RunPair) -> StateSequences:
        """v_0 to v_T."""
        points = self._nearest(runs)
        carried = [torch.zeros_like(runs.initial_states)]
        for step in reversed(range(runs.inputs.shape[1])):
            carried[-1] = carried[-1] + runs.injections[:, step]
            at = points[:, step], runs.inputs[:, step]
            carried.append(runs.dynamics.vjp(*at, carried[-1])[0])
        return torch.stack(carried[::-1], dim=1)

    def _nearest(self, runs: RunPair) -> StateSequences:
        """p_j(t): the anchor (n, t, d) nearest to the true state before each step."""
        distances = torch.cdist(runs.previous_states.flatten(0, 1), self.anchors)
        nearest: Tensor = self.anchors[distances.argmin(-1)]
        return nearest.view_as(runs.states)

    def _segments(self, runs: RunPair) -> Segments:
        """From (p_j, x*) to (p_j, x_t): only the input moves."""
        points = self._nearest(runs).flatten(0, 1)
        return Segments(
            runs.dynamics,
            points,
            torch.zeros_like(points),
            runs.baseline_inputs.flatten(0, 1),
            runs.input_differences.flatten(0, 1),
        )
