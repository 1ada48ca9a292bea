"""The summary says in words what has no number."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

import captum_dynamics as cd
from captum_dynamics.analysis import Analysis
from captum_dynamics.report import write_report
from captum_dynamics.testing.systems import perturbed_ring
from captum_dynamics.topology import Shape, SlowManifold, trace_slow_manifold
from tests.analyses import small_analysis, with_nan, without_any_point

WIDTH = 6


def linear_manifold(matrix: Tensor, task_step: float = 1.0) -> SlowManifold:
    """Slow points of h' = A h: every state, however fast."""
    dynamics = cd.FunctionAdapter(lambda h, x: h @ matrix.T, WIDTH, 0)
    generator = torch.Generator().manual_seed(6)
    states = torch.randn(60, WIDTH, generator=generator, dtype=torch.float64)
    return trace_slow_manifold(
        dynamics,
        states,
        torch.zeros(1, 0),
        task_step=task_step,
        q_slow=1e9,
        steps=3,
    )


def rates(first: float, others: float) -> Tensor:
    values = torch.full((WIDTH,), others, dtype=torch.float64)
    values[0] = first
    return torch.diag(values)


def turning(rate: float, steps: int) -> Tensor:
    """A pair that turns once in some steps, and faster modes."""
    matrix, angle = rates(0.1, 0.1), 2 * math.pi / steps
    turn = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    matrix[:2, :2] = rate * torch.tensor(turn, dtype=torch.float64)
    return matrix


def paragraph(analysis: Analysis, heading: str) -> str:
    parts = analysis.summary().split("\n\n")
    (found,) = (part for part in parts if part.startswith(heading))
    return found


@pytest.mark.parametrize(
    ("matrix", "said"),
    [
        (rates(1.0, 0.2), "the slowest mode does not decay, the next mode in 0.6."),
        (rates(1.1, 0.2), "at every slow point the slowest mode grows: none decays."),
        (rates(0.9, 0.2), "fades to 1/e in 9.5 steps (quartiles 9.5 to 9.5), the next"),
        (turning(0.9, 8), "is a pair that turns, once in 8.0 steps."),
        (turning(1.1, 8), "none decays. At 100% of the points the slowest mode is a"),
    ],
    ids=["for ever", "grows", "fades", "turns", "grows and turns"],
)
def test_memory_is_told_in_words_where_it_is_no_number(
    matrix: Tensor, said: str
) -> None:
    analysis = replace(small_analysis(), manifold=linear_manifold(matrix))
    assert said in paragraph(analysis, "MEMORY")


@pytest.mark.usefixtures("coarse")
@pytest.mark.parametrize(
    "change",
    [
        lambda a: replace(a, manifold=linear_manifold(rates(1.0, 0.2))),
        lambda a: replace(a, manifold=linear_manifold(rates(1.1, 1.05))),
        lambda a: replace(a, manifold=linear_manifold(turning(0.9, 8))),
        lambda a: replace(a, manifold=linear_manifold(rates(0.99, 0.2), 0.0)),
        lambda a: replace(a, readout=torch.zeros_like(a.readout)),
        with_nan,
        without_any_point,
        lambda a: with_constant_contributions(a),
        lambda _: small_analysis(1, named=False),
    ],
    ids=[
        "for ever",
        "grows",
        "turns",
        "still",
        "unread",
        "nan",
        "no points",
        "constant",
        "one dimension",
    ],
)
def test_neither_summary_nor_report_shows_nan_or_inf(
    tmp_path: Path, change: Callable[[Analysis], Analysis]
) -> None:
    analysis = change(small_analysis())
    path = write_report(analysis, tmp_path / "report.html")
    page = re.sub(r"data:image/png;base64,[^\"]*", "", path.read_text("utf-8"))
    for text in (analysis.summary(), page):
        assert not re.search(r"(?i)(?<![a-z])-?(nan|inf)(?![a-z])", text)


def with_constant_contributions(analysis: Analysis) -> Analysis:
    given = analysis.documents
    constant = tuple(
        replace(e, contributions=torch.ones_like(e.contributions))
        for e in given.explanations
    )
    return replace(analysis, documents=replace(given, explanations=constant))


def test_a_correlation_that_is_not_defined_is_said_so() -> None:
    analysis = with_constant_contributions(small_analysis())
    told = paragraph(analysis, "ATTRIBUTION")
    assert "IntegratedGradients: correlation with it not defined" in told


def test_scores_that_do_not_vary_have_no_correlation() -> None:
    given = small_analysis()
    words = replace(given.words, scores=torch.ones_like(given.words.scores))
    told = paragraph(replace(given, words=words), "WORDS")
    assert "has no defined correlation with the scores given" in told


def test_words_that_push_one_way_alone_are_not_listed_on_the_other() -> None:
    given = small_analysis()
    words = replace(given.words, projections=given.words.projections.abs() + 0.1)
    told = paragraph(replace(given, words=words), "WORDS")
    assert "Down: none." in told


def test_ends_that_are_no_known_point_are_told_apart() -> None:
    grows = cd.FunctionAdapter(lambda h, x: 2 * h + h**3, 1, 0)
    start = torch.full((1, 1), 1e-3, dtype=torch.float64)
    points = cd.find_fixed_points(grows, start, torch.zeros(1, 0)).unique()
    graph = cd.connect(grows, cd.linearize(grows, points), basin_samples=4)
    told = graph.summary()
    assert "0 -> 1 (unbounded direction: h[0], grows" in told
    assert "no known attractor: 100.0% of sampled states" in told


def test_multipliers_that_turn_are_told_as_pairs() -> None:
    matrix = turning(0.9, 8)
    dynamics = cd.FunctionAdapter(lambda h, x: h @ matrix.T, WIDTH, 0)
    start = torch.ones(1, WIDTH, dtype=torch.float64)
    points = cd.find_fixed_points(dynamics, start, torch.zeros(1, 0))
    graph = cd.connect(dynamics, cd.linearize(dynamics, points), basin_samples=4)
    told = paragraph(replace(small_analysis(), graph=graph), "FIXED POINTS")
    assert "leading multiplier 0.9000 (a pair that turns once in 8.0 steps);" in told


def test_a_ring_is_told_with_its_reason_and_its_drift() -> None:
    system = perturbed_ring()
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(200, 2, generator=generator, dtype=torch.float64)
    ring = trace_slow_manifold(
        system.dynamics, states, torch.zeros(1, 0), task_step=0.5
    )
    given = small_analysis()
    visits = replace(
        given.visits, centre=torch.zeros(2).double(), axes=torch.eye(2).double()
    )
    flat = replace(given, manifold=ring, visits=visits, readout=torch.ones(2).double())
    told = paragraph(flat, "SLOW POINTS")
    assert "They lie on a ring: a ring attractor, because they have one" in told
    assert "its speed changes sign at 4 places, 2 of them stable." in told
    assert re.search(r"by a tenth of its length in \d+ steps", told)


def test_without_gudhi_an_undecided_shape_says_so() -> None:
    given = small_analysis().manifold
    evidence = replace(given.evidence, shape=Shape.UNDECIDED, homology=False)
    blind = replace(small_analysis(), manifold=replace(given, evidence=evidence))
    assert "gudhi is not installed" in paragraph(blind, "SLOW POINTS")


def test_slow_points_in_one_place_are_told_as_such() -> None:
    given = small_analysis().manifold
    evidence = replace(given.evidence, shape=Shape.PLACES)
    shrunk = replace(given, evidence=evidence)
    told = paragraph(replace(small_analysis(), manifold=shrunk), "SLOW POINTS")
    assert "in one or a few separate places: no line attractor, because" in told
