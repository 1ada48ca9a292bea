"""The survey and its result."""

from __future__ import annotations

import warnings
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from captum_dynamics import _checks
from captum_dynamics._execution import BUDGET
from captum_dynamics._typing import GivenInputs, Inputs, OtherStates
from captum_dynamics.completeness import (
    CompletenessReport,
    Verdict,
    assess_completeness,
    row_keys,
)
from captum_dynamics.dynamics import DynamicsMap
from captum_dynamics.exceptions import ConvergenceWarning
from captum_dynamics.fixed_points import Q_SLOW, FixedPoints
from captum_dynamics.long_runs import follow_runs
from captum_dynamics.recording import Trajectories
from captum_dynamics.solvers import Solver
from captum_dynamics.survey._checkpoint import Checkpoint
from captum_dynamics.survey._problem import Problem, Settings, owners_of, pose
from captum_dynamics.survey._rounds import Progress, Starts, absorb, begin, next_round

LONG_RUNS = 128  # followed under each input that has no attracting point


@dataclass(frozen=True, eq=False)
class Survey:
    """Distinct fixed points under each of several constant inputs.

    Attributes:
        points: the points under all inputs. `multiplicity` counts the random starts
            that ended there; 0 was met only from a start placed on purpose.
        inputs: the constant inputs (m, k), as they were given.
        reports: how far the points under each input can be trusted to be all.
        starts: searches under all inputs together.
    """

    points: FixedPoints
    inputs: Inputs
    reports: tuple[CompletenessReport, ...]
    starts: int

    def __len__(self) -> int:
        """Number of inputs."""
        return len(self.inputs)

    def at(self, row: int) -> FixedPoints:
        """The points under one input."""
        return self.points[(self.points.inputs == self.inputs[row]).all(1)]

    def summary(self) -> str:
        """One input: its report. Several: how many have which verdict."""
        if len(self) == 1:
            return self.reports[0].summary()
        lines = [f"{len(self.points)} fixed points, {self.starts} starts"]
        for verdict in Verdict:
            counts = [r.points for r in self.reports if r.verdict == verdict]
            if counts:
                lines.append(
                    f"{verdict.name.lower()}: {len(counts)} of {len(self)} inputs, "
                    f"with {_span(counts)} each"
                )
        restless = sum(report.is_restless for report in self.reports)
        if restless:
            lines.append(
                f"no stable fixed point under {restless} of {len(self)} inputs"
            )
        return "\n".join(lines)


@torch.no_grad()
def survey_fixed_points(
    dynamics: DynamicsMap,
    runs: Trajectories | OtherStates,
    inputs: GivenInputs,
    *,
    solver: Solver | None = None,
    first_starts: int = 32,
    max_starts: int = 1024,
    q_slow: float = Q_SLOW,
    generator: torch.Generator | None = None,
    executor: Executor | None = None,
    budget: int = BUDGET,
    checkpoint: str | Path | None = None,
    show_progress: bool = False,
) -> Survey:
    """Search for fixed points until nothing new turns up, and say what that is worth.

    Random starts double from round to round. An input is let go when a doubling
    brought no new point and the indices of its points add up to 1; where they need
    not, when two doublings did not. From the second round on, searches also start
    between known points, from those of the nearest other input, and once from visited
    states far apart. Where no point attracts, long runs are followed to cycles. A
    search proves no set complete; `reports` say what speaks for it.

    Args:
        dynamics: the map.
        runs: what the model visits, from `record`, or visited states (m, d).
        inputs: the inputs to hold constant, (m, k), or one of them, (k,).
        solver: how to search; by default as `find_fixed_points` does.
        first_starts: random starts of the first round, for each input.
        max_starts: random starts after which an input is let go, saturated or not.
        q_slow: speed below which a point that is not fixed counts as slow.
        generator: source of randomness. The random starts of an input follow from its
            seed and from the input, not from what other inputs are surveyed.
        executor: workers that share the starts, as in `find_fixed_points`.
        budget: bytes that the search may hold at once, on each worker.
        checkpoint: file (.npz) to keep the state of the survey in after every round;
            where it exists, the survey goes on from it, to the same result.
        show_progress: show a progress bar over searches.

    Returns:
        Distinct fixed points, and one report for each row of `inputs`.

    Raises:
        FileFormatError: when the checkpoint is truncated or no checkpoint.
        ValueError: when it is one of another survey; no state or input; shapes,
            devices or values that do not fit.

    Warns:
        ConvergenceWarning: when no search under any input found a fixed point.

    Example:
        >>> import torch, captum_dynamics as cd
        >>> box = -torch.ones(2), torch.ones(2)
        >>> switches = cd.FunctionAdapter(
        ...     lambda h, x: torch.tanh(2 * h), 2, 0, box=box
        ... )
        >>> generator = torch.Generator().manual_seed(0)
        >>> visited = 2 * torch.rand(50, 2, generator=generator) - 1
        >>> survey = cd.survey_fixed_points(
        ...     switches, visited, torch.zeros(1, 0), generator=generator
        ... )
        >>> len(survey.points), survey.reports[0].verdict.name
        (9, 'SATURATED')
    """
    visited = _visited(dynamics, runs)
    given = _given(dynamics, inputs)
    store = Checkpoint(checkpoint)
    seed = _seed(generator, store)
    settings = Settings(solver, first_starts, max_starts, q_slow, budget, seed)
    problem = pose(dynamics, visited, given, settings, executor)
    progress = store.load(problem) if store.exists else begin(problem)
    store.save(problem, progress)
    bar: tqdm[Any]
    with tqdm(desc="Survey", unit=" searches", disable=not show_progress) as bar:
        while bool(progress.active.any()):
            progress = next_round(problem, progress)
            store.save(problem, progress)
            bar.update(int(progress.endings.sum()) - bar.n)
            bar.set_postfix(points=len(progress.known), open=int(progress.active.sum()))
    return _conclude(problem, progress, given)


