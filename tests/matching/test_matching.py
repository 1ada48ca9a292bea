"""Points are matched one to one, by whatever makes them the same."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import captum_dynamics as cd
from captum_dynamics.matching import (
    Matching,
    Nearest,
    Responses,
    SameRow,
    SameSpectrum,
    SharedFeatures,
    link_matchings,
    match_points,
)
from captum_dynamics.testing.systems import (
    KnownSystem,
    bistable,
    hopfield,
    uncoupled_switches,
)


def linearized(system: KnownSystem) -> cd.Linearization:
    points = cd.find_fixed_points(system.dynamics, system.states, system.inputs)
    return cd.linearize(system.dynamics, points)


def placed(*values: float) -> cd.FixedPoints:
    """Points at these places of a line, whatever is fixed there."""
    states = torch.tensor(values, dtype=torch.float64)[:, None]
    still = cd.FunctionAdapter(lambda h, x: h, 1, 0)
    return cd.find_fixed_points(still, states, torch.zeros(1, 0))


def best_by_trying_all(
    first: list[float], second: list[float], radius: float
) -> tuple[int, float]:
    """Most pairs within the radius, and their least sum of distances."""
    if len(first) > len(second):
        first, second = second, first
    best = (0, 0.0)
    for order in itertools.permutations(second, len(first)):
        gaps = [abs(a - b) for a, b in zip(first, order, strict=True)]
        near = [gap for gap in gaps if gap <= radius]
        best = max(best, (len(near), -sum(near)))
    return best[0], -best[1]


places = st.lists(st.floats(-4, 4), min_size=1, max_size=5)


@given(places, places, st.floats(0.1, 4))
def test_as_many_pairs_as_can_be_at_the_least_sum_of_distances(
    first: list[float], second: list[float], radius: float
) -> None:
    found = match_points(placed(*first), placed(*second), matcher=Nearest(radius))
    count, total = best_by_trying_all(first, second, radius)
    assert len(found) == count
    assert float(found.distances.sum()) == pytest.approx(total)
    for (row, column), gap in zip(found.pairs.tolist(), found.distances, strict=True):
        assert float(gap) == pytest.approx(abs(first[row] - second[column]))


def test_no_pair_is_given_up_to_make_others_shorter() -> None:
    found = match_points(
        placed(0.0, 1.0, 2.0), placed(1.0, 2.0, 3.0), matcher=Nearest(radius=1)
    )
    assert found.pairs.tolist() == [[0, 0], [1, 1], [2, 2]]


@given(st.permutations(range(9)))
def test_points_in_another_order_are_found_again(order: list[int]) -> None:
    points = SQUARE.points
    found = match_points(points, points[torch.tensor(order)], matcher=Nearest(1e-6))
    assert [order[column] for column in found.partners.tolist()] == list(range(9))


SQUARE = linearized(uncoupled_switches(2))


def test_what_is_left_over_is_named_on_both_sides() -> None:
    found = match_points(
        placed(0.0, 5.0, 1.0), placed(1.1, -9.0), matcher=Nearest(radius=2)
    )
    assert found.pairs.tolist() == [[2, 0]]
    assert found.partners.tolist() == [-1, -1, 0]
    assert found.unmatched_first.tolist() == [0, 1]
    assert found.unmatched_second.tolist() == [1]
    assert found.summary() == (
        "1 pairs of 3 and 2 points, 0.1 to 0.1 apart; unmatched of the first: 0, 1; "
        "unmatched of the second: 1"
    )


def test_without_a_radius_points_are_paired_however_far_apart() -> None:
    assert len(match_points(placed(0.0), placed(99.0), matcher=Nearest())) == 1


def test_a_row_that_is_not_finite_matches_nothing() -> None:
    points = placed(0.0, 1.0)
    lost = replace(points, states=torch.tensor([[torch.nan], [1.0]]).double())
    found = match_points(lost, points, matcher=Nearest())
    assert found.pairs.tolist() == [[1, 1]]


def test_the_null_matcher_keeps_rows_and_leaves_the_rest() -> None:
    found = match_points(placed(0.0, 1.0, 2.0), placed(9.0, -9.0), matcher=SameRow())
    assert found.pairs.tolist() == [[0, 0], [1, 1]]
    assert found.unmatched_first.tolist() == [2]
    assert found.distances.tolist() == [0, 0]


def test_nothing_matches_nothing() -> None:
    points = placed(0.0)
    found = match_points(points[:0], points, matcher=Nearest())
    assert (len(found), found.unmatched_second.tolist()) == (0, [0])


def resting(x: float) -> cd.FixedPoints:
    """Fixed points of h' = tanh(2 h + x)."""
    starts = torch.tensor([[-1.0], [-0.6], [0.0], [1.0]], dtype=torch.float64)
    inputs = torch.tensor([[x]], dtype=torch.float64)
    points = cd.find_fixed_points(bistable().dynamics, starts, inputs)
    return points[points.kind == cd.Kind.FIXED].unique()


def test_two_of_three_points_are_gone_beyond_the_fold_of_a_switch() -> None:
    # The fold is where 2 (1 - h^2) = 1: at x = artanh(h) - 2 h for h = -sqrt(1/2).
    fold = math.atanh(-math.sqrt(0.5)) + 2 * math.sqrt(0.5)
    sets = [resting(x) for x in (0.9 * fold, 1.1 * fold)]
    found = match_points(*sets, matcher=Nearest(radius=0.2))
    assert (found.first_size, found.second_size, len(found)) == (3, 1, 1)
    assert float(sets[0].states[found.pairs[0, 0]]) > 0


