"""Lyapunov exponents against published values, algebra, and plain numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import captum_dynamics as cd
from captum_dynamics.testing.systems import focus, henon, line_attractor, ring, spiral

NONE = torch.zeros(1, 0, dtype=torch.float64)


def tanh_net(width: int, gain: float, seed: int = 0) -> tuple[cd.DynamicsMap, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    W = torch.randn(width, width, generator=generator, dtype=torch.float64)
    W = gain * W / math.sqrt(width)
    return cd.FunctionAdapter(lambda h, x: torch.tanh(h @ W.mT), width, 0), W


def starts(n: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(n, width, generator=generator, dtype=torch.float64) - 0.5


def by_numpy(W: Tensor, start: Tensor, steps: int, transient: int) -> np.ndarray:
    """The spectrum of tanh(W h) by numpy alone, and the mean of log|det J| last."""
    weights, state = W.numpy(), start.numpy()
    frame = np.linalg.qr(np.random.default_rng(0).normal(size=W.shape))[0]
    total, volume = np.zeros(len(weights)), 0.0
    for step in range(transient + steps):
        new = np.tanh(weights @ state)
        slope = (1 - new**2)[:, None] * weights
        frame, upper = np.linalg.qr(slope @ frame)
        if step >= transient:
            total += np.log(np.abs(np.diag(upper)))
            volume += np.linalg.slogdet(slope)[1]
        state = new
    return np.append(total, volume) / steps


def test_the_exponents_of_henon_are_the_published_ones() -> None:
    runs = starts(64, 2) / 10
    spectrum = cd.lyapunov_exponents(henon().dynamics, runs, NONE, steps=1024)
    assert spectrum.exponents.mean(0).tolist() == pytest.approx(
        [0.4194, -1.6234], abs=4e-3
    )
    # The area shrinks by .3 at every step, wherever the run is.
    areas = spectrum.exponents.sum(1)
    assert torch.allclose(areas, torch.full_like(areas, math.log(0.3)), atol=1e-12)
    assert spectrum.dimension.mean() == pytest.approx(1.2584, abs=3e-3)
    assert spectrum.zeros.tolist() == [0] * 64
    # Errors from the blocks of each run are the scatter between runs.
    scatter = spectrum.exponents[:, 0].std()
    assert 0.5 * scatter < spectrum.errors[:, 0].mean() < 2 * scatter


def test_exponents_of_a_cycle_are_logarithms_of_its_multipliers() -> None:
    system = spiral()
    (cycle,) = system.cycles
    found = cd.find_cycles(system.dynamics, cycle[:1], NONE, len(cycle))
    spectrum = cd.lyapunov_exponents(system.dynamics, starts(1, 2), NONE, steps=800)
    expected = found.eigenvalues.abs().log() / len(cycle)
    assert torch.allclose(spectrum.exponents, expected, atol=1e-9)
    assert spectrum.dimension.tolist() == [0]


def test_a_circle_that_attracts_has_one_zero_exponent() -> None:
    turn, pull = math.pi * (math.sqrt(5) - 1), 0.1
    cos, sin = math.cos(turn), math.sin(turn)
    R = torch.tensor([[cos, -sin], [sin, cos]], dtype=torch.float64)

    circle = cd.FunctionAdapter(
        lambda h, x: h @ R.mT * (1 + pull * (1 - h.square().sum(1, keepdim=True))), 2, 0
    )
    spectrum = cd.lyapunov_exponents(circle, starts(2, 2), NONE)
    expected = torch.tensor([0, math.log(1 - 2 * pull)], dtype=torch.float64)
    assert torch.allclose(spectrum.exponents, expected.expand(2, 2), atol=1e-9)
    assert spectrum.zeros.tolist() == [1, 1]
    assert spectrum.dimension.tolist() == [1, 1]


def test_a_random_network_is_as_chaotic_as_numpy_says() -> None:
    dynamics, W = tanh_net(24, 3.0)
    run = starts(1, 24)
    spectrum = cd.lyapunov_exponents(dynamics, run, NONE, steps=3200)
    *expected, _ = by_numpy(W, run[0], 3200, 512)
    # Rounding grows until the two runs are apart: they agree as far as errors say.
    gaps = spectrum.exponents[0] - torch.tensor(np.sort(expected)[::-1].copy())
    assert (gaps.abs() < 5 * spectrum.errors[0] + 1e-3).all()
    assert spectrum.errors[0, 0] < 0.01
    assert spectrum.exponents[0, 0] > 3 * spectrum.errors[0, 0] > 0


def test_the_sum_of_all_exponents_is_how_volumes_shrink() -> None:
    dynamics, W = tanh_net(24, 3.0)
    run = starts(1, 24)
    spectrum = cd.lyapunov_exponents(dynamics, run, NONE, steps=64, transient=0)
    volume = by_numpy(W, run[0], 64, 0)[-1]
    assert spectrum.exponents.sum() == pytest.approx(volume, abs=1e-5)


def test_products_and_jacobians_give_the_same_leading_exponents() -> None:
    dynamics, _ = tanh_net(40, 0.9)
    settings = {"steps": 64, "transient": 200}
    whole = cd.lyapunov_exponents(dynamics, starts(2, 40), NONE, **settings)
    few = cd.lyapunov_exponents(dynamics, starts(2, 40), NONE, count=3, **settings)
    assert few.exponents.shape == (2, 3)
    assert torch.allclose(few.exponents, whole.exponents[:, :3], atol=2e-3)
    assert torch.equal(few.dimension, torch.zeros(2).double())


@pytest.mark.parametrize("place", [0, 6, 19])
def test_the_largest_exponent_is_found_wherever_it_is(place: int) -> None:
    decay = torch.full((20,), 0.5, dtype=torch.float64)
    decay[place] = 0.9
    units = cd.FunctionAdapter(lambda h, x: decay * h, 20, 0)
    spectrum = cd.lyapunov_exponents(units, starts(1, 20), NONE, count=1, steps=64)
    assert float(spectrum.exponents) == pytest.approx(math.log(0.9), abs=1e-6)


def test_too_few_exponents_give_no_dimension() -> None:
    dynamics, _ = tanh_net(40, 2.0)
    few = cd.lyapunov_exponents(dynamics, starts(1, 40), NONE, count=2, steps=256)
    assert few.exponents.min() > 0
    assert few.dimension.isnan().all()


def test_what_a_linear_map_does_is_its_eigenvalues() -> None:
    for system, expected in ((focus(), [0.5, 0.5]), (line_attractor(), [1, 0.5, 0.5])):
        width = system.dynamics.state_dim
        spectrum = cd.lyapunov_exponents(system.dynamics, starts(1, width), NONE)
        logs = torch.tensor(expected).double().log()
        # A frame turns into its place at the rate of 1 / steps.
        assert torch.allclose(spectrum.exponents[0], logs, atol=1e-3)


def test_a_direction_that_is_lost_and_a_run_that_leaves_are_named() -> None:
    away = torch.tensor([[0.3, 0.1], [1e9, 1e9]], dtype=torch.float64)
    spectrum = cd.lyapunov_exponents(ring().dynamics, away, NONE, steps=64)
    assert spectrum.exponents[0].tolist() == [pytest.approx(0, abs=1e-9), -torch.inf]
    assert spectrum.exponents[1].isnan().all()
    assert spectrum.dimension[0] == 1
    assert spectrum.dimension[1].isnan()


def test_no_run_influences_another() -> None:
    torch.manual_seed(0)
    gru = cd.adapt(nn.GRU(2, 24))
    runs, inputs = starts(5, 24), starts(5, 2)
    settings = {"count": 4, "steps": 32, "transient": 8}
    whole = cd.lyapunov_exponents(gru, runs, inputs, **settings)
    part = cd.lyapunov_exponents(gru, runs[3:], inputs[3:], **settings)
    assert torch.allclose(whole.exponents[3:], part.exponents, atol=1e-10)
    small = cd.lyapunov_exponents(gru, runs, inputs, **settings, budget=1)
    assert torch.allclose(whole.exponents, small.exponents, atol=1e-10)
    full = {"steps": 32, "transient": 8}
    one = cd.lyapunov_exponents(gru, runs, inputs, **full)
    cut = cd.lyapunov_exponents(gru, runs, inputs, **full, budget=60_000)
    assert torch.allclose(one.exponents, cut.exponents, atol=1e-10)


def test_steps_are_rounded_up_to_whole_blocks() -> None:
    spectrum = cd.lyapunov_exponents(focus().dynamics, starts(1, 2), NONE, steps=33)
    assert spectrum.steps == 48
    assert len(spectrum) == 1


@pytest.mark.misuse
@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ({"count": 0}, "`count` to be a whole number of at least 1"),
        ({"steps": 0}, "`steps` to be a whole number of at least 1"),
        ({"transient": -1}, "`transient` to be a whole number of at least 0"),
        ({"budget": 0}, "`budget` to be positive"),
    ],
)
def test_settings_that_cannot_be_met_are_refused(
    setting: dict[str, int], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        cd.lyapunov_exponents(focus().dynamics, starts(1, 2), NONE, **setting)
    with pytest.raises(ValueError, match="`states` to have at least one row"):
        cd.lyapunov_exponents(focus().dynamics, starts(0, 2), NONE)
