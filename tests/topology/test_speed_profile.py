"""Speeds along curves, against motions whose integrals are known."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from captum_dynamics.topology import SpeedProfile
from captum_dynamics.topology.speed_profile import measure_speeds, no_profile


def on_line(speeds: list[float]) -> SpeedProfile:
    """Points one apart."""
    values = torch.tensor(speeds, dtype=torch.float64)
    arcs = torch.arange(len(values), dtype=torch.float64)
    length = float(arcs[-1])
    return SpeedProfile(arcs, values, torch.arange(len(values)), length, False)


def on_ring(speeds: Tensor) -> SpeedProfile:
    """Points that go once round a ring of length 2 pi."""
    count = len(speeds)
    arcs = 2 * math.pi * torch.arange(count, dtype=torch.float64) / count
    return SpeedProfile(arcs, speeds, torch.arange(count), 2 * math.pi, True)


def test_zeros_lie_where_the_speed_changes_its_sign_and_tell_who_returns() -> None:
    profile = on_line([1.0, -3.0, -1.0, 1.0])
    assert profile.zeros.tolist() == [0.25, 2.5]
    assert profile.stable.tolist() == [True, False]
    assert (profile.pairs, profile.largest) == (1, 3.0)


def test_points_at_rest_between_two_ways_are_one_zero_in_their_middle() -> None:
    assert on_line([1.0, 0.0, 0.0, -1.0]).zeros.tolist() == [1.5]
    assert on_line([1.0, 0.0, 1.0]).zeros.tolist() == []


def test_rounding_is_no_motion() -> None:
    profile = on_line([1e-16, -1e-16, 1e-16, -1e-16])
    assert len(profile.zeros) == 0
    assert bool(torch.isinf(profile.drift_times()).all())


@pytest.mark.parametrize("start", [0.0, 0.1, 0.7])
def test_zeros_of_a_ring_alternate_wherever_it_is_cut(start: float) -> None:
    angles = 2 * math.pi * torch.arange(64, dtype=torch.float64) / 64 + start
    profile = on_ring(-torch.sin(3 * angles))
    assert len(profile.zeros) == 6
    assert profile.pairs == 3
    stable = profile.stable.tolist()
    assert all(a != b for a, b in pairwise(stable))
    rests = (profile.zeros[profile.stable] + start) % (2 * math.pi / 3)
    off = torch.minimum(rests, 2 * math.pi / 3 - rests)
    assert float(off.max()) < 1e-3


def test_drift_at_a_constant_speed_takes_distance_over_speed() -> None:
    ring = on_ring(torch.full((40,), -0.01, dtype=torch.float64))
    expected = torch.full((40,), 0.25 * 2 * math.pi / 0.01, dtype=torch.float64)
    torch.testing.assert_close(ring.drift_times(0.25), expected)


def test_drift_at_a_speed_that_is_linear_follows_the_logarithm() -> None:
    """On ds/dt = -s / 1000 a state needs 1000 ln(s / (s - L/10)) to drift L/10."""
    arcs = torch.linspace(0, 2, 41, dtype=torch.float64)
    profile = SpeedProfile(arcs, -arcs / 1000, torch.arange(41), 2.0, False)
    times = profile.drift_times(0.1)
    away = arcs > 0.2 + 1e-9
    expected = 1000 * torch.log(arcs[away] / (arcs[away] - 0.2))
    torch.testing.assert_close(times[away], expected)
    assert bool(torch.isinf(times[~away]).all())


def test_a_state_that_comes_to_rest_or_to_the_end_never_drifts_so_far() -> None:
    times = on_line([1.0, 1.0, -1.0, -1.0]).drift_times(0.6)
    assert bool(torch.isinf(times).all())
    times = on_line([1.0, 1.0, 1.0, 1.0]).drift_times(0.5)
    assert times.tolist() == [1.5, 1.5, float("inf"), float("inf")]


@pytest.mark.parametrize("share", [0.0, -1.0, float("nan")])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="`share`"):
        on_line([1.0, 1.0]).drift_times(share)


def test_speeds_are_projections_on_the_tangents_of_a_circle() -> None:
    angles = 2 * math.pi * torch.arange(50, dtype=torch.float64) / 50
    states = torch.stack([angles.cos(), angles.sin()], dim=1)
    forward = torch.stack([-angles.sin(), angles.cos()], dim=1)
    motion = angles[:, None].cos() * forward + 5 * states
    profile = measure_speeds(states, motion, torch.arange(50), closed=True)
    torch.testing.assert_close(profile.speeds, angles.cos())
    assert profile.length == pytest.approx(100 * math.sin(math.pi / 50))
    line = measure_speeds(states, motion, torch.arange(50), closed=False)
    assert line.length == pytest.approx(98 * math.sin(math.pi / 50))
    torch.testing.assert_close(line.speeds[1:-1], angles.cos()[1:-1])


def test_no_curve_has_an_empty_profile() -> None:
    profile = no_profile(torch.zeros(0, 3))
    assert (len(profile), profile.largest, profile.pairs) == (0, 0.0, 0)
    assert len(profile.zeros) == len(profile.drift_times()) == 0
    assert profile.summary() == "its speed does not change sign"
