"""Sets that attract long runs, against systems whose sets are known exactly."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import captum_dynamics as cd
from captum_dynamics import Regime
from captum_dynamics.tasks.flipflop import load_flipflop
from captum_dynamics.testing import KnownSystem
from captum_dynamics.testing.systems import (
    flip,
    henon,
    line_attractor,
    logistic,
    pitchfork,
    ring,
    spiral,
    threshold_linear,
    uncoupled_switches,
)

DATA = Path(__file__).parents[1] / "data"
NONE = torch.zeros(1, 0)
GOLDEN = (math.sqrt(5) - 1) / 2


def starts(n: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return 2 * torch.rand(n, width, generator=generator, dtype=torch.float64) - 1


def classified(system: KnownSystem, **settings: int) -> cd.Regimes:
    generator = torch.Generator().manual_seed(0)
    runs = system.sample_starts(100, generator=generator)
    return cd.classify_runs(system.dynamics, runs, system.inputs, **settings)


def logistic_runs(r: float) -> cd.Regimes:
    runs = starts(40, 1).abs()
    return cd.classify_runs(logistic(r).dynamics, runs, NONE, steps=512)


def circle(turn: float, pull: float = 0.1) -> cd.FunctionAdapter:
    """Turn the plane, and pull it to the unit circle."""
    cos, sin = math.cos(2 * math.pi * turn), math.sin(2 * math.pi * turn)
    R = torch.tensor([[cos, -sin], [sin, cos]], dtype=torch.float64)
    return cd.FunctionAdapter(
        lambda h, x: h @ R.mT * (1 + pull * (1 - h.square().sum(1, keepdim=True))), 2, 0
    )


@pytest.mark.parametrize("system", [spiral(), flip(), logistic()], ids=lambda s: s.name)
def test_a_cycle_is_one_end_however_many_runs_go_round_it(system: KnownSystem) -> None:
    (known,) = system.cycles
    regimes = classified(system)
    (cycle,) = regimes.of(Regime.CYCLE)
    assert cycle.period == len(cycle.states) == len(known)
    assert cycle.residual_norm < 1e-8
    assert torch.cdist(known, cycle.states).amin(1).max() < 1e-9
    images = system.dynamics(cycle.states, system.inputs)
    assert torch.allclose(images, cycle.states.roll(-1, 0), atol=1e-8)
    solved = cd.find_cycles(system.dynamics, known[:1], system.inputs, len(known))
    multipliers = solved.eigenvalues[0].abs()
    assert torch.allclose(cycle.exponents.mul(len(known)).exp(), multipliers)
    assert regimes.summary().startswith(
        f"no stable fixed point; period-{len(known)} cycle ({cycle.runs} of 100 long"
    )


def test_the_message_names_the_cycle_of_the_spiral() -> None:
    assert classified(spiral()).summary() == (
        "no stable fixed point; period-8 cycle (100 of 100 long runs)"
    )


def test_cycles_side_by_side_are_told_apart() -> None:
    flips = cd.FunctionAdapter(lambda h, x: torch.tanh(-2 * h), 2, 0)
    runs = starts(100, 2)
    regimes = cd.classify_runs(flips, runs, NONE)
    same_sign = runs.prod(1) > 0
    assert [end.period for end in regimes.endings] == [2, 2]
    # Each run is on the cycle of its quadrant.
    assert len(regimes.members[same_sign].unique()) == 1
    assert len(regimes.members[~same_sign].unique()) == 1


def test_a_cycle_longer_than_asked_for_is_not_resolved_and_the_reason_is_given() -> (
    None
):
    (end,) = classified(spiral(), longest=7, steps=256).endings
    assert end.regime == Regime.UNRESOLVED
    assert "repeats itself after 8 steps" in end.describe()


def test_henon_is_chaotic_with_the_published_exponents() -> None:
    regimes = classified(henon())
    (chaos,) = regimes.of(Regime.CHAOTIC)
    largest, error = chaos.exponents[0], chaos.errors[0]
    assert abs(largest - 0.4194) < 4 * error < 0.05
    assert chaos.exponents.sum() == pytest.approx(math.log(0.3), abs=1e-9)
    assert chaos.dimension == pytest.approx(1.258, abs=0.03)
    # Its states are a run in order, and the only other end is to run off.
    images = henon().dynamics(chaos.states[:-1], NONE)
    assert torch.equal(images, chaos.states[1:])
    assert chaos.runs + regimes.of(Regime.UNBOUNDED)[0].runs == 100


def test_the_logistic_map_at_4_doubles_deviations() -> None:
    (end,) = logistic_runs(4.0).endings
    assert end.regime == Regime.CHAOTIC
    assert abs(end.exponents[0] - math.log(2)) < 4 * end.errors[0] < 0.05
    assert end.dimension == 1
    assert end.interval[0] > 0.9


def test_bands_that_take_turns_are_one_chaotic_set_and_windows_are_cycles() -> None:
    (bands,) = logistic_runs(3.6).endings
    assert bands.regime == Regime.CHAOTIC
    (window,) = logistic_runs(3.83).endings
    assert (window.regime, window.period) == (Regime.CYCLE, 3)


def test_two_chaotic_sets_are_two_ends() -> None:
    def step(h: Tensor, _: Tensor) -> Tensor:
        chaos = 3.9 * h[:, :1] * (1 - h[:, :1])
        return torch.cat([chaos, torch.tanh(3 * h[:, 1:])], dim=1)

    runs = torch.cat([starts(40, 1).abs(), starts(40, 1).flip(0)], dim=1)
    regimes = cd.classify_runs(cd.FunctionAdapter(step, 2, 0), runs, NONE, steps=256)
    assert [end.regime for end in regimes.endings] == [Regime.CHAOTIC] * 2
    upper = runs[:, 1] > 0
    assert sorted(end.runs for end in regimes.endings) == sorted(
        [int(upper.sum()), int((~upper).sum())]
    )
    assert len(regimes.members[upper].unique()) == 1


@pytest.mark.parametrize("turn", [1 - GOLDEN, 0.4957, 0.0413])
def test_a_circle_is_quasi_periodic_and_its_rotation_is_known(turn: float) -> None:
    regimes = cd.classify_runs(circle(turn), starts(20, 2), NONE, steps=512)
    (end,) = regimes.endings
    assert end.regime == Regime.QUASI_PERIODIC
    assert end.zeros == 1
    assert end.dimension == 1
    assert end.exponents.tolist() == pytest.approx([0, math.log(0.8)], abs=1e-6)
    assert end.rotation == pytest.approx(min(turn, 1 - turn), abs=1e-8)
    assert torch.allclose(end.states.norm(dim=1), torch.ones(()).double())
    assert "quasi-periodic motion with 1 zero exponent, 0." in regimes.summary()


def test_a_rational_turn_is_a_cycle() -> None:
    regimes = cd.classify_runs(circle(2 / 7), starts(20, 2), NONE, steps=512)
    assert {end.period for end in regimes.endings} == {7}
    assert all(end.zeros == 1 and end.degenerate for end in regimes.endings)


def test_a_torus_of_two_dimensions_has_two_zero_exponents() -> None:
    one, other = circle(GOLDEN), circle(math.sqrt(2) - 1)

    def step(h: Tensor, x: Tensor) -> Tensor:
        return torch.cat([one.step(h[:, :2], x), other.step(h[:, 2:], x)], dim=1)

    regimes = cd.classify_runs(
        cd.FunctionAdapter(step, 4, 0), starts(12, 4), NONE, steps=512
    )
    (end,) = regimes.endings
    assert (end.regime, end.zeros, end.dimension) == (Regime.QUASI_PERIODIC, 2, 2)
    assert math.isnan(end.rotation)


def test_a_random_network_with_a_large_gain_is_chaotic() -> None:
    generator = torch.Generator().manual_seed(0)
    W = torch.randn(40, 40, generator=generator, dtype=torch.float64) * 2 / 40**0.5
    net = cd.FunctionAdapter(lambda h, x: torch.tanh(h @ W.mT), 40, 0)
    regimes = cd.classify_runs(net, starts(30, 40), NONE, steps=512)
    (end,) = regimes.endings
    assert end.regime == Regime.CHAOTIC
    assert end.exponents[0] > 3 * end.errors[0]
    # Eight exponents are too few for its dimension, and none is made up.
    assert math.isnan(end.dimension)


def test_points_at_rest_are_told_apart_and_a_continuum_is_one_end() -> None:
    switches = classified(uncoupled_switches(2))
    assert switches.summary() == "4 fixed points (100 of 100 long runs)"
    attractors = uncoupled_switches(2).states
    for end in switches.endings:
        assert torch.cdist(end.states, attractors).min() < 1e-9
        assert end.exponents.exp().tolist() == pytest.approx([0.1663720878] * 2)
    for system in (ring(), line_attractor()):
        (end,) = classified(system).endings
        assert end.describe() == "continuum of fixed points (100 of 100 long runs)"
        assert system.distances(end.states).max() < 1e-6
        assert len(end.states) > 10
    assert len(classified(threshold_linear())) == len(classified(pitchfork())) == 2


def test_a_trained_memory_rests_at_its_eight_attractors() -> None:
    dynamics = cd.adapt(load_flipflop(DATA / "flipflop_gru.safetensors").rnn)
    runs = starts(100, dynamics.state_dim)
    regimes = cd.classify_runs(dynamics, runs, torch.zeros(3))
    assert regimes.summary() == "8 fixed points (100 of 100 long runs)"


def test_a_point_that_repels_is_not_called_stable() -> None:
    runs = torch.tensor([[0.0], [0.5], [-0.5]])
    regimes = cd.classify_runs(flip().dynamics, runs, NONE)
    assert regimes.summary() == (
        "no stable fixed point; unstable fixed point, started at (1 of 3 long runs); "
        "period-2 cycle (2 of 3 long runs)"
    )


def test_a_map_in_single_precision_has_its_sets_too() -> None:
    traits = cd.Traits(float64=False)
    flips = cd.FunctionAdapter(lambda h, x: torch.tanh(-2 * h), 1, 0, traits=traits)
    regimes = cd.classify_runs(flips, starts(20, 1).float(), NONE)
    assert [(end.regime, end.runs) for end in regimes.endings] == [(Regime.CYCLE, 20)]


def test_what_is_given_stays_as_it_was() -> None:
    torch.manual_seed(0)
    layer = nn.GRU(2, 8)
    runs, inputs = starts(10, 8), torch.zeros(2)
    kept = [value.clone() for value in (runs, inputs, *layer.parameters())]
    cd.classify_runs(cd.adapt(layer), runs, inputs, steps=128)
    for before, after in zip(kept, (runs, inputs, *layer.parameters()), strict=True):
        assert torch.equal(before, after)
    assert all(weight.requires_grad for weight in layer.parameters())


def test_several_inputs_are_refused() -> None:
    switch = cd.FunctionAdapter(lambda h, x: torch.tanh(2 * h + x), 1, 1)
    with pytest.raises(ValueError, match="`inputs` to be one constant input"):
        cd.classify_runs(switch, starts(2, 1), torch.tensor([[0.0], [0.1]]))


@pytest.mark.misuse
def test_what_cannot_be_followed_is_refused() -> None:
    dynamics = flip().dynamics
    with pytest.raises(ValueError, match="`initial_states` to have at least one"):
        cd.classify_runs(dynamics, starts(0, 1), NONE)
    with pytest.raises(ValueError, match="`initial_states` to be finite"):
        cd.classify_runs(dynamics, torch.full((2, 1), torch.nan), NONE)
    for name, least in (("longest", 1), ("steps", 64), ("count", 1)):
        with pytest.raises(ValueError, match=f"`{name}` to be a whole .* {least}"):
            cd.classify_runs(dynamics, starts(2, 1), NONE, **{name: least - 1})
