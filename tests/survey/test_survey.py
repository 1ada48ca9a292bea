"""Surveys against systems whose points are known, and against themselves."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import captum_dynamics as cd
from captum_dynamics.survey import _rounds
from captum_dynamics.tasks.flipflop import load_flipflop, sample_flipflop
from captum_dynamics.testing.systems import (
    KnownSystem,
    all_systems,
    bistable,
    coupled_switches,
    flip,
    henon,
    hopfield,
    line_attractor,
    logistic,
    perturbed_ring,
    pitchfork,
    spiral,
    threshold_linear,
    uncoupled_switches,
)

DATA = Path(__file__).parents[1] / "data"
# Where h = tanh(2 h + x) loses two of its three points: 1 - h^2 = 1/2 at the fold.
FOLD = 2 * math.sqrt(0.5) - math.atanh(math.sqrt(0.5))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def surveyed(system: KnownSystem, seed: int = 0, **settings: int) -> cd.Survey:
    visited = system.sample_starts(64, generator=generator(seed + 1000))
    return cd.survey_fixed_points(
        system.dynamics,
        visited,
        system.inputs,
        generator=generator(seed),
        **settings,  # type: ignore[arg-type]
    )


def flipflop_survey(cell: str, seed: int = 0) -> cd.Survey:
    net = load_flipflop(DATA / f"flipflop_{cell}.safetensors")
    pulses = sample_flipflop(16, 100, generator=generator(seed)).inputs
    return cd.survey_fixed_points(
        cd.adapt(net.rnn),
        cd.record(net, "rnn", pulses),
        torch.zeros(1, 3),
        generator=generator(seed),
    )


def same_points(one: cd.FixedPoints, other: cd.FixedPoints) -> bool:
    """Whether two sets hold the same states, to 1e-9, in any order."""
    gaps = torch.cdist(one.states, other.states)
    return len(one) == len(other) and bool((gaps.amin(1) < 1e-9).all())


@pytest.mark.parametrize(
    "system",
    [
        bistable(),
        uncoupled_switches(2),
        uncoupled_switches(3),
        hopfield(),
        perturbed_ring(),
        threshold_linear(),
        coupled_switches(),
    ],
    ids=lambda s: f"{s.name}{s.dynamics.state_dim}",
)
def test_a_survey_of_a_known_system_saturates_at_its_points(
    system: KnownSystem,
) -> None:
    survey = surveyed(system)
    (report,) = survey.reports
    assert report.points == len(survey.points) == len(system.states)
    assert system.distances(survey.points.states).max() < 1e-9
    assert report.verdict == cd.Verdict.SATURATED
    assert report.starts == survey.starts
    assert report.hits == int(survey.points.multiplicity.sum())
    assert bool(report.objection) == (
        system.name in ("perturbed_ring", "threshold_linear")
    )


def test_a_pitchfork_has_three_points_of_which_one_is_degenerate() -> None:
    survey = surveyed(pitchfork())
    assert len(survey.points) == 3
    assert survey.points.degenerate.sum() == 1
    text = survey.summary()
    assert "3 fixed points, 2 attracting, 1 degenerate" in text
    assert "index rule not applicable: J - I is singular" in text


@pytest.mark.parametrize(
    ("system", "period"),
    [(spiral(), 8), (flip(), 2), (logistic(), 2)],
    ids=["spiral", "flip", "logistic"],
)
def test_a_cycle_is_named_where_no_point_is_stable(
    system: KnownSystem, period: int
) -> None:
    survey = surveyed(system)
    (report,) = survey.reports
    assert report.points == len(system.states)
    assert f"\nno stable fixed point; period-{period} cycle (" in survey.summary()
    assert [cycle.period for cycle in report.long_runs.cycles] == [period]


def test_the_index_rule_is_not_applied_to_henon() -> None:
    text = surveyed(henon()).summary()
    assert "index rule not applicable: no box is known" in text
    assert "no stable fixed point; " in text
    assert "of 128 long runs neither rest nor repeat" in text


def test_a_continuum_never_saturates() -> None:
    (report,) = surveyed(line_attractor()).reports
    assert report.verdict == cd.Verdict.CONSISTENT
    assert report.degenerate == report.points > 50
    assert "no point is sure to attract; 128 of 128 long runs come to rest" in (
        report.summary()
    )


@pytest.mark.parametrize("system", all_systems(), ids=lambda s: s.name)
def test_a_survey_that_is_stopped_early_never_claims_saturation(
    system: KnownSystem,
) -> None:
    for seed in range(3):
        (report,) = surveyed(system, seed, max_starts=8).reports
        assert sum(report.endings) - len(report.long_runs.resting) == 8
        assert report.verdict in (cd.Verdict.REFUTED, cd.Verdict.CONSISTENT)


def test_the_last_round_must_be_a_whole_doubling() -> None:
    assert surveyed(bistable(), max_starts=64).reports[0].saturated
    assert not surveyed(bistable(), max_starts=63).reports[0].saturated


@pytest.mark.parametrize("cell", ["gru", "lstm", "tanh", "relu"])
def test_a_survey_finds_the_27_points_of_a_flip_flop(cell: str) -> None:
    (report,) = flipflop_survey(cell).reports
    assert (report.points, report.attractors) == (27, 8)
    assert report.index_sum == 1
    assert report.verdict == cd.Verdict.SATURATED
    # A ReLU layer is not bounded: nothing says what its indices add up to.
    assert bool(report.objection) == (cell == "relu")


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["gru", "lstm", "tanh", "relu"])
def test_no_seed_of_ten_misses_a_point(cell: str) -> None:
    counts = [len(flipflop_survey(cell, seed).points) for seed in range(10)]
    assert counts == [27] * 10


def test_two_hundred_inputs_each_have_the_points_that_algebra_says() -> None:
    switch = bistable()
    inputs = torch.linspace(-1, 1, 200).double()[:, None]
    survey = cd.survey_fixed_points(
        switch.dynamics,
        switch.sample_starts(64, generator=generator()),
        inputs,
        generator=generator(),
    )
    assert len(survey) == len(survey.reports) == 200
    for row, (x,) in enumerate(inputs.tolist()):
        points = survey.at(row)
        assert len(points) == survey.reports[row].points == (3 if abs(x) < FOLD else 1)
        assert (points.inputs == x).all()
        assert (
            switch.dynamics(points.states, points.inputs) - points.states
        ).abs().max() < 1e-11
    assert survey.summary() == (
        f"{len(survey.points)} fixed points, {survey.starts} starts\n"
        f"saturated: 200 of 200 inputs, with 1 to 3 points each"
    )


@pytest.fixture(scope="module")
def tokens() -> tuple[cd.DynamicsMap, cd.Trajectories, Tensor]:
    """A small GRU with one to three points, runs of it, and 200 inputs."""
    torch.manual_seed(3)
    layer = nn.GRU(2, 5, batch_first=True)
    with torch.no_grad():
        layer.weight_hh_l0.mul_(6)
    words = torch.randn(200, 2, generator=generator())
    sequences = words[torch.randint(200, (16, 40), generator=generator())]
    return cd.adapt(layer), cd.record(layer, None, sequences), words


def test_two_hundred_tokens_of_a_gru_are_one_call_a_round(
    tokens: tuple[cd.DynamicsMap, cd.Trajectories, Tensor],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = []

    def counted(*args: Tensor, **settings: object) -> cd.FixedPoints:
        calls.append(len(args[1]))
        return cd.find_fixed_points(*args, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(_rounds, "find_fixed_points", counted)
    dynamics, runs, words = tokens
    survey = cd.survey_fixed_points(dynamics, runs, words, generator=generator())
    numbers = {report.points for report in survey.reports}
    assert len(numbers) > 1
    assert {report.verdict for report in survey.reports} == {cd.Verdict.SATURATED}
    assert all(report.index_sum == 1 for report in survey.reports)
    # The first round is 32 starts for each; what is saturated drops out later.
    assert calls[0] == 200 * 32
    assert 2 <= len(calls) <= 6
    assert calls[1] >= 200 * 32
    assert sum(calls) == survey.starts
