"""What a survey searches: the map, its distinct inputs, and where starts come from."""

from __future__ import annotations

import hashlib
from concurrent.futures import Executor
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from captum_dynamics import _checks
from captum_dynamics._execution import row_chunks
from captum_dynamics._typing import Counts, FewStates, Inputs, OtherStates, States
from captum_dynamics.completeness import row_keys
from captum_dynamics.dynamics import DynamicsMap
from captum_dynamics.fixed_points import FixedPoints, mix_states
from captum_dynamics.solvers import Solver
from captum_dynamics.spreading import farthest_points

WIDENING = 0.25  # of the box of visited states, on each side
LARGEST_SAMPLE = 4096  # visited states, among which states far apart are looked for


@dataclass(frozen=True)
class Settings:
    """How to search.

    Attributes:
        solver: the method; None for that of `find_fixed_points`.
        first_starts: random starts of the first round, for each input.
        max_starts: random starts of all rounds, for each input.
        q_slow: speed below which a point that is not fixed counts as slow.
        budget: bytes that one search may hold at once.
        seed: what all random choices follow from.
    """

    solver: Solver | None
    first_starts: int
    max_starts: int
    q_slow: float
    budget: int
    seed: int

    def __post_init__(self) -> None:
        """Refuse settings no search can meet."""
        _checks.check_positive("first_starts", self.first_starts)
        _checks.check_positive("max_starts", self.max_starts)
        _checks.check_positive("q_slow", self.q_slow)
        _checks.check_positive("budget", self.budget)


@dataclass(frozen=True, eq=False)
class Problem:
    """One survey.

    Attributes:
        dynamics: the map.
        visited: states (m, d) that the map visits in use.
        apart: some visited states, far from each other.
        inputs: distinct constant inputs (n, k).
        low: lower corner (n, d) of the box that uniform starts fill, for each input.
        high: its upper corner.
        neighbours: row (n,) of the nearest other input; its own where there is none.
        settings: how to search.
        executor: workers that share the searches, or None.
    """

    dynamics: DynamicsMap
    visited: OtherStates
    apart: FewStates
    inputs: Inputs
    low: States
    high: States
    neighbours: Counts
    settings: Settings
    executor: Executor | None

    def __len__(self) -> int:
        """Number of distinct inputs."""
        return len(self.inputs)

    def generator(self, row: int, stage: str) -> torch.Generator:
        """Randomness of one input at one stage, whatever other inputs there are."""
        label = f"{self.settings.seed}:{stage}:".encode()
        label += row_keys(self.inputs[row : row + 1])[0]
        digest = hashlib.blake2b(label, digest_size=8).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest, "big") >> 1)

    def random_starts(
        self, row: int, count: int, generator: torch.Generator
    ) -> OtherStates:
        """Draw starts: 3/4 mixtures of visited states, 1/4 uniform in the box."""
        starts = mix_states(self.visited, count, generator=generator)
        shape = (count // 4, self.dynamics.state_dim)
        shares = torch.rand(shape, generator=generator, dtype=torch.float64)
        low, high = self.low[row], self.high[row]
        starts[count - len(shares) :] = low + (high - low) * shares.to(starts)
        return starts

    def with_inputs(self, points: FixedPoints) -> FixedPoints:
        """Points that carry the row of their input in its place, with that input."""
        return replace(points, inputs=self.inputs[owners_of(points)])


def pose(
    dynamics: DynamicsMap,
    visited: OtherStates,
    inputs: Inputs,
    settings: Settings,
    executor: Executor | None,
) -> Problem:
    """Set up a survey of each distinct input."""
    first_rows = dict(reversed([(key, i) for i, key in enumerate(row_keys(inputs))]))
    distinct = inputs[sorted(first_rows.values())]
    low, high = _boxes(dynamics, visited, distinct)
    sample = visited[:: -(-len(visited) // LARGEST_SAMPLE)]
    apart = sample[farthest_points(sample, -(-settings.first_starts // 2))]
    neighbours = _nearest_others(distinct)
    return Problem(
        dynamics, visited, apart, distinct, low, high, neighbours, settings, executor
    )


def owners_of(points: FixedPoints) -> Counts:
    """Row of the input of each point (n,), which `inputs` holds during a survey."""
    return points.inputs[:, 0].long()


def owned(points: FixedPoints, owners: Counts) -> FixedPoints:
    """Points with the row of their input in its place: cheap to compare and to sort."""
    return replace(points, inputs=owners[:, None].to(points.states))


def _boxes(
    dynamics: DynamicsMap, visited: OtherStates, inputs: Inputs
) -> tuple[States, States]:
    """The invariant box where it is bounded, else that of visited states, widened."""
    low, high = visited.min(0).values, visited.max(0).values
    margin = WIDENING * (high - low)
    shape = (len(inputs), visited.shape[1])
    low, high = (low - margin).expand(shape), (high + margin).expand(shape)
    box = dynamics.invariant_box(inputs)
    if box is None:
        return low, high
    bounded = torch.isfinite(box[0]) & torch.isfinite(box[1])
    return torch.where(bounded, box[0], low), torch.where(bounded, box[1], high)


def _nearest_others(inputs: Inputs) -> Counts:
    nearest = torch.arange(len(inputs), device=inputs.device)
    if len(inputs) < 2:
        return nearest
    parts: list[Tensor] = []
    for rows in row_chunks(len(inputs), 2 * 8 * len(inputs)):
        distances = torch.cdist(inputs[rows], inputs)
        distances[torch.arange(len(distances)), nearest[rows]] = torch.inf
        parts.append(distances.argmin(1))
    return torch.cat(parts)
