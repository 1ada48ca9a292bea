"""Surveys against systems whose points are known, and against themselves."""

from __future__ import annotations

import math
import os
from concurrent.futures import Executor, ThreadPoolExecutor
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
UNBOXED = ("perturbed_ring", "threshold_linear")
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
        max_starts=2048,  # a ReLU layer, without index rule, takes 1,000 or so
        generator=generator(seed),
    )


def gaps(one: Tensor, other: Tensor) -> Tensor:
    """Distances of all pairs; `cdist` would lose half of their digits."""
    return (one[:, None] - other).norm(dim=-1)


def same_points(one: cd.FixedPoints, other: cd.FixedPoints) -> bool:
    """Whether two sets hold the same states, to 1e-9, in any order."""
    near = gaps(one.states, other.states) < 1e-9
    return len(one) == len(other) and bool(near.any(0).all())


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
    assert gaps(survey.points.states, system.states).amin(1).max() < 1e-9
    assert report.verdict == cd.Verdict.SATURATED
    assert report.starts == survey.starts
    assert report.hits == int(survey.points.multiplicity.sum())
    assert bool(report.objection) == (system.name in UNBOXED)


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
    (report,) = surveyed(system, max_starts=8).reports
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


def test_an_attractor_that_is_visited_and_attracts_little_is_found() -> None:
    # h' = h + g in d dimensions: the mixtures of visited states all go to the origin.
    corner = torch.ones(1, 6, dtype=torch.float64)

    def step(h: Tensor, x: Tensor) -> Tensor:
        near = torch.exp(-50 * (h - corner.to(h)).square().sum(-1, keepdim=True))
        return 0.5 * h + 0.5 * near * corner.to(h) + 0 * x.sum(-1, keepdim=True)

    island = cd.FunctionAdapter(step, 6, 1)
    visited = 0.01 * torch.randn(200, 6, generator=generator(), dtype=torch.float64)
    visited[17] = corner
    survey = cd.survey_fixed_points(
        island, visited, torch.zeros(1, 1), generator=generator()
    )
    assert ((survey.points.states - corner).norm(dim=1) < 1e-6).any()


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["gru", "lstm", "tanh", "relu"])
def test_no_seed_of_ten_misses_a_point(cell: str) -> None:
    counts = [len(flipflop_survey(cell, seed).points) for seed in range(10)]
    assert counts == [27] * 10


def switch_survey(inputs: Tensor, seed: int = 0) -> cd.Survey:
    """Of h' = tanh(2 h + x): three points where |x| is below the fold, else one."""
    switch = bistable()
    visited = switch.sample_starts(64, generator=generator())
    return cd.survey_fixed_points(
        switch.dynamics, visited, inputs, generator=generator(seed)
    )


def test_two_hundred_inputs_each_have_the_points_that_algebra_says() -> None:
    inputs = torch.linspace(-1, 1, 200).double()[:, None]
    survey = switch_survey(inputs)
    assert len(survey) == len(survey.reports) == 200
    for row, (x,) in enumerate(inputs.tolist()):
        points = survey.at(row)
        assert len(points) == survey.reports[row].points == (3 if abs(x) < FOLD else 1)
        assert (points.inputs == x).all()
        h = points.states
        assert (torch.tanh(2 * h + x) - h).abs().max() < 1e-11
    # Points come in the order of their inputs.
    assert (survey.points.inputs.diff(dim=0) >= 0).all()
    assert survey.summary() == (
        f"{len(survey.points)} fixed points, {survey.starts} starts\n"
        f"saturated: 200 of 200 inputs, with 1 to 3 points each"
    )


def test_an_input_has_the_same_points_in_any_company() -> None:
    inputs = torch.tensor([[0.5], [0.0], [-0.9], [0.5]])
    together, alone = switch_survey(inputs), switch_survey(inputs[:1])
    assert same_points(together.at(0), alone.points)
    reordered = switch_survey(inputs[[2, 1, 0]])
    assert torch.equal(reordered.at(2).states, together.at(0).states)
    assert torch.equal(reordered.at(2).multiplicity, together.at(0).multiplicity)


def test_an_input_that_is_given_twice_is_searched_once() -> None:
    twice = switch_survey(torch.tensor([[0.0], [0.5], [-0.0]]))
    once = switch_survey(torch.tensor([[0.0], [0.5]]))
    assert twice.starts == once.starts
    assert twice.reports[0] is twice.reports[2]
    assert torch.equal(twice.at(0).states, twice.at(2).states)
    assert len(twice.points) == len(once.points)


def test_a_point_is_passed_on_to_the_nearest_input() -> None:
    # All starts lie at .96. From there runs reach the upper point at x = -.5, where
    # there are three, but the lower one at x = -2, where there is no other.
    field = cd.FunctionAdapter(lambda h, x: torch.tanh(2 * h + x), 1, 1)

    def search(inputs: list[list[float]]) -> cd.FixedPoints:
        survey = cd.survey_fixed_points(
            field,
            torch.full((2, 1), 0.96),
            torch.tensor(inputs),
            solver=cd.solvers.Iteration(),
            generator=generator(),
        )
        return survey.at(0)

    alone, beside = search([[-0.5]]), search([[-0.5], [-2.0]])
    assert len(alone) == 1
    assert len(beside) == 2
    # What was passed on is no draw from the random starts.
    assert beside.multiplicity[beside.states[:, 0] < 0].tolist() == [0]


