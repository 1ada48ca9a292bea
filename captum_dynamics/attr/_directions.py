"""Layers of several systems: one picture each, whose contributions add.

A bidirectional layer is two systems, and a level above reads both: what its systems
pull back to their inputs is injected into the states of the level below. As the
difference of two runs is split exactly at each step, so it is through the levels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache, partial

import torch
from torch import Tensor, nn

from captum_dynamics._typing import InputSequences, PerPoint
from captum_dynamics.adapters import Call, RecurrentAdapter
from captum_dynamics.adapters._systems import (
    SystemRun,
    divide_run,
    reverse,
    split_systems,
)
from captum_dynamics.attr._base import Adjoints, Estimator, FittedEstimator, Picture
from captum_dynamics.attr._runs import RunPair

Pairs = tuple[RunPair, ...]
"""Runs of one level's systems: forward, and backward where there are two."""


def fit_picture(
    estimator: Estimator,
    dynamics: RecurrentAdapter,
    runs: Iterable[RunPair],
    generator: torch.Generator,
) -> Picture:
    """Fit an estimator to a layer's map, or to each of its systems, from the top.

    The level below is fitted to runs whose injections come from fitted pictures above.
    """
    if dynamics.one_map:
        return estimator.fit(runs, generator)
    levels = cache(lambda: [_top_level(pair) for pair in runs])
    fitted: list[tuple[FittedEstimator, ...]] = []
    for systems in reversed(dynamics.systems):
        pictures = tuple(
            estimator.fit(_runs_of(levels, place), generator)
            for place in range(len(systems))
        )
        fitted.append(pictures)
        levels = cache(partial(_levels_below, levels, pictures))
    return _Pictures(tuple(reversed(fitted)))


def in_order(sequences: Tensor, runs: RunPair, *, backward: bool) -> Tensor:
    """Bring (n, t, m) from a system's order to that of the sequence, or back."""
    return reverse(sequences, runs.lengths) if backward else sequences


@dataclass(frozen=True, eq=False)
class _Level:
    """Runs of the systems of one level, with all that reads their states injected.

    Attributes:
        pairs: the runs, each in its own order.
        below: the same of lower levels, injected what the output itself reads.
    """

    pairs: Pairs
    below: tuple[Pairs, ...]

    def pulled(self, adjoints: Iterable[Adjoints]) -> InputSequences:
        """Gradients (n, t, k) of what the level reads, in the sequence's order."""
        parts = [
            in_order(each.inputs, pair, backward=bool(place))
            for place, (pair, each) in enumerate(zip(self.pairs, adjoints, strict=True))
        ]
        return torch.stack(parts).sum(0)

    def down(self, adjoints: Iterable[Adjoints]) -> _Level:
        """The level below: what this one reads are its outputs."""
        *lower, pairs = self.below
        widths = [pair.dynamics.output_dim for pair in pairs]
        shares = torch.split(self.pulled(adjoints), widths, dim=-1)
        injected = tuple(
            _injected(pair, in_order(share, pair, backward=bool(place)))
            for place, (pair, share) in enumerate(zip(pairs, shares, strict=True))
        )
        return _Level(injected, tuple(lower))


def _top_level(runs: RunPair) -> _Level:
    """Divide runs of a layer into those of its systems."""
    systems = runs.dynamics.systems
    call = Call(runs.inputs, runs.initial_states, runs.lengths)
    before = Call(runs.baseline_inputs, runs.baseline_initial_states, runs.lengths)
    actual = divide_run(systems, call, runs.states)
    baseline = divide_run(systems, before, runs.baseline_states)
    injections = split_systems(systems, runs.injections)
    outputs = runs.intercepts + (runs.injections * runs.states).sum((1, 2))
    levels = [
        tuple(
            _pair(runs, one, other, one.reorder(own), outputs)
            for one, other, own in zip(*level, strict=True)
        )
        for level in zip(actual, baseline, injections, strict=True)
    ]
    return _Level(levels[-1], tuple(levels[:-1]))


