"""Switching: a few local linear models, chosen by where the true state is."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

from captum_dynamics import _checks
from captum_dynamics._typing import (
    InputSequences,
    Mask,
    PerPoint,
    States,
    StateSequences,
)
from captum_dynamics.attr._base import (
    Adjoints,
    Estimator,
    FittedEstimator,
    calibrating_steps,
)
from captum_dynamics.attr._quadrature import Quadrature
from captum_dynamics.attr._runs import RunPair
from captum_dynamics.attr._step_ends import StepEnds
from captum_dynamics.attr._unitwise_steps import averaged_steps
from captum_dynamics.attr.faithfulness import r2
from captum_dynamics.exceptions import AttributionWarning

ANCHOR_COUNTS = (1, 2, 5, 10, 20, 40, 64)
"""Numbers of anchors tried where none is given."""

FEWEST_TO_SPLIT = 4
"""Examples of which each half still has two, whose outputs can differ."""

LARGEST_SAMPLE = 20_000
"""Visited states given to k-means; more do not move 64 centres."""


QUADRATURE = Quadrature(atol=1e-12)
"""Splits a step's contribution among features; the sum over steps errs by 1e-10."""

ONE_NODE = Quadrature(nodes=1, max_nodes=1, max_pieces=1)
"""For segments that do not move: J at a point."""


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
            itself, predicts outputs well enough. Anchors placed by either half of the
            calibration examples are judged by the other half, then placed by all.
            Fewer than four examples are not divided: the number may be too small then.
        r2: What well enough means: R^2 of the picture's outputs.

    Raises:
        ValueError: If `anchors` or `r2` is not positive.

    Warns:
        AttributionWarning: When fitted, if no number of anchors is enough; 64 are used.

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
        count = self.anchors
        if count is None:
            count = _enough_anchors(kept, self.r2, generator)
        return next(_fitted(kept, [count], generator))


def _enough_anchors(
    runs: Sequence[RunPair], wanted: float, generator: torch.Generator
) -> int:
    """Smallest number with which anchors placed by each half predict the other."""
    first, second = _halves(runs, generator)
    placed_by_first = _fitted(first, ANCHOR_COUNTS, generator)
    placed_by_second = _fitted(second, ANCHOR_COUNTS, generator)
    reached = math.nan
    for count in ANCHOR_COUNTS:
        scores = _r2(next(placed_by_first), second), _r2(next(placed_by_second), first)
        reached = float(np.min(scores))  # NaN where one of them is
        if reached >= wanted:
            return count
    undefined = "undefined, as outputs are all equal,"
    told = undefined if math.isnan(reached) else f"{reached:.3f}"
    warnings.warn(
        f"R^2 of outputs by which anchors were not placed is {told} with the "
        f"{ANCHOR_COUNTS[-1]} anchors that are tried at most; `r2` asks for {wanted}. "
        f"Give more calibration data, or `anchors`.",
        AttributionWarning,
        stacklevel=4,
    )
    return ANCHOR_COUNTS[-1]


def _halves(
    runs: Sequence[RunPair], generator: torch.Generator
) -> tuple[Sequence[RunPair], Sequence[RunPair]]:
    """Two halves of the examples; twice all of them if there are too few."""
    # An output that reads no state has nothing to place an anchor by.
    mattering = torch.cat([pair.mattering.any(1) for pair in runs])
    examples = torch.nonzero(mattering)[:, 0]
    if len(examples) < FEWEST_TO_SPLIT:
        return runs, runs
    order = torch.randperm(len(examples), generator=generator).to(examples.device)
    half = torch.zeros_like(mattering)
    half[examples[order[: len(examples) // 2]]] = True
    return _selected(runs, half), _selected(runs, mattering & ~half)


def _selected(runs: Sequence[RunPair], examples: Mask) -> list[RunPair]:
    parts = torch.split(examples, [len(pair) for pair in runs])
    return [pair[rows] for pair, rows in zip(runs, parts, strict=True) if rows.any()]


def _r2(picture: _LocalLinear, runs: Sequence[RunPair]) -> float:
    outputs = torch.cat([pair.outputs for pair in runs])
    return r2(outputs, torch.cat([picture.outputs(pair) for pair in runs]))


def _fitted(
    runs: Sequence[RunPair], counts: Sequence[int], generator: torch.Generator
) -> Iterator[_LocalLinear]:
    """Pictures with so many anchors each, among the states that runs visit."""
    chosen = zip(runs, calibrating_steps(runs), strict=True)
    visited = torch.cat([pair.previous_states[steps] for pair, steps in chosen])
    order = torch.randperm(len(visited), generator=generator)[:LARGEST_SAMPLE]
    visited = torch.unique(visited[order.to(visited.device)], dim=0)
    seed = int(torch.randint(2**31 - 1, (1,), generator=generator))
    return (_LocalLinear(_centres(visited, count, seed)) for count in counts)


def _centres(states: States, count: int, seed: int) -> Float[Tensor, "m d"]:
    clusters = KMeans(min(count, len(states)), n_init=1, random_state=seed)
    with warnings.catch_warnings():
        # Fewer different states than anchors: some anchors are then the same.
        warnings.simplefilter("ignore", ConvergenceWarning)
        centres = clusters.fit(states.cpu().numpy()).cluster_centers_
    return torch.from_numpy(centres).to(states)


@dataclass(frozen=True, eq=False)
class _LocalLinear(FittedEstimator):
    anchors: States

    def adjoints(self, runs: RunPair) -> Adjoints:
        carried = self._carried(runs)
        return Adjoints(carried, self.gradients(runs, carried[:, 1:]))

    def gradients(self, runs: RunPair, cotangents: StateSequences) -> InputSequences:
        # J is not averaged here: of the segments, only B is used.
        steps = averaged_steps(self._reading(runs), QUADRATURE)
        return steps.gradients(cotangents)[0]

    def drives(self, runs: RunPair) -> StateSequences:
        return self._reading(runs).changes()

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
        steps = averaged_steps(StepEnds.at(runs, self._nearest(runs)), ONE_NODE)
        return steps.adjoints(runs.injections)[0].states

    def _nearest(self, runs: RunPair) -> StateSequences:
        """p_j(t): the anchor (n, t, d) nearest to the true state before each step."""
        distances = torch.cdist(runs.previous_states.flatten(0, 1), self.anchors)
        nearest: Tensor = self.anchors[distances.argmin(-1)]
        return nearest.view_as(runs.states)

    def _reading(self, runs: RunPair) -> StepEnds:
        """From (p_j, x*) to (p_j, x_t): only the input moves."""
        return StepEnds.reading(runs, self._nearest(runs))
