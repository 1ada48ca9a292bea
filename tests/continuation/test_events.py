"""Events of branches are where algebra puts them, to 1e-8."""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable

import pytest
import torch
from scipy.optimize import brentq
from torch import Tensor

import captum_dynamics as cd

Family = Callable[[float], cd.FunctionAdapter]
NONE = torch.zeros(1, 0)


def family(step: Callable[[Tensor, float], Tensor], width: int = 1) -> Family:
    return lambda p: cd.FunctionAdapter(lambda h, x: step(h, p), width, 0)


def follow(maps: Family, starts: list[list[float]], start: float, end: float):
    initial = torch.tensor(starts, dtype=torch.float64)
    points = cd.find_fixed_points(maps(start), initial, NONE).unique()
    return cd.continue_parameter(maps, points, start, end)


def pitchfork() -> Family:
    return family(lambda h, a: torch.tanh(a * h))


def only_event(branch: cd.Branch) -> cd.Event:
    (event,) = branch.events
    assert event.residual_norm < 1e-12
    return event


def test_a_pitchfork_is_a_branch_point_and_both_new_branches_are_followed() -> None:
    branches = follow(pitchfork(), [[0.5]], 0.5, 2.0)
    event = only_event(branches[0])
    assert event.kind == cd.EventKind.BRANCH_POINT
    assert event.parameter == pytest.approx(1, abs=1e-8)
    assert event.state.tolist() == pytest.approx([0], abs=1e-8)
    assert event.multiplier == pytest.approx(1)
    assert [branch.parent for branch in branches] == [-1, 0, 0]
    root = brentq(lambda h: h - math.tanh(2 * h), 0.5, 1.0, xtol=1e-14)
    ends = sorted(float(branch.states[-1]) for branch in branches)
    assert ends == pytest.approx([-root, 0, root], abs=1e-10)
    for branch in branches.branches[1:]:
        h, a = branch.states[:, 0], branch.parameters
        assert (h - torch.tanh(a * h)).abs().max() < 1e-12
        assert branch.unstable_dims[1:].tolist() == [0] * (len(branch) - 1)


def test_a_pitchfork_met_from_its_arms_leads_from_one_to_the_other() -> None:
    branches = follow(pitchfork(), [[1.0]], 2.0, 0.5)
    event = only_event(branches[0])
    assert event.kind == cd.EventKind.BRANCH_POINT
    assert event.parameter == pytest.approx(1, abs=1e-8)
    assert branches[0].end == cd.BranchEnd.RETURNED
    assert float(branches[0].states[-1]) == pytest.approx(-0.9575040241)
    assert {branch.end for branch in branches.branches[1:]} == {
        cd.BranchEnd.REACHED,
        cd.BranchEnd.RETURNED,
    }
    for branch in branches.branches[1:]:
        assert branch.states.abs().max() < 1e-8


def test_no_curve_is_followed_twice_where_every_point_is_given() -> None:
    branches = follow(pitchfork(), [[-1.0], [0.0], [1.0]], 2.0, 0.5)
    assert [branch.point for branch in branches] == [0, 1, 2]
    assert branches.untried == 0


def test_a_fold_is_where_the_slope_is_one_and_the_branch_turns_back() -> None:
    branches = follow(family(lambda h, b: torch.tanh(2 * h + b)), [[-1.0]], -1, 1)
    h = -math.sqrt(0.5)
    b = math.atanh(h) - 2 * h
    first, second = branches[0].events
    assert (first.kind, second.kind) == (cd.EventKind.FOLD, cd.EventKind.FOLD)
    assert first.state.tolist() == pytest.approx([h], abs=1e-8)
    assert first.parameter == pytest.approx(b, abs=1e-8)
    assert second.state.tolist() == pytest.approx([-h], abs=1e-8)
    assert second.parameter == pytest.approx(-b, abs=1e-8)
    moves = branches[0].parameters.diff()
    assert (moves[: first.row] > 0).all()
    assert (moves[first.row + 1 : second.row] < 0).all()
    assert (moves[second.row + 1 :] > 0).all()


def test_the_logistic_map_flips_at_three() -> None:
    branches = follow(family(lambda h, r: r * h * (1 - h)), [[0.6]], 2.5, 3.5)
    event = only_event(branches[0])
    assert event.kind == cd.EventKind.FLIP
    assert event.parameter == pytest.approx(3, abs=1e-8)
    assert event.state.tolist() == pytest.approx([2 / 3], abs=1e-8)
    assert event.multiplier == pytest.approx(-1)


def test_branches_of_the_logistic_map_cross_at_one() -> None:
    branches = follow(family(lambda h, r: r * h * (1 - h)), [[0.0]], 0.5, 1.5)
    event = only_event(branches[0])
    assert event.kind == cd.EventKind.BRANCH_POINT
    assert event.parameter == pytest.approx(1, abs=1e-8)
    assert len(branches) == 3
    for branch in branches.branches[1:]:
        expected = 1 - 1 / branch.parameters
        assert (branch.states[:, 0] - expected).abs().max() < 1e-8


def test_the_delayed_logistic_map_turns_at_two() -> None:
    def step(h: Tensor, r: float) -> Tensor:
        x, y = h.unbind(1)
        return torch.stack([r * x * (1 - y), x], 1)

    branches = follow(family(step, 2), [[0.4, 0.4]], 1.5, 2.5)
    event = only_event(branches[0])
    assert event.kind == cd.EventKind.NEIMARK_SACKER
    assert event.parameter == pytest.approx(2, abs=1e-8)
    assert event.state.tolist() == pytest.approx([0.5, 0.5], abs=1e-8)
    assert event.multiplier == pytest.approx(cmath.exp(1j * math.pi / 3))


