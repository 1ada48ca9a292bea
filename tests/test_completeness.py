"""What speaks for a set of points being all, and what it is not allowed to say."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

import captum_dynamics as cd
from captum_dynamics.completeness import CompletenessReport, assess_completeness
from captum_dynamics.long_runs import LongRuns
from captum_dynamics.testing.systems import (
    KnownSystem,
    all_systems,
    coupled_switches,
    pitchfork,
    uncoupled_switches,
)

RULED = ("bistable", "uncoupled_switches", "spiral", "flip", "hopfield")
RULED = (*RULED, "coupled_switches")


def known_points(system: KnownSystem) -> cd.FixedPoints:
    """The system's own points, as a search would return them."""
    return cd.find_fixed_points(system.dynamics, system.states, system.inputs)


def assess(
    dynamics: cd.DynamicsMap, points: cd.FixedPoints, *, saturated: bool = False
) -> CompletenessReport:
    """Report on points under one zero input."""
    (report,) = assess_completeness(
        dynamics,
        points,
        torch.zeros(1, dynamics.input_dim),
        endings=torch.tensor([[len(points), 0, 0, 0]]),
        saturated=torch.tensor([saturated]),
    )
    return report


@pytest.mark.parametrize("system", all_systems(), ids=lambda s: s.name)
def test_indices_add_up_as_the_multipliers_say(system: KnownSystem) -> None:
    report = assess(system.dynamics, known_points(system))
    assert report.index_sum == system.index_sum
    assert report.degenerate == int((system.indices == 0).sum())
    assert report.attractors == int((system.eigenvalues.abs() < 1).all(1).sum())
    assert bool(report.objection) == (system.name not in RULED)
    if not report.objection:
        assert report.index_sum == 1


def test_indices_add_up_in_a_wide_state_too() -> None:
    system = uncoupled_switches(1)
    wide = cd.FunctionAdapter(
        lambda h, x: torch.cat([torch.tanh(2 * h[:, :1]), 0.5 * h[:, 1:]], 1), 150, 0
    )
    states = torch.zeros(3, 150, dtype=torch.float64)
    states[:, :1] = system.states
    points = cd.find_fixed_points(wide, states, torch.zeros(1, 0))
    report = assess(wide, points)
    assert (report.index_sum, report.attractors) == (1, 2)


def test_one_missing_point_is_refuted_and_a_missing_pair_is_not() -> None:
    system = coupled_switches()
    points, count = known_points(system), len(system.states)
    for row in range(count):
        rest = points[torch.arange(count) != row]
        assert assess(system.dynamics, rest).verdict == cd.Verdict.REFUTED
    pair = points[torch.arange(count) > 1]  # without a repeller and an attractor
    report = assess(system.dynamics, pair, saturated=True)
    assert report.index_sum != 1
    pair = points[~torch.isin(torch.arange(count), torch.tensor([1, 5]))]
    report = assess(system.dynamics, pair, saturated=True)
    assert report.verdict == cd.Verdict.SATURATED


@pytest.mark.parametrize(
    ("low", "high", "objection"),
    [
        (0.0, 1.0, "1 point on the border of the invariant box"),
        (0.0, math.inf, "the box that the map maps into itself is not bounded"),
    ],
)
def test_the_rule_needs_a_bounded_box_with_no_point_on_its_border(
    low: float, high: float, objection: str
) -> None:
    box = torch.tensor([low]), torch.tensor([high])
    square = cd.FunctionAdapter(lambda h, x: 3.2 * h * (1 - h), 1, 0, box=box)
    states = torch.tensor([[0.0], [1 - 1 / 3.2]]).double()
    points = cd.find_fixed_points(square, states, torch.zeros(1, 0))
    report = assess(square, points)
    assert report.objection == objection
    assert report.verdict == cd.Verdict.CONSISTENT


def test_a_degenerate_point_suspends_the_rule() -> None:
    system = pitchfork()
    report = assess(system.dynamics, known_points(system))
    assert report.objection == "J - I is singular, or nearly, at 1 point"
    assert "3 fixed points, 2 attracting, 1 degenerate" in report.summary()


def test_no_point_at_all_is_refuted_where_there_must_be_one() -> None:
    system = coupled_switches()
    report = assess(system.dynamics, known_points(system)[:0])
    assert report.verdict == cd.Verdict.REFUTED
    assert report.unseen_mass == 1.0