@pytest.fixture(scope="module")
def tokens() -> tuple[cd.DynamicsMap, cd.Trajectories, Tensor]:
    """A GRU with a bistable unit, runs of it, and 200 inputs it may read."""
    torch.manual_seed(0)
    layer = nn.GRU(2, 4, batch_first=True)
    with torch.no_grad():
        layer.weight_hh_l0[8, 0] = 3.0
        layer.bias_hh_l0[:4] = 2.0  # open reset gates
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
    assert {report.points for report in survey.reports} == {1, 3}
    assert {report.verdict for report in survey.reports} == {cd.Verdict.SATURATED}
    assert all(report.index_sum == 1 for report in survey.reports)
    # 32 starts for each input, then as many again and the placed ones; then fewer and
    # fewer inputs are left.
    assert calls[0] == 200 * 32
    assert calls[1] > 200 * 32
    assert len(calls) > 2
    assert calls[-1] < calls[1]
    assert sum(calls) == survey.starts


def test_the_points_follow_from_the_seed_alone() -> None:
    before = torch.get_rng_state()
    inputs = torch.tensor([[0.0], [0.5]])
    first, again, other = (switch_survey(inputs, seed).points for seed in (1, 1, 2))
    assert torch.equal(first.states, again.states)
    assert torch.equal(first.multiplicity, again.multiplicity)
    assert not torch.equal(first.multiplicity, other.multiplicity)
    assert torch.equal(torch.get_rng_state(), before)


def test_workers_find_the_same_points(
    tokens: tuple[cd.DynamicsMap, cd.Trajectories, Tensor],
) -> None:
    dynamics, runs, words = tokens

    def search(executor: Executor | None) -> cd.FixedPoints:
        survey = cd.survey_fixed_points(
            dynamics, runs, words[:50], generator=generator(), executor=executor
        )
        return survey.points

    with ThreadPoolExecutor(2) as executor:
        shared = search(executor)
    assert torch.equal(shared.states, search(None).states)


def test_an_attractor_that_no_search_met_is_reached_by_long_runs() -> None:
    unboxed = cd.FunctionAdapter(lambda h, x: torch.tanh(2 * h), 1, 0)
    visited = torch.tensor([[-1e-3], [1e-3]])
    survey = cd.survey_fixed_points(
        unboxed,
        visited,
        torch.zeros(1, 0),
        solver=cd.solvers.Newton(),
        generator=generator(),
    )
    (report,) = survey.reports
    assert (report.points, report.attractors) == (3, 2)
    assert "attract;" not in report.summary()
    # Only 0 was met from random starts, and a search that was surprised is not done.
    assert sorted(survey.points.multiplicity.tolist())[:2] == [0, 0]
    assert report.singletons == 2
    assert report.verdict == cd.Verdict.CONSISTENT


def test_a_map_without_a_fixed_point_is_no_success() -> None:
    away = cd.FunctionAdapter(lambda h, x: h + 1 + h**2, 1, 0)
    with pytest.warns(cd.ConvergenceWarning, match="None of 257 searches") as caught:
        survey = cd.survey_fixed_points(
            away, torch.ones(1, 1), torch.zeros(1, 0), max_starts=256
        )
    (report,) = survey.reports
    assert len(survey.points) == report.points == report.hits == 0
    # The checker of shapes puts a frame of its own between.
    if os.environ.get("CAPTUM_DYNAMICS_SHAPES") != "1":
        assert caught[0].filename == __file__
    assert report.verdict == cd.Verdict.CONSISTENT
    assert report.unseen_mass == 1.0


def test_what_is_given_is_left_alone_and_may_be_single_precision() -> None:
    switch = bistable()
    visited, inputs = torch.linspace(-1, 1, 9)[:, None], torch.zeros(1)
    kept = visited.clone()
    survey = cd.survey_fixed_points(
        switch.dynamics, visited, inputs, generator=generator()
    )
    assert torch.equal(visited, kept)
    assert survey.points.states.dtype == torch.float64
    assert len(survey.at(0)) == 3


def test_progress_is_shown_when_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    surveyed(bistable())
    assert capsys.readouterr().err == ""
    surveyed(bistable(), show_progress=True)
    assert "Survey" in capsys.readouterr().err


@pytest.mark.misuse
@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"runs": torch.zeros(0, 1)}, "`runs` to have at least one row"),
        ({"runs": torch.zeros(3, 2)}, r"`runs` to have shape \(n, 1\)"),
        ({"runs": torch.full((1, 1), torch.nan)}, "`runs` to be finite"),
        ({"inputs": torch.zeros(0, 1)}, "`inputs` to have at least one row"),
        ({"inputs": torch.zeros(2, 3)}, r"`inputs` to have shape \(n, 1\)"),
        ({"inputs": torch.full((1, 1), torch.inf)}, "`inputs` to be finite"),
        ({"first_starts": 0}, "`first_starts` to be positive"),
        ({"max_starts": 0}, "`max_starts` to be positive"),
        ({"q_slow": 0.0}, "`q_slow` to be positive"),
        ({"budget": 0}, "`budget` to be positive"),
    ],
)
def test_what_cannot_be_surveyed_is_refused(
    changes: dict[str, object], complaint: str
) -> None:
    given = {"runs": torch.zeros(2, 1), "inputs": torch.zeros(1, 1), **changes}
    with pytest.raises(ValueError, match=complaint):
        cd.survey_fixed_points(bistable().dynamics, **given)  # type: ignore[arg-type]


def test_a_summary_counts_the_inputs_without_a_stable_point() -> None:
    flips = cd.FunctionAdapter(lambda h, x: torch.tanh(x * h), 1, 1)
    survey = cd.survey_fixed_points(
        flips,
        torch.tensor([[-0.5], [0.5]]),
        torch.tensor([[-2.0], [-3.0], [0.5]]),
        generator=generator(),
    )
    assert survey.summary().endswith(
        "saturated: 3 of 3 inputs, with 1 point each\n"
        "no stable fixed point under 2 of 3 inputs"
    )