def _pair(
    runs: RunPair,
    actual: SystemRun,
    baseline: SystemRun,
    injections: Tensor,
    outputs: PerPoint,
) -> RunPair:
    """Runs of one system, in its order, with all other states as they are."""
    return replace(
        runs,
        dynamics=actual.dynamics,
        inputs=actual.inputs,
        baseline_inputs=baseline.inputs,
        initial_states=actual.initial_states,
        baseline_initial_states=baseline.initial_states,
        states=actual.states,
        baseline_states=baseline.states,
        injections=injections,
        intercepts=outputs - (injections * actual.states).sum((1, 2)),
    )


def _injected(runs: RunPair, of_outputs: InputSequences) -> RunPair:
    """Add to the injections what the level above reads: states start with outputs."""
    width = runs.states.shape[-1] - of_outputs.shape[-1]
    added = nn.functional.pad(of_outputs, (0, width))
    return replace(
        runs,
        injections=runs.injections + added,
        intercepts=runs.intercepts - (added * runs.states).sum((1, 2)),
    )


def _runs_of(levels: Callable[[], list[_Level]], place: int) -> Iterator[RunPair]:
    """Runs of one system, made only if an estimator iterates them."""
    for level in levels():
        yield level.pairs[place]


def _levels_below(
    levels: Callable[[], list[_Level]], pictures: tuple[FittedEstimator, ...]
) -> list[_Level]:
    return [level.down(_adjoints(level, pictures)) for level in levels()]


def _adjoints(
    level: _Level, pictures: tuple[FittedEstimator, ...]
) -> tuple[Adjoints, ...]:
    pairs = zip(pictures, level.pairs, strict=True)
    return tuple(picture.adjoints(pair) for picture, pair in pairs)


@dataclass(frozen=True, eq=False)
class _Pictures(Picture):
    """A picture of each system, level by level."""

    levels: tuple[tuple[FittedEstimator, ...], ...]

    def adjoints(self, runs: RunPair) -> Adjoints:
        """States hold those of all systems side by side, each in its own order."""
        passed = self._passed(runs)
        states = [each.states for _, level in reversed(passed) for each in level]
        lowest, adjoints = passed[-1]
        return Adjoints(torch.cat(states, dim=-1), lowest.pulled(adjoints))

    def free_outputs(self, runs: RunPair) -> PerPoint:
        total = runs.intercepts
        for picture, pair, adjoints, is_lowest in self._systems(runs):
            total = total + picture.free_outputs(pair) - pair.intercepts
            if not is_lowest:  # the level below has it in its injections
                total = total - (adjoints.inputs * pair.inputs).sum((1, 2))
        return total

    def constants(self, runs: RunPair, adjoints: Adjoints) -> PerPoint:
        total = runs.intercepts
        for picture, pair, own, is_lowest in self._systems(runs):
            total = total + picture.constants(pair, own) - pair.intercepts
            if not is_lowest:
                total = total - (own.inputs * pair.baseline_inputs).sum((1, 2))
        return total

    def system(
        self, runs: RunPair, *, backward: bool
    ) -> tuple[FittedEstimator, RunPair]:
        lowest, _ = self._passed(runs)[-1]
        return self.levels[0][backward], lowest.pairs[backward]

    def _systems(
        self, runs: RunPair
    ) -> Iterator[tuple[FittedEstimator, RunPair, Adjoints, bool]]:
        passed = zip(reversed(self.levels), self._passed(runs), strict=True)
        for pictures, (level, adjoints) in passed:
            for each in zip(pictures, level.pairs, adjoints, strict=True):
                yield (*each, not level.below)

    def _passed(self, runs: RunPair) -> list[tuple[_Level, tuple[Adjoints, ...]]]:
        """Each level with its adjoints, from the top."""
        level, passed = _top_level(runs), []
        for pictures in reversed(self.levels):
            adjoints = _adjoints(level, pictures)
            passed.append((level, adjoints))
            if level.below:
                level = level.down(adjoints)
        return passed
