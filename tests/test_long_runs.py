"""Where long runs end, against cycles known exactly."""

from __future__ import annotations

import pytest
import torch

import captum_dynamics as cd
from captum_dynamics.long_runs import LongRuns, follow_runs
from captum_dynamics.testing.systems import (
    KnownSystem,
    flip,
    henon,
    logistic,
    ring,
    spiral,
    threshold_linear,
)


def long_runs(system: KnownSystem, **settings: int) -> LongRuns:
    generator = torch.Generator().manual_seed(0)
    starts = system.sample_starts(100, generator=generator)
    return follow_runs(system.dynamics, starts, system.inputs, **settings)


@pytest.mark.parametrize("system", [spiral(), flip(), logistic()], ids=lambda s: s.name)
def test_a_cycle_is_found_with_its_states_in_order(system: KnownSystem) -> None:
    (cycle,) = long_runs(system).cycles
    (known,) = system.cycles
    assert cycle.period == len(known)
    assert cycle.residual_norm < 1e-8
    assert torch.cdist(known, cycle.states).amin(1).max() < 1e-9
    images = system.dynamics(cycle.states, system.inputs)
    assert torch.allclose(images, cycle.states.roll(-1, 0), atol=1e-9)


def test_every_run_is_counted_once() -> None:
    ends = long_runs(logistic())
    assert ends.summary() == (
        f"period-2 cycle ({ends.cycles[0].runs} of 100 long runs); "
        f"{ends.escaped} of 100 long runs leave every bound"
    )
    # Of [-.2, 1.2], states outside [0, 1] escape.
    assert 15 < ends.escaped < 45
    assert ends.unresolved == len(ends.resting) == 0


def test_cycles_side_by_side_are_told_apart() -> None:
    flips = cd.FunctionAdapter(lambda h, x: torch.tanh(-2 * h), 2, 0)
    generator = torch.Generator().manual_seed(0)
    starts = 2 * torch.rand(100, 2, generator=generator) - 1
    ends = follow_runs(flips, starts, torch.zeros(1, 0))
    same_sign = int((starts.prod(1) > 0).sum())
    assert [cycle.period for cycle in ends.cycles] == [2, 2]
    assert {cycle.runs for cycle in ends.cycles} == {same_sign, 100 - same_sign}


def test_chaos_is_no_cycle_though_it_passes_near_unstable_ones() -> None:
    ends = long_runs(henon())
    assert ends.cycles == ()
    assert ends.escaped + ends.unresolved == 100
    assert ends.unresolved > 30


def test_runs_at_rest_are_no_cycles_of_any_period() -> None:
    for system in (threshold_linear(), ring()):
        ends = long_runs(system)
        assert ends.summary() == "100 of 100 long runs come to rest"
        assert system.distances(ends.resting).max() < 1e-7


def test_a_slow_run_is_neither_at_rest_nor_on_a_cycle() -> None:
    creep = cd.FunctionAdapter(lambda h, x: h + 1e-6, 1, 0)
    ends = follow_runs(creep, torch.zeros(3, 1), torch.zeros(1, 0))
    assert ends.unresolved == 3
    # Nor is one that is still on its way to a point close by.
    decay = cd.FunctionAdapter(lambda h, x: 0.99995 * h, 1, 0)
    ends = follow_runs(decay, torch.full((3, 1), 8e-4), torch.zeros(1, 0))
    assert ends.unresolved == 3


def test_a_cycle_longer_than_asked_for_is_not_claimed() -> None:
    assert long_runs(spiral(), longest=7).unresolved == 100


def test_runs_that_have_met_their_past_are_not_followed_further() -> None:
    calls = []

    def step(h: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        calls.append(x)
        return torch.tanh(-2 * h)

    starts = torch.linspace(-1, 1, 100)[:, None]
    follow_runs(cd.FunctionAdapter(step, 1, 0), starts, torch.zeros(1, 0))
    assert len(calls) < 400


@pytest.mark.misuse
def test_what_cannot_be_followed_is_refused() -> None:
    dynamics, none = flip().dynamics, torch.zeros(1, 0)
    with pytest.raises(ValueError, match="`initial_states` to have at least one"):
        follow_runs(dynamics, torch.zeros(0, 1), none)
    for name in ("longest", "steps"):
        with pytest.raises(ValueError, match=f"`{name}` to be positive"):
            follow_runs(dynamics, torch.zeros(1, 1), none, **{name: 0})


def test_a_map_in_single_precision_has_its_cycles_too() -> None:
    traits = cd.Traits(float64=False)
    flips = cd.FunctionAdapter(lambda h, x: torch.tanh(-2 * h), 1, 0, traits=traits)
    still = cd.FunctionAdapter(lambda h, x: torch.tanh(2 * h), 1, 0, traits=traits)
    starts, none = torch.linspace(-1, 1, 100)[:, None], torch.zeros(1, 0)
    assert [cycle.period for cycle in follow_runs(flips, starts, none).cycles] == [2]
    assert len(follow_runs(still, starts, none).resting) == 100