def test_spectra_match_models_of_different_width_by_stability() -> None:
    # Eight units that hold two patterns, and two switches: the same multipliers,
    # beside those of six directions that forget at once.
    memory = linearized(hopfield())
    matcher = SameSpectrum(memory.eigenvalues, SQUARE.eigenvalues)
    found = match_points(memory.points, SQUARE.points, matcher=matcher)
    assert len(found) == 9
    assert found.distances.max() < 1e-9
    dims = memory.unstable_dims, SQUARE.unstable_dims[found.partners]
    assert torch.equal(*dims)


def test_spectra_are_compared_under_the_best_pairing_of_multipliers() -> None:
    points = placed(0.0)
    first = torch.tensor([[0.9, -0.8, 0.1]], dtype=torch.complex128)
    second = torch.tensor([[-0.85, 0.84]], dtype=torch.complex128)
    matcher = SameSpectrum(first, second)
    expected = math.sqrt(0.06**2 + 0.05**2 + 0.1**2)
    (distance,) = match_points(points, points, matcher=matcher).distances
    assert float(distance) == pytest.approx(expected)
    apart = match_points(points, points, matcher=replace(matcher, radius=0.1))
    assert len(apart) == 0


def test_points_of_unlike_stability_do_not_match_however_close_their_spectra() -> None:
    points = placed(0.0)
    first = torch.tensor([[0.999]], dtype=torch.complex128)
    matcher = SameSpectrum(first, first + 0.002)
    assert len(match_points(points, points, matcher=matcher)) == 0


def test_responses_tell_apart_what_the_readout_does_not() -> None:
    # The readout sees the first unit; the second decides what an input does to it.
    gated = cd.FunctionAdapter(
        lambda h, x: torch.stack([h[:, 0] + h[:, 1] * x[:, 0], h[:, 1]], 1), 2, 1
    )
    states = torch.tensor([[0.0, 1.0], [0.0, -1.0]], dtype=torch.float64)
    points = cd.find_fixed_points(gated, states, torch.zeros(1, 1))
    inputs = torch.ones(1, 1, dtype=torch.float64)
    responses = Responses(gated, inputs, lambda h: h[:, :1])
    swapped = points[torch.tensor([1, 0])]
    matcher = SharedFeatures(responses, responses)
    found = match_points(points, swapped, matcher=matcher)
    assert found.partners.tolist() == [1, 0]


def test_a_matching_leaves_the_points_as_they_are() -> None:
    points = placed(0.0, 1.0)
    matcher = SharedFeatures(lambda h: h.mul_(2), lambda h: h.add_(1))
    match_points(points, points, matcher=matcher)
    assert points.states.tolist() == [[0], [1]]


def test_tracks_join_matchings_and_never_over_a_gap() -> None:
    sets = [placed(0.0, 1.0), placed(1.1), placed(0.1, 1.2, 5.0)]
    matchings = [
        match_points(before, after, matcher=Nearest(radius=0.5))
        for before, after in itertools.pairwise(sets)
    ]
    tracks = link_matchings(matchings)
    assert tracks.rows.tolist() == [
        [0, -1, -1],
        [1, 0, 1],
        [-1, -1, 0],
        [-1, -1, 2],
    ]
    assert tracks.lengths.tolist() == [1, 3, 1, 1]
    assert tracks.whole.tolist() == [False, True, False, False]
    assert tracks.summary() == (
        "4 tracks over 3 sets: 1 from first to last, 2 appear later, 1 end before"
    )


def test_tracks_over_a_swept_input_end_where_continuation_folds() -> None:
    dynamics = bistable().dynamics
    values = torch.linspace(0, 0.6, 7, dtype=torch.float64)
    sets = [resting(x) for x in values.tolist()]
    tracks = link_matchings(
        [
            match_points(before, after, matcher=Nearest(radius=0.3))
            for before, after in itertools.pairwise(sets)
        ]
    )
    branches = cd.continue_points(dynamics, sets[0], values[0][None], values[-1][None])
    reaches = [branch.end is cd.BranchEnd.REACHED for branch in branches]
    assert tracks.whole.tolist() == reaches == [False, False, True]
    (fold,) = branches[0].events
    present = int((0.6 * fold.parameter > values).sum())
    assert tracks.lengths.tolist() == [present, present, 7]


ONE = placed(0.0)
PAIR = torch.zeros(1, 2, dtype=torch.complex128)


@pytest.mark.parametrize(
    ("matcher", "complaint"),
    [
        (Nearest(radius=0), "`radius` to be positive"),
        (SharedFeatures(lambda h: h, lambda h: h[:, 0]), r"`second`.*\(1, f\)"),
        (SharedFeatures(lambda h: h, lambda h: h.repeat(1, 2)), "features as `first`"),
        (SameSpectrum(PAIR, PAIR, modes=0), "`modes`"),
        (SameSpectrum(PAIR.repeat(2, 1), PAIR), r"`first`.*\(1, d\).*got \(2, 2\)"),
    ],
    ids=["radius", "shape", "width", "modes", "rows"],
)
def test_matchers_that_cannot_compare_are_refused(
    matcher: cd.matching.Matcher, complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        match_points(ONE, ONE, matcher=matcher)


def test_states_of_different_width_need_shared_features() -> None:
    with pytest.raises(ValueError, match=r"`second`.*width 1.*got 2.*SharedFeatures"):
        match_points(ONE, SQUARE.points, matcher=Nearest())


def test_matchings_that_are_no_neighbours_are_refused() -> None:
    one = Matching(torch.tensor([[0, 0]]), torch.zeros(1), 1, 1)
    with pytest.raises(ValueError, match="`matchings` of neighbours"):
        link_matchings([one, replace(one, first_size=2)])
    with pytest.raises(ValueError, match="`matchings` to hold at least one"):
        link_matchings([])