def _span(counts: list[int]) -> str:
    """The numbers of points of several inputs, such as "1 to 3 points"."""
    few, many = min(counts), max(counts)
    span = f"{few}" if few == many else f"{few} to {many}"
    return f"{span} point" if many == 1 else f"{span} points"


def _visited(dynamics: DynamicsMap, runs: Trajectories | OtherStates) -> OtherStates:
    states = runs.states[runs.valid] if isinstance(runs, Trajectories) else runs
    _checks.check_matrix("runs", states, dynamics.state_dim, dynamics.device)
    _checks.check_rows("runs", states)
    return states.detach().to(dynamics.dtype)


def _given(dynamics: DynamicsMap, inputs: GivenInputs) -> Inputs:
    _checks.check_floating("inputs", inputs)
    matrix = inputs[None] if inputs.ndim == 1 else inputs
    _checks.check_matrix("inputs", matrix, dynamics.input_dim, dynamics.device)
    _checks.check_rows("inputs", matrix)
    return matrix.detach().to(dynamics.dtype)


def _seed(generator: torch.Generator | None, store: Checkpoint) -> int:
    """Of the generator; without one, of the survey that is resumed, or at random."""
    if generator is None and store.exists:
        return store.seed()
    return int(torch.randint(2**62, (1,), generator=generator))


def _conclude(problem: Problem, progress: Progress, given: Inputs) -> Survey:
    """Follow long runs where no point attracts, and report on every given input."""
    reports = _assess(problem, progress)
    runs = {
        row: follow_runs(
            problem.dynamics,
            problem.random_starts(row, LONG_RUNS, problem.generator(row, "long runs")),
            problem.inputs[row : row + 1],
        )
        for row, report in enumerate(reports)
        if not report.attractors
    }
    ends = [(row, state) for row, ended in runs.items() for state in ended.resting]
    if ends:
        # Runs rest where no search ended, or at points that attract by no proof.
        progress = _absorb_ends(problem, progress, ends)
        reports = _assess(problem, progress)
    reports = tuple(
        replace(report, long_runs=runs.get(row, report.long_runs))
        for row, report in enumerate(reports)
    )
    if not len(progress.known):
        _warn_none(problem, progress)
    rows = {key: row for row, key in enumerate(row_keys(problem.inputs))}
    return Survey(
        problem.with_inputs(progress.known),
        given,
        tuple(reports[rows[key]] for key in row_keys(given)),
        int(progress.endings.sum()),
    )


def _assess(problem: Problem, progress: Progress) -> tuple[CompletenessReport, ...]:
    return assess_completeness(
        problem.dynamics,
        problem.with_inputs(progress.known),
        problem.inputs,
        endings=progress.endings,
        saturated=progress.saturated,
    )


def _absorb_ends(
    problem: Problem, progress: Progress, ends: list[tuple[int, Tensor]]
) -> Progress:
    states = torch.stack([state for _, state in ends])
    owners = torch.tensor([row for row, _ in ends], device=states.device)
    moved = absorb(
        problem, progress, [Starts(states, owners, torch.zeros_like(owners).bool())]
    )
    surprised = owners_of(moved.known)[moved.fresh]
    return replace(
        moved, saturated=moved.saturated.index_fill(0, surprised, value=False)
    )


def _warn_none(problem: Problem, progress: Progress) -> None:
    warnings.warn(
        f"None of {int(progress.endings.sum())} searches under {len(problem)} inputs "
        f"found a fixed point: try `runs` from elsewhere, another `solver`, or "
        f"`find_slow_points`.",
        ConvergenceWarning,
        stacklevel=5,
    )