def test_estimates_follow_their_formulas() -> None:
    system = coupled_switches()
    points = known_points(system)[:5]
    hits = torch.tensor([0, 1, 2, 5, 4])
    report = assess(system.dynamics, replace(points, multiplicity=hits))
    assert (report.hits, report.singletons, report.doubletons) == (12, 2, 1)
    assert report.unseen_mass == 2 / 12
    assert report.estimated_points == 5 + 2 * 1 / (2 * 2)


def made_report(hits: Tensor) -> CompletenessReport:
    """A report on points that were hit so often."""
    seen = hits[hits > 0]
    once, twice = int((seen == 1).sum()), int((seen == 2).sum())
    return CompletenessReport(
        len(seen), 1, 0, 1, "", int(hits.sum()), once, twice, (1, 0, 0, 0), True, False
    )


def test_estimates_agree_with_the_truth_on_average() -> None:
    shares = 1 / torch.arange(1.0, 31.0)
    shares = shares / shares.sum()
    generator = torch.Generator().manual_seed(0)
    truth, mass, number = [], [], []
    for _ in range(400):
        draws = torch.multinomial(shares, 60, replacement=True, generator=generator)
        hits = torch.bincount(draws, minlength=30)
        report = made_report(hits)
        truth.append(float(shares[hits == 0].sum()))
        mass.append(report.unseen_mass)
        number.append(report.estimated_points)
    assert sum(mass) / 400 == pytest.approx(sum(truth) / 400, rel=0.1)
    assert sum(truth) / 400 > 0.05
    # A lower bound in the mean, but a better one than what was seen.
    assert 25 < sum(number) / 400 < 31


def test_verdicts_weigh_what_is_known() -> None:
    sound = made_report(torch.tensor([3, 3]))
    assert sound.verdict == cd.Verdict.SATURATED
    assert replace(sound, saturated=False).verdict == cd.Verdict.CONSISTENT
    assert replace(sound, exhaustive=True).verdict == cd.Verdict.PROVEN
    for changes in ({}, {"saturated": False}, {"exhaustive": True}):
        wrong = replace(sound, index_sum=3, **changes)
        assert wrong.verdict == cd.Verdict.REFUTED
        excused = replace(wrong, objection="a reason")
        assert excused.verdict != cd.Verdict.REFUTED


def test_no_report_calls_anything_complete() -> None:
    rest = LongRuns(9, torch.zeros(2, 1).double(), (), 3)
    sound = made_report(torch.tensor([1, 3]))
    for index_sum, objection, saturated, exhaustive, runs in itertools.product(
        (1, 2), ("", "a reason"), (True, False), (True, False), (sound.long_runs, rest)
    ):
        text = replace(
            sound,
            index_sum=index_sum,
            objection=objection,
            saturated=saturated,
            exhaustive=exhaustive,
            long_runs=runs,
        ).summary()
        assert "complete" not in text.lower()
        assert ("not applicable: a reason" in text) == bool(objection)
        assert ("proof" in text) == (text.splitlines()[-1].startswith("saturated"))


def test_each_input_has_its_own_report() -> None:
    field = cd.FunctionAdapter(
        lambda h, x: torch.tanh(2 * h + x), 1, 1, box=(-torch.ones(1), torch.ones(1))
    )
    inputs = torch.tensor([[0.0], [1.0]]).double()
    starts = torch.tensor([[-0.9], [0.01], [0.9], [0.9]]).double()
    points = cd.find_fixed_points(field, starts, inputs[[0, 0, 0, 1]])
    first, second = assess_completeness(
        field,
        points,
        inputs,
        endings=torch.tensor([[3, 0, 0, 0], [1, 2, 0, 0]]),
        saturated=torch.tensor([True, False]),
    )
    assert (first.points, first.index_sum, first.starts) == (3, 1, 3)
    assert (second.points, second.index_sum, second.starts) == (1, 1, 3)
    assert first.verdict == cd.Verdict.SATURATED
    assert second.verdict == cd.Verdict.CONSISTENT
    assert "3 starts (1 fixed, 2 slow)" in second.summary()


@pytest.mark.parametrize("rows", [[[1.0]], [[0.0], [0.0]], [[0.0], [-0.0]]])
def test_points_need_exactly_one_row_of_inputs(rows: list[list[float]]) -> None:
    field = cd.FunctionAdapter(lambda h, x: torch.tanh(2 * h + x), 1, 1)
    points = cd.find_fixed_points(field, torch.ones(1, 1), torch.zeros(1, 1))
    with pytest.raises(ValueError, match="`inputs` to hold the input of each point"):
        assess_completeness(
            field,
            points,
            torch.tensor(rows),
            endings=torch.zeros(len(rows), 4).long(),
            saturated=torch.zeros(len(rows)).bool(),
        )
