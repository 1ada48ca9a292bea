"""The rounds of a survey: search, merge, and let go of inputs that ran dry."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from captum_dynamics._execution import row_chunks
from captum_dynamics._typing import Counts, Mask, OtherStates, States
from captum_dynamics.completeness import audit_indices
from captum_dynamics.exceptions import ConvergenceWarning
from captum_dynamics.fixed_points import FixedPoints, Kind, find_fixed_points
from captum_dynamics.survey._problem import Problem, owned, owners_of

# Added to the multiplicity of points that are known: what merges with one is not new.
KNOWN = 2**40

# Quiet doublings that end a search where the indices add up to 1. Where they need not,
# one doubling missed a point of a ReLU net in 4 of 100 surveys; two, in none.
CHECKED_DOUBLINGS = 1
UNCHECKED_DOUBLINGS = 2
NEVER = 2**40


@dataclass(frozen=True, eq=False)
class Progress:
    """A survey between two rounds.

    Attributes:
        rounds: rounds done.
        known: distinct fixed points, sorted by the row of their input, which stands in
            the place of the input. `multiplicity` counts random starts only.
        fresh: which of them the last round brought.
        endings: (m, 4) searches under each input that ended as each `Kind`.
        quiet: (m,) whole doublings in a row that brought nothing new.
        active: (m,) inputs that are still searched.
        saturated: (m,) inputs that were let go because they ran dry.
    """

    rounds: int
    known: FixedPoints
    fresh: Mask
    endings: Int[Tensor, "m kinds"]
    quiet: Int[Tensor, " m"]
    active: Bool[Tensor, " m"]
    saturated: Bool[Tensor, " m"]


@dataclass(frozen=True, eq=False)
class Starts:
    """States to search from, the row of the input of each, and which are random."""

    states: States
    owners: Counts
    random: Mask


def begin(problem: Problem) -> Progress:
    """Nothing known, every input to be searched."""
    none = torch.zeros(len(problem), dtype=torch.long, device=problem.inputs.device)
    known = _no_points(problem)
    endings = torch.zeros(len(problem), len(Kind), dtype=torch.long, device=none.device)
    return Progress(0, known, known.degenerate, endings, none, none == 0, none != 0)


def next_round(problem: Problem, progress: Progress) -> Progress:
    """Search from one more batch of starts under every active input."""
    before, total = (_total(problem, progress.rounds + ahead) for ahead in (0, 1))
    rows = torch.nonzero(progress.active)[:, 0].tolist()
    # One chunk, unless the starts of all inputs are too many for the memory.
    bytes_per_input = 3 * (total - before) * 6 * 8 * problem.dynamics.state_dim
    batches = (
        _place(problem, progress, rows[chunk], total - before)
        for chunk in row_chunks(len(rows), bytes_per_input)
    )
    moved = absorb(problem, progress, batches)
    is_doubling = before > 0 and total == 2 * before
    quiet = torch.where(_silent(problem, moved) & is_doubling, moved.quiet + 1, 0)
    dry = moved.active & (quiet >= _patience(problem, moved))
    return replace(
        moved,
        rounds=progress.rounds + 1,
        quiet=quiet,
        active=moved.active & ~dry & (total < problem.settings.max_starts),
        saturated=moved.saturated | dry,
    )


def absorb(problem: Problem, progress: Progress, batches: Iterable[Starts]) -> Progress:
    """Search from further starts, and merge what they find with what is known."""
    old = progress.known
    parts = [replace(old, multiplicity=old.multiplicity + KNOWN)]
    endings = progress.endings.clone()
    for starts in batches:
        found = _search(problem, starts)
        endings.index_put_(
            (starts.owners, found.kind), torch.ones_like(found.kind), accumulate=True
        )
        counted = replace(found, multiplicity=starts.random.to(found.multiplicity))
        fixed = owned(counted, starts.owners)[found.kind == Kind.FIXED]
        parts.append(fixed.unique())
    merged = FixedPoints.concatenate(parts).unique()
    merged = merged[owners_of(merged).argsort(stable=True)]
    return replace(
        progress,
        known=replace(merged, multiplicity=merged.multiplicity % KNOWN),
        fresh=merged.multiplicity < KNOWN,
        endings=endings,
    )


def _total(problem: Problem, rounds: int) -> int:
    """Random starts of each input after so many rounds: they double in each."""
    if rounds == 0:
        return 0
    settings = problem.settings
    return min(settings.first_starts << (rounds - 1), settings.max_starts)


def _search(problem: Problem, starts: Starts) -> FixedPoints:
    with warnings.catch_warnings():
        # That one batch failed is no news; the survey says so when all of them did.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return find_fixed_points(
            problem.dynamics,
            starts.states,
            problem.inputs[starts.owners],
            solver=problem.settings.solver,
            q_slow=problem.settings.q_slow,
            executor=problem.executor,
            budget=problem.settings.budget,
        )


def _silent(problem: Problem, progress: Progress) -> Tensor:
    """Inputs (m,) that have points, but no new ones."""
    owners = owners_of(progress.known)
    count = torch.bincount(owners, minlength=len(problem))
    news = torch.bincount(owners[progress.fresh], minlength=len(problem))
    return (count > 0) & (news == 0)


def _patience(problem: Problem, progress: Progress) -> Tensor:
    """Quiet doublings (m,) after which an input has run dry."""
    owners = owners_of(progress.known)
    audited = progress.active[owners]
    points, owners = problem.with_inputs(progress.known[audited]), owners[audited]
    sums, objections = audit_indices(problem.dynamics, points, owners, problem.inputs)
    exempt = torch.tensor([bool(text) for text in objections], device=sums.device)
    patience = torch.where(exempt, UNCHECKED_DOUBLINGS, CHECKED_DOUBLINGS)
    return torch.where(exempt | (sums == 1), patience, NEVER)


def _place(problem: Problem, progress: Progress, rows: list[int], batch: int) -> Starts:
    """Random starts for each input, midpoints of its points, its neighbour's points.

    Only what the last round brought is passed on, and never more than the batch. The
    second round starts from visited states far apart, too: attractors are visited, and
    a mixture of visited states lies near none of them.
    """
    counts = torch.bincount(owners_of(progress.known), minlength=len(problem)).tolist()
    states = torch.split(progress.known.states, counts)
    fresh = torch.split(progress.fresh, counts)
    neighbours = problem.neighbours.tolist()
    parts, owners, random = [], [], []
    for row in rows:
        generator = problem.generator(row, f"round {progress.rounds}")
        drawn = problem.random_starts(row, batch, generator)
        between = _midpoints(states[row], fresh[row], batch, generator)
        beside = neighbours[row]
        passed = states[beside][fresh[beside] & (beside != row)][:batch]
        apart = problem.apart if progress.rounds == 1 else problem.apart[:0]
        parts += [drawn, between, apart, passed]
        size = len(drawn) + len(between) + len(apart) + len(passed)
        owners += [torch.full((size,), row)]
        random += [torch.arange(size) < len(drawn)]
    device = problem.inputs.device
    return Starts(
        torch.cat(parts), torch.cat(owners).to(device), torch.cat(random).to(device)
    )


def _midpoints(
    states: OtherStates, fresh: Tensor, most: int, generator: torch.Generator
) -> Tensor:
    """Middles (k, d) of pairs of states with a fresh one; random pairs if too many."""
    pairs = torch.combinations(torch.arange(len(states), device=states.device))
    pairs = pairs[fresh[pairs].any(1)]
    if len(pairs) > most:
        pairs = pairs[torch.randperm(len(pairs), generator=generator)[:most]]
    return states[pairs].mean(1)


def _no_points(problem: Problem) -> FixedPoints:
    states = problem.visited[:0]
    none = torch.zeros(0, dtype=torch.long, device=states.device)
    return FixedPoints(
        states=states,
        inputs=states[:, :1],
        residual_norms=states[:, 0],
        status=none,
        kind=none,
        steps=none,
        multiplicity=none,
        merge_radii=states[:, 0],
        degenerate=none > 0,
    )
