"""Shares, places and words of the ends of long runs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import binomtest

import captum_dynamics as cd
from captum_dynamics import Ending, Growth, Regime, Regimes

NOTHING = torch.zeros(0, dtype=torch.float64)


def ending(regime: Regime, runs: int = 1, **facts: object) -> Ending:
    states = torch.zeros(1, 2, dtype=torch.float64)
    return Ending(regime, states, 0, 0.5, NOTHING, NOTHING, runs, 9, **facts)  # type: ignore[arg-type]


@pytest.mark.parametrize(("runs", "count"), [(0, 5), (1, 100), (50, 100), (7, 7)])
def test_shares_have_the_interval_of_wilson(runs: int, count: int) -> None:
    end = Ending(Regime.CYCLE, torch.zeros(1, 1), 1, 0.0, NOTHING, NOTHING, runs, count)
    expected = binomtest(runs, count).proportion_ci(method="wilson")
    assert end.interval == pytest.approx((expected.low, expected.high), abs=1e-6)
    assert end.share == runs / count


def test_every_run_is_a_member_of_one_end_and_ends_are_in_order() -> None:
    def step(h: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        return torch.where(
            h > 2, 2 * h, torch.where(h > 0, torch.tanh(2 * h), -h.tanh())
        )

    runs = torch.tensor(
        [[3.0], [1.0], [4.0], [0.5], [0.7], [-1.0]], dtype=torch.float64
    )
    regimes = cd.classify_runs(cd.FunctionAdapter(step, 1, 0), runs, torch.zeros(1, 0))
    assert [end.regime for end in regimes.endings] == [Regime.REST, Regime.UNBOUNDED]
    assert regimes.members.tolist() == [1, 0, 1, 0, 0, 0]
    assert [end.runs for end in regimes.endings] == [4, 2]
    assert len(regimes) == 2


def test_planes_keep_the_distances_of_plane_states() -> None:
    turn = cd.FunctionAdapter(lambda h, x: torch.tanh(-2 * h), 2, 0)
    generator = torch.Generator().manual_seed(0)
    runs = torch.rand(20, 2, generator=generator, dtype=torch.float64) - 0.5
    regimes = cd.classify_runs(turn, runs, torch.zeros(1, 0))
    states = torch.cat([end.states for end in regimes.endings]).numpy()
    flat = torch.cat(regimes.planes).numpy()
    gaps = np.linalg.norm(states[:, None] - states, axis=2)
    assert np.linalg.norm(flat[:, None] - flat, axis=2) == pytest.approx(gaps)


def test_a_state_of_one_unit_has_a_plane_too() -> None:
    flip = cd.FunctionAdapter(lambda h, x: torch.tanh(-2 * h), 1, 0)
    regimes = cd.classify_runs(flip, torch.ones(2, 1), torch.zeros(1, 0))
    (flat,) = regimes.planes
    assert flat.shape == (2, 2)
    assert flat[:, 1].tolist() == [0, 0]


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (
            ending(Regime.SLOW),
            "slow: still moves by 5.0e-01 per step (1 of 9 long runs)",
        ),
        (
            ending(Regime.UNRESOLVED, 3, reason="no reason"),
            "unresolved: no reason (3 of 9 long runs)",
        ),
        (
            ending(
                Regime.UNBOUNDED,
                growth=tuple(Growth(f"c[{unit}]", 0.5, False) for unit in range(6)),
            ),
            "unbounded directions: c[0], grows 0.50 per step, and c[1], grows 0.50 per "
            "step, and c[2], grows 0.50 per step, and c[3], grows 0.50 per step, and "
            "2 more (1 of 9 long runs)",
        ),
    ],
)
def test_ends_are_told_in_words(end: Ending, words: str) -> None:
    assert end.describe() == words


def test_a_summary_of_many_ends_stays_short() -> None:
    ends = tuple(ending(Regime.QUASI_PERIODIC, zeros=1) for _ in range(9))
    members = torch.arange(9)
    text = Regimes(ends, members, torch.zeros(9, 2, dtype=torch.float64)).summary()
    assert text.startswith("no stable fixed point; quasi-periodic motion with 1 zero")
    assert text.endswith("; and 5 other ends")


def test_a_unit_of_a_layout_has_a_name() -> None:
    layout = cd.StateLayout((cd.Block("h", 2), cd.Block("c", 3)))
    assert [layout.unit(column) for column in range(5)] == [
        "h[0]",
        "h[1]",
        "c[0]",
        "c[1]",
        "c[2]",
    ]
    for column in (-1, 5):
        with pytest.raises(IndexError, match="column from 0 to 4"):
            layout.unit(column)
