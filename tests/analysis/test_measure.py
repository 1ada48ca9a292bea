"""What inputs do through the leading mode, on linear maps with known answers."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

import captum_dynamics as cd
from captum_dynamics.analysis._measure import _untrained_variance, measure_words
from captum_dynamics.findings import Visits, Words
from captum_dynamics.recording import Trajectories

MIX = torch.tensor(
    [[1.0, 0.4, 0.0], [0.2, 1.0, 0.3], [0.1, 0.0, 1.0]], dtype=torch.float64
)
DRIVE = torch.tensor(
    [[0.5, -1.0, 2.0], [1.0, 0.3, 0.0], [0.2, 0.0, 1.0]], dtype=torch.float64
)
READOUT = torch.tensor([1.0, 2.0, -0.5], dtype=torch.float64)
WORDS = torch.tensor([[1.0, 2.0, 3.0], [-1.0, 0.5, 0.0]], dtype=torch.float64)


def turning(rate: float, angle: float, other: float) -> Tensor:
    """A sheared matrix: one pair that turns, and one other rate."""
    block = torch.diag(torch.tensor([rate, rate, other], dtype=torch.float64))
    block[:2, :2] *= math.cos(angle)
    block[0, 1], block[1, 0] = -rate * math.sin(angle), rate * math.sin(angle)
    return MIX @ block @ MIX.inverse()


def words_of(matrix: Tensor, points: int = 1) -> tuple[cd.FunctionAdapter, Words]:
    """Measure WORDS on h' = A h + DRIVE x around 0."""
    dynamics = cd.FunctionAdapter(lambda h, x: h @ matrix.T + x @ DRIVE.T, 3, 3)
    rest = torch.zeros(1, 3, dtype=torch.float64)
    starts = torch.ones(points, 3, dtype=torch.float64)
    linear = cd.linearize(dynamics, cd.find_fixed_points(dynamics, starts, rest))
    none = torch.zeros(0, dtype=torch.float64)
    visits = Visits(
        none.new_zeros(3),
        torch.eye(3, dtype=torch.float64)[:2],
        none,
        none,
        none.new_zeros(0, 2),
        none,
        1.0,
        rest[0],
    )
    scores = torch.zeros(2, dtype=torch.float64)
    names = ("one", "two")
    return dynamics, measure_words(linear, READOUT, visits, names, WORDS, scores)


def remembered(dynamics: cd.DynamicsMap, rate: float, steps: int) -> Tensor:
    """Readout that words leave after some steps of rest, without the decay."""
    rest = torch.zeros(len(WORDS), 3, dtype=torch.float64)
    after = dynamics.iterate(steps)(dynamics(rest, WORDS), rest)
    return after @ READOUT / rate**steps


def test_projection_of_a_word_is_what_reading_it_leaves_on_the_slow_mode() -> None:
    rates = torch.tensor([0.99, 0.3, 0.2], dtype=torch.float64)
    dynamics, words = words_of(MIX @ torch.diag(rates) @ MIX.inverse())
    expected = remembered(dynamics, 0.99, 200)
    torch.testing.assert_close(words.projections, expected, rtol=1e-9, atol=0)


def test_projection_on_a_rotating_pair_is_what_whole_turns_leave_of_a_word() -> None:
    """Eight steps are one turn: the pair's part of the readout is back in phase."""
    dynamics, words = words_of(turning(0.99, math.pi / 4, 0.3))
    expected = remembered(dynamics, 0.99, 200)
    torch.testing.assert_close(words.projections, expected, rtol=1e-9, atol=0)


def test_arrow_of_a_rotating_pair_is_the_gradient_of_its_projections() -> None:
    """The projections are linear in the state's step: its gradient is the arrow."""
    _, words = words_of(turning(0.99, math.pi / 4, 0.3))
    inverse = MIX.inverse()
    gradient = (READOUT @ MIX[:, :2]) @ inverse[:2]
    expected = gradient[:2] / gradient[:2].norm()
    torch.testing.assert_close(words.leading, expected)


def test_a_point_whose_modes_are_dependent_takes_no_part_in_the_means() -> None:
    shear = torch.tensor([[0.5, 1.0], [0.0, 0.5]], dtype=torch.float64)
    split = torch.tensor([[0.9, 1.0], [0.0, 0.5]], dtype=torch.float64)

    def step(h: Tensor, x: Tensor) -> Tensor:
        # Around h_1 = 0 a Jordan block, around h_1 = 1 two modes of their own.
        near = h[:, :1] < 0.5
        away = h - torch.tensor([1.0, 0.0], dtype=torch.float64)
        here = h @ shear.T
        there = away @ split.T + torch.tensor([1.0, 0.0], dtype=torch.float64)
        return torch.where(near, here, there) + x

    dynamics = cd.FunctionAdapter(step, 2, 2)
    starts = torch.tensor([[0.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    points = cd.find_fixed_points(dynamics, starts, torch.zeros(1, 2).double())
    linear = cd.linearize(dynamics, points)
    assert bool(linear.condition[0] > 1e12)
    none = torch.zeros(0, dtype=torch.float64)
    eye = torch.eye(2, dtype=torch.float64)
    visits = Visits(
        eye[0], eye, none, none, none.new_zeros(0, 2), none, 1.0, 0 * eye[0]
    )
    words = measure_words(linear, eye[0], visits, ("x",), eye[:1], eye[0, :1])
    # r_1 = (1, 0), l_1 = (1, 2.5): the readout h_1 of a push along h_1 stays whole.
    assert float(words.projections) == pytest.approx(1.0)
    assert float(words.spreads) == 0.0
    alone = cd.linearize(dynamics, points[:1])
    words = measure_words(alone, eye[0], visits, ("x",), eye[:1], eye[0, :1])
    assert bool(words.projections.isnan() & words.spreads.isnan())
    assert words.strongest(3, positive=True) == []


def test_fresh_weights_are_drawn_without_touching_generators_of_other_devices(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def touched(_: int) -> None:
        raise RuntimeError("the generators of CUDA were seeded")

    monkeypatch.setattr(torch.cuda, "manual_seed_all", touched)
    layer = nn.GRU(2, 3, batch_first=True)
    inputs = torch.randn(4, 6, 2, dtype=torch.float64)
    start = torch.zeros(4, 3, dtype=torch.float64)
    states = cd.adapt(layer).rollout(start, inputs)
    runs = Trajectories(states, inputs, start, torch.full((4,), 6))
    before, weight = torch.random.get_rng_state(), layer.weight_hh_l0.clone()
    first, again, other = (_untrained_variance(layer, runs, s) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(layer.weight_hh_l0, weight)