TURN = torch.tensor([[0.6, -0.8], [0.8, 0.6]], dtype=torch.float64)


def pitchfork_form(y: Tensor, a: float) -> Tensor:
    return torch.cat([torch.tanh(a * y[:, :1]), 0.7 * y[:, 1:]], 1)


def fold_form(y: Tensor, a: float) -> Tensor:
    first = y[:, :1] + y[:, :1] ** 2 - (1 - a)
    return torch.cat([first, 0.7 * y[:, 1:]], 1)


def flip_form(y: Tensor, a: float) -> Tensor:
    return torch.cat([torch.tanh(-a * y[:, :1]), 0.7 * y[:, 1:]], 1)


def turning_form(y: Tensor, a: float) -> Tensor:
    return torch.cat([torch.tanh(a * y[:, :2] @ TURN.T), 0.7 * y[:, 2:]], 1)


@pytest.mark.parametrize(
    ("form", "kind", "multiplier"),
    [
        (pitchfork_form, cd.EventKind.BRANCH_POINT, 1),
        (fold_form, cd.EventKind.FOLD, 1),
        (flip_form, cd.EventKind.FLIP, -1),
        (turning_form, cd.EventKind.NEIMARK_SACKER, 0.6 + 0.8j),
    ],
)
def test_events_are_found_in_an_oblique_basis_that_moves(
    form: Callable[[Tensor, float], Tensor], kind: cd.EventKind, multiplier: complex
) -> None:
    generator = torch.Generator().manual_seed(1)
    basis = torch.eye(6, dtype=torch.float64)
    basis += 0.3 * torch.randn(6, 6, generator=generator, dtype=torch.float64)
    inverse = torch.linalg.inv(basis)
    way = torch.randn(6, generator=generator, dtype=torch.float64)

    def step(h: Tensor, a: float) -> Tensor:
        centre = way * a**2
        return form((h - centre) @ inverse.T, a) @ basis.T + centre

    first = -math.sqrt(0.5) if form is fold_form else 0.0
    shift = torch.tensor([first, 0, 0, 0, 0, 0], dtype=torch.float64)
    start = (basis @ shift + 0.25 * way).tolist()
    branches = follow(family(step, 6), [start], 0.5, 1.5)
    event = only_event(branches[0])
    assert event.kind == kind
    assert event.parameter == pytest.approx(1, abs=1e-8)
    assert (event.state - way).abs().max() < 1e-7
    assert event.multiplier == pytest.approx(multiplier, abs=1e-7)
    assert event.multiplicity == 1


def test_two_multipliers_that_cross_together_are_one_event() -> None:
    maps = family(lambda h, a: torch.tanh(a * h), 2)
    branches = follow(maps, [[0.1, 0.1]], 0.5, 2.0)
    event = only_event(branches[0])
    assert (event.kind, event.multiplicity) == (cd.EventKind.BRANCH_POINT, 2)
    assert event.parameter == pytest.approx(1, abs=1e-8)
    assert branches.untried == 1
    assert "crossing branches not followed: 1" in branches.summary()


@pytest.mark.parametrize("gap", [1e-4, 1e-6])
def test_no_step_jumps_across_the_gap_of_a_broken_pitchfork(gap: float) -> None:
    branches = follow(
        family(lambda h, a: torch.tanh(a * h + gap)), [[-1.0], [0.0], [1.0]], 2.0, 0.5
    )

    def slope_one(a: float) -> float:
        h = -math.sqrt(1 - 1 / a)
        return math.atanh(h) - a * h - gap

    fold = brentq(slope_one, 1 + 1e-9, 1.9, xtol=1e-15)
    for branch in branches.branches[:2]:
        event = only_event(branch)
        assert event.kind == cd.EventKind.FOLD
        assert event.parameter == pytest.approx(fold, abs=1e-8)
        assert branch.end == cd.BranchEnd.RETURNED
    assert branches[2].events == ()
    assert branches[2].end == cd.BranchEnd.REACHED
    assert (branches[2].states > 0).all()


def bent(slope: float) -> Family:
    """Slope 1/2 below zero, another one above, and a parameter that is added."""
    return family(lambda h, p: 0.5 * h + (slope - 0.5) * torch.relu(h) + p)


def test_two_points_that_meet_at_a_kink_are_a_corner_fold() -> None:
    branches = follow(bent(2.0), [[-2.0], [1.0]], -1.0, 1.0)
    assert branches.points.states.flatten().tolist() == pytest.approx([-2, 1])
    for branch, other in zip(branches, (1.0, -2.0), strict=True):
        event = only_event(branch)
        assert event.kind == cd.EventKind.CORNER_FOLD
        assert event.parameter == pytest.approx(0, abs=1e-8)
        assert event.state.tolist() == pytest.approx([0], abs=1e-7)
        assert event.multiplicity == 0
        assert branch.end == cd.BranchEnd.RETURNED
        assert float(branch.states[-1]) == pytest.approx(other)


def test_a_point_that_loses_its_stability_at_a_kink_passes_a_corner() -> None:
    branches = follow(bent(-1.5), [[-2.0]], -1.0, 1.0)
    event = only_event(branches[0])
    assert event.kind == cd.EventKind.CORNER
    assert event.parameter == pytest.approx(0, abs=1e-8)
    assert branches[0].unstable_dims.tolist()[:: len(branches[0]) - 1] == [0, 1]
    assert float(branches[0].states[-1]) == pytest.approx(0.4)
