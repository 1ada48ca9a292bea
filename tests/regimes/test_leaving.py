"""Runs that leave every bound, creep, or are lost: the units and rates are named."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import captum_dynamics as cd
from captum_dynamics import Block, Regime, StateLayout

NONE = torch.zeros(1, 0)


def starts(n: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return 2 * torch.rand(n, width, generator=generator, dtype=torch.float64) - 1


def counting_lstm(unit: int, forget: float = 40.0) -> cd.DynamicsMap:
    """An LSTM of five cells, one of which adds 1 to itself at every step."""
    torch.manual_seed(0)
    layer = nn.LSTM(1, 5)
    gates = [unit, 5 + unit, 10 + unit]  # i, f, g
    with torch.no_grad():
        for weights in layer.parameters():
            weights.mul_(0.3)
        layer.weight_hh_l0[gates] = 0
        layer.bias_ih_l0[gates] = torch.tensor([40.0, forget, 40.0])
    return cd.adapt(layer)


def moving(step: str) -> cd.Ending:
    """The one end of runs of a map of one unit, given as an expression in h."""
    code = compile(step, "step", "eval")
    dynamics = cd.FunctionAdapter(
        lambda h, x: eval(code, {"h": h, "torch": torch}), 1, 0
    )
    (end,) = cd.classify_runs(dynamics, starts(10, 1), NONE, steps=512).endings
    return end


@pytest.mark.parametrize("unit", [3, 0])
def test_a_cell_that_counts_is_named_with_its_rate(unit: int) -> None:
    runs = starts(20, 10)
    regimes = cd.classify_runs(counting_lstm(unit), runs, torch.zeros(1), steps=1024)
    assert regimes.summary() == (
        f"no stable fixed point; unbounded direction: c[{unit}], grows 1.0 per step "
        f"(20 of 20 long runs)"
    )
    (end,) = regimes.endings
    assert end.growth[0].rate == pytest.approx(1, abs=1e-9)
    # Long before 1e6, and just as well far from where cells usually are.
    assert regimes.states.abs().max() < 1100
    high = runs + 1e4
    regimes = cd.classify_runs(counting_lstm(unit), high, torch.zeros(1), steps=1024)
    assert [growth.unit for growth in regimes.endings[0].growth] == [f"c[{unit}]"]


def test_a_cell_that_leaks_will_rest_and_is_not_called_unbounded() -> None:
    # It rests at 1 / (1 - f), 22,000 steps away.
    regimes = cd.classify_runs(
        counting_lstm(3, forget=10.0), starts(10, 10), torch.zeros(1), steps=1024
    )
    assert [end.regime for end in regimes.endings] == [Regime.SLOW]
    assert regimes.summary().startswith("no long run at rest; slow: still moves by ")


def test_growth_that_feeds_on_itself_is_told_by_its_factor() -> None:
    layout = StateLayout((Block("slow", 1), Block("fast", 2)))
    factors = torch.tensor([0.5, 2.0, 2.0], dtype=torch.float64)
    dynamics = cd.FunctionAdapter(lambda h, x: factors * h, layout, 0)
    (end,) = cd.classify_runs(dynamics, starts(10, 3).sign(), NONE).endings
    assert [growth.unit for growth in end.growth] == ["fast[0]", "fast[1]"]
    assert [growth.rate for growth in end.growth] == pytest.approx([2, 2])
    assert all(growth.exponential for growth in end.growth)
    assert end.describe() == (
        "unbounded directions: fast[0], grows 2.000-fold per step, and fast[1], grows "
        "2.000-fold per step (10 of 10 long runs)"
    )


def test_growth_is_seen_behind_a_change_of_sign_and_behind_chaos() -> None:
    alternating = moving("-h - h.sign()")
    assert alternating.growth[0].rate == pytest.approx(1, abs=1e-3)
    assert not alternating.growth[0].exponential

    def step(h: Tensor, _: Tensor) -> Tensor:
        chaos = 3.9 * h[:, :1] * (1 - h[:, :1])
        return torch.cat([chaos, h[:, 1:] + h[:, :1]], dim=1)

    runs = torch.cat([starts(10, 1).abs(), starts(10, 1)], dim=1)
    driven = cd.classify_runs(cd.FunctionAdapter(step, 2, 0), runs, NONE, steps=512)
    (end,) = driven.of(Regime.UNBOUNDED)
    assert [growth.unit for growth in end.growth] == ["h[1]"]
    assert end.runs == 10
    assert 0.4 < end.growth[0].rate < 0.8


def test_steady_growth_that_is_fast_is_not_taken_for_exponential() -> None:
    end = moving("h + 5e3")
    assert end.growth[0].rate == pytest.approx(5e3, rel=1e-9)
    assert not end.growth[0].exponential


@pytest.mark.parametrize(
    "step", ["h + 1e-6", "0.9999 * h", "0.99999 * h + 1e-4", "h - h ** 3", "h + 1e-9"]
)
def test_what_creeps_is_slow_and_neither_rests_nor_leaves(step: str) -> None:
    end = moving(step)
    assert (end.regime, end.runs) == (Regime.SLOW, 10)
    assert end.residual_norm < 1e-3
    assert len(end.states) == 10


def test_a_turn_inwards_that_is_slow_is_no_torus() -> None:
    turn = torch.tensor([[0.6, -0.8], [0.8, 0.6]], dtype=torch.float64)
    focus = cd.FunctionAdapter(lambda h, x: 0.9997 * h @ turn.mT, 2, 0)
    (end,) = cd.classify_runs(focus, starts(10, 2), NONE, steps=512).endings
    assert end.regime == Regime.SLOW


def test_a_slow_spiral_into_a_point_is_no_cycle_though_it_nearly_returns() -> None:
    angle = torch.tensor(2 * torch.pi / 7).double()
    rows = [[angle.cos(), -2 * angle.sin()], [angle.sin() / 2, angle.cos()]]
    turn = torch.tensor(
        rows, dtype=torch.float64
    )  # along an ellipse: now fast, now slow
    spiral = cd.FunctionAdapter(lambda h, x: 0.9971 * h @ turn.mT, 2, 0)
    (end,) = cd.classify_runs(spiral, starts(10, 2), NONE, steps=512).endings
    assert end.regime == Regime.SLOW


def test_a_unit_that_wanders_is_not_said_to_grow() -> None:
    def step(h: Tensor, _: Tensor) -> Tensor:
        chaos = 4 * h[:, :1] * (1 - h[:, :1])
        # Driven without a drift, a memory of 1,000 steps wanders far and wide.
        return torch.cat([chaos, 0.999 * h[:, 1:] + 3 * (h[:, :1] - 0.5)], dim=1)

    runs = torch.cat([starts(60, 1).abs(), starts(60, 1)], dim=1)
    net = cd.FunctionAdapter(step, 2, 0)
    wandering = cd.classify_runs(net, runs, NONE, steps=1024)
    assert wandering.of(Regime.UNBOUNDED) == ()


def test_a_turn_too_slow_to_be_seen_to_return_is_not_resolved() -> None:
    angle = torch.tensor(2 * torch.pi / 20_000).double()
    rows = [
        torch.stack([angle.cos(), -angle.sin()]),
        torch.stack([angle.sin(), angle.cos()]),
    ]
    turn = torch.stack(rows)

    def step(h: Tensor, _: Tensor) -> Tensor:
        return h @ turn.mT * (1.1 - 0.1 * h.square().sum(1, keepdim=True))

    (end,) = cd.classify_runs(
        cd.FunctionAdapter(step, 2, 0), starts(5, 2), NONE, steps=512
    ).endings
    assert end.regime == Regime.UNRESOLVED
    assert "does not come back within 2165 steps" in end.describe()


def test_rare_bursts_leave_it_open_whether_deviations_grow() -> None:
    # Just before its window of period 3, where it stays near that cycle for long.
    bursts = cd.FunctionAdapter(lambda h, x: (1 + 8**0.5 - 2e-6) * h * (1 - h), 1, 0)
    (end,) = cd.classify_runs(bursts, starts(5, 1).abs(), NONE, steps=128).endings
    assert end.regime == Regime.UNRESOLVED
    assert end.reason == "its largest exponent is not told from zero"


def test_chaos_that_is_lost_in_the_end_is_not_called_an_attractor() -> None:
    # Of every 5,000 steps or so one leads out through a gap in the middle.
    leaky = cd.FunctionAdapter(lambda h, x: (4 + 4e-7) * h * (1 - h), 1, 0)
    regimes = cd.classify_runs(leaky, starts(60, 1).abs(), NONE)
    reasons = [end.reason for end in regimes.of(Regime.UNRESOLVED)]
    assert reasons == ["leaves every bound in the end"]
    assert regimes.of(Regime.UNBOUNDED)
    assert sum(end.runs for end in regimes.endings) == 60
