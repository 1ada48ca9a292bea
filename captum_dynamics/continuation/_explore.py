"""All branches that start at given points, and those that cross them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch

from captum_dynamics._execution import progress
from captum_dynamics.continuation._arclength import Place, with_tangent
from captum_dynamics.continuation._branches import Branch, EventKind
from captum_dynamics.continuation._locate import Located
from captum_dynamics.continuation._path import OnePlace, Path
from captum_dynamics.continuation._switching import switch
from captum_dynamics.continuation._trace import Pace, Trace, follow, same_place

FIRST_STEP = 0.01  # away from a branch point
ALONG = 0.99  # cosine above which two directions at a branch point are one
LEADING = 6  # multipliers kept of each state


def explore(
    path: Path,
    starts: Sequence[Place],
    pace: Pace,
    most_new: int,
    show_progress: bool,
) -> tuple[list[Branch], int]:
    """Follow every start, then the curves that cross at the branch points met.

    Returns the branches, and the number of branch points left without their crossing.
    """
    shown = progress(starts, show=show_progress, desc="Branches")
    traces = [follow(path, first, pace) for first in shown]
    untried: list[OnePlace] = []
    for row, at in _branch_points(traces):
        left_out = not at.tangents
        for direction in _both_ways(at):
            if _is_known(traces, at.z, direction):
                continue
            room = len(traces) - len(starts) < most_new
            new = _cross(path, at.z, direction, pace, row) if room else None
            if new is None:
                left_out = True
            else:
                traces.append(new)
        if left_out and not any(same_place(at.z, z) for z in untried):
            untried.append(at.z)
    found = [_branch(path, trace, row) for row, trace in enumerate(traces)]
    return found, len(untried)


def _branch_points(traces: list[Trace]) -> Iterator[tuple[int, Located]]:
    """The branch points of each branch in its turn, while branches are added."""
    for row, trace in enumerate(traces):
        for at in trace.located:
            if at.event.kind == EventKind.BRANCH_POINT:
                yield row, at


def _both_ways(at: Located) -> Iterator[OnePlace]:
    """The two directions of the curve that crosses, where its tangent is known."""
    for tangent in at.tangents[1:]:
        yield tangent
        yield -tangent


def _cross(
    path: Path, z: OnePlace, direction: OnePlace, pace: Pace, parent: int
) -> Trace | None:
    """Follow the other curve from a branch point, in one of its directions."""
    step = min(FIRST_STEP, pace.max_step)
    first = switch(path, z, direction, step, pace.atol)
    if first is None:
        return None
    origin = with_tangent(path, z, direction)
    return replace(follow(path, first, pace, origin=origin), parent=parent)


def _is_known(traces: Sequence[Trace], z: OnePlace, direction: OnePlace) -> bool:
    """Whether a branch leaves or passes this branch point in this direction."""
    return any(
        same_place(place, z) and float(taken @ direction) > ALONG
        for trace in traces
        for place, taken in _taken(trace)
    )


def _taken(trace: Trace) -> Iterator[tuple[OnePlace, OnePlace]]:
    if trace.origin is not None:
        yield trace.origin.z, trace.origin.tangent
    for at in trace.located:
        if at.tangents:
            yield at.z, at.tangents[0]
            yield at.z, -at.tangents[0]


def _branch(path: Path, trace: Trace, row: int) -> Branch:
    switched = trace.origin is not None
    places = [trace.origin, *trace.places] if trace.origin else list(trace.places)
    events = [at.event for at in trace.located]
    if switched:  # the branch point itself is the first row
        events = [replace(event, row=event.row + 1) for event in events]
    z = torch.stack([place.z for place in places])
    residuals = [place.residual_norm for place in places]
    counts = [place.unstable_dim for place in places]
    return Branch(
        states=path.states(z),
        parameters=z.new_tensor([path.parameter(place.s) for place in places]),
        residual_norms=z.new_tensor(residuals),
        multipliers=torch.stack([place.multipliers[:LEADING] for place in places]),
        unstable_dims=torch.tensor(counts, device=z.device),
        events=tuple(events),
        end=trace.end,
        point=-1 if switched else row,
        parent=trace.parent,
    )
