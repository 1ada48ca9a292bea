"""Cycles found by search: those of the known systems, each once."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import captum_dynamics as cd
from captum_dynamics.cycles import around
from captum_dynamics.tasks.flipflop import load_flipflop
from captum_dynamics.testing import KnownSystem, all_systems
from captum_dynamics.testing.systems import (
    coupled_switches,
    flip,
    henon,
    logistic,
    spiral,
    threshold_linear,
)

DATA = Path(__file__).parent / "data"
CYCLIC = [system for system in all_systems() if system.cycles]


def search(system: KnownSystem, period: int, count: int = 200) -> cd.Cycles:
    generator = torch.Generator().manual_seed(0)
    starts = system.sample_starts(count, generator=generator)
    return cd.find_cycles(system.dynamics, starts, system.inputs, period)


@pytest.mark.parametrize("system", CYCLIC, ids=lambda system: system.name)
def test_a_known_cycle_is_found_once(system: KnownSystem) -> None:
    for known in system.cycles:
        cycles = search(system, len(known))
        shifts = [known.roll(-shift, 0) for shift in range(len(known))]
        same = [
            sum(torch.allclose(found, shift, atol=1e-8) for shift in shifts)
            for found in cycles.states
        ]
        assert sorted(same)[-2:] in ([1], [0, 1])
        assert cycles.residual_norms.max() < 1e-11


@pytest.mark.parametrize(
    ("system", "multipliers"),
    [
        (flip(), [0.0276797]),
        (logistic(), [0.16]),
        (henon(), [-3.010101, -0.029899]),
        (threshold_linear(), [1.05, -0.55]),
    ],
    ids=lambda value: value.name if isinstance(value, KnownSystem) else None,
)
def test_multipliers_of_2_cycles_are_the_published_ones(
    system: KnownSystem, multipliers: list[float]
) -> None:
    cycles = search(system, 2)
    assert len(cycles) == 1
    found = cycles.eigenvalues[0].real.tolist()
    assert found == pytest.approx(multipliers, abs=1e-6)


def assert_multipliers_are_differences(
    dynamics: cd.DynamicsMap, cycles: cd.Cycles, inputs: torch.Tensor
) -> None:
    """Compare with eigenvalues of differences of F^k at the first states."""
    once = dynamics.iterate(cycles.period)
    for start, found in zip(cycles.states[:, 0], cycles.eigenvalues, strict=True):
        units = 1e-6 * torch.eye(len(start), dtype=torch.float64)
        slopes = (once(start + units, inputs) - once(start - units, inputs)) / 2e-6
        gaps = (found[:, None] - torch.linalg.eigvals(slopes.mT)).abs()
        assert gaps.amin(0).max() < 1e-6 * (1 + found.abs().max())


def test_multipliers_of_a_long_cycle_are_those_of_differences() -> None:
    system = spiral()
    cycles = search(system, 8)
    assert len(cycles) > 0
    assert_multipliers_are_differences(system.dynamics, cycles, system.inputs)


def test_fixed_points_are_cycles_of_period_one_and_of_no_other() -> None:
    system = coupled_switches()
    once = search(system, 1, count=400)
    assert len(once) == 9
    assert system.distances(once.states[:, 0]).max() < 1e-9
    assert len(search(system, 2)) == len(search(system, 3)) == 0


def test_a_map_without_any_cycle_gives_none() -> None:
    # h + 1 + |h| has neither fixed points nor cycles.
    runaway = cd.FunctionAdapter(lambda h, x: h + 1 + h.abs(), 1, 0)
    starts = torch.linspace(-1, 1, 4)[:, None]
    cycles = cd.find_cycles(runaway, starts, torch.zeros(1, 0), 2)
    assert len(cycles) == 0
    assert cycles.states.shape == (0, 2, 1)


@pytest.mark.parametrize("gain", [0.0, 1.0])
def test_cycles_at_different_inputs_are_different(gain: float) -> None:
    # Also where the input changes nothing.
    mirror = cd.FunctionAdapter(lambda h, x: torch.tanh(gain * x - 2 * h), 1, 1)
    starts = torch.linspace(-1, 1, 10).repeat(2)[:, None]
    inputs = torch.tensor([0.0, 0.1]).repeat_interleave(10)[:, None]
    cycles = cd.find_cycles(mirror, starts, inputs, 2)
    assert sorted(cycles.inputs.flatten().tolist()) == pytest.approx([0.0, 0.1])


def test_a_strongly_unstable_cycle_is_closed_to_rounding() -> None:
    # Its multiplier is 4^10: rounding grows a millionfold in one round of F^10.
    tent = cd.FunctionAdapter(
        lambda h, x: 2 - 4 * torch.relu(h) - 4 * torch.relu(-h),
        1,
        0,
        traits=cd.Traits(piecewise_linear=True),
    )
    generator = torch.Generator().manual_seed(0)
    starts = 2 * torch.rand(200, 1, generator=generator) - 1
    cycles = cd.find_cycles(tent, starts, torch.zeros(1, 0), 10)
    assert len(cycles) > 10
    assert cycles.residual_norms.max() < 1e-12
    assert torch.allclose(cycles.eigenvalues.abs(), torch.tensor(4.0**10).double())


@pytest.mark.parametrize(("seed", "period"), [(0, 2), (8, 3), (10, 3)])
def test_a_search_finds_nothing_that_enumeration_lacks(seed: int, period: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    W = 2.5 * torch.randn(4, 4, generator=generator, dtype=torch.float64)
    c = torch.randn(4, generator=generator, dtype=torch.float64)
    eye = torch.eye(4, dtype=torch.float64)
    form = cd.ActivationForm(-0.5 * eye, eye, W, c, 0 * c)
    traits = cd.Traits(piecewise_linear=True)
    net = cd.FunctionAdapter(
        lambda h, x: form(h), 4, 0, traits=traits, activation_form=lambda _: form
    )
    everything = cd.enumerate_cycles(net, torch.zeros(0), period)
    starts = 3 * torch.randn(300, 4, generator=generator, dtype=torch.float64)
    found = cd.find_cycles(net, starts, torch.zeros(0).double(), period)
    assert 0 < len(found) <= len(everything)
    for sequence in found.states:
        gaps = (everything.states - sequence[0]).norm(dim=2)
        assert gaps.min() < 1e-9
    assert_multipliers_are_differences(net, everything, torch.zeros(1, 0).double())


def test_a_trained_flipflop_has_no_cycle_of_two() -> None:
    dynamics = cd.adapt(load_flipflop(DATA / "flipflop_relu.safetensors").rnn)
    generator = torch.Generator().manual_seed(0)
    starts = 10 * torch.rand(100, 16, generator=generator, dtype=torch.float64)
    assert len(cd.find_cycles(dynamics, starts, torch.zeros(3).double(), 2)) == 0


def test_jacobians_of_the_map_around_are_those_of_autograd() -> None:
    rounds = around(henon().dynamics, 3)
    states = torch.randn(4, 6, dtype=torch.float64)
    inputs = torch.zeros(4, 0).double()
    wanted = super(type(rounds), rounds).jacobians(states, inputs)
    assert torch.allclose(rounds.jacobians(states, inputs), wanted, atol=1e-14)
    assert rounds.layout.names == ("h@0", "h@1", "h@2")
    new = rounds(states, inputs)
    assert torch.equal(new[:, 2:4], henon().dynamics(states[:, :2], inputs))


@pytest.mark.parametrize("period", [0, -1])
def test_a_period_below_one_is_refused(period: int) -> None:
    with pytest.raises(ValueError, match="`period` to be positive"):
        search(flip(), period)
