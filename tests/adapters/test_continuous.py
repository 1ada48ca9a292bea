"""Flows rest where dh/dt is zero, and are stable by the real parts of their rates."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from scipy.optimize import root
from torch import Tensor, nn

import captum_dynamics as cd
from captum_dynamics.adapters import Euler, RungeKutta4
from captum_dynamics.testing import check_adapter

NOTHING = torch.zeros(1, 0, dtype=torch.float64)


def fitzhugh_nagumo(h: Tensor, x: Tensor) -> Tensor:
    """v' = v - v^3/3 - w + I, w' = 0.08 (v + 0.7 - 0.8 w)."""
    v, w = h.unbind(-1)
    return torch.stack([v - v**3 / 3 - w + x[:, 0], 0.08 * (v + 0.7 - 0.8 * w)], dim=-1)


def neuron(dt: float = 0.5) -> cd.ContinuousAdapter:
    return cd.ContinuousAdapter(fitzhugh_nagumo, 2, 1, integrator=RungeKutta4(dt))


def as_numpy(h: np.ndarray, current: float) -> np.ndarray:
    x = torch.tensor([[current]], dtype=torch.float64)
    return fitzhugh_nagumo(torch.tensor(h)[None], x)[0].numpy()


@pytest.mark.parametrize("current", [0.0, 0.5, 1.0])
def test_points_are_those_that_scipy_finds(current: float) -> None:
    x = torch.tensor([[current]], dtype=torch.float64)
    flow = neuron()
    starts = torch.randn(16, 2, dtype=torch.float64)
    points = cd.find_fixed_points(flow.rate_map, starts, x).unique()
    wanted = root(lambda h: as_numpy(h, current), [0.0, 0.0], tol=1e-12).x
    fixed = points[points.kind == cd.Kind.FIXED]
    assert len(fixed) == 1
    assert fixed.states[0].numpy() == pytest.approx(wanted, abs=1e-9)


def test_rates_and_stability_follow_the_hopf_bifurcation_of_the_neuron() -> None:
    flow, verdicts = neuron(), []
    for current in (0.0, 0.5):
        x = torch.tensor([[current]], dtype=torch.float64)
        points = cd.find_fixed_points(flow.rate_map, torch.zeros(1, 2).double(), x)
        found = cd.linearize_flow(flow, points)
        v = float(points.states[0, 0])
        wanted = np.linalg.eigvals([[1 - v**2, -1.0], [0.08, -0.064]])
        wanted = wanted[np.argsort(-wanted.real)]
        assert np.sort_complex(found.rates[0].numpy()) == pytest.approx(
            np.sort_complex(wanted), abs=1e-9
        )
        assert float(found.rates[0, 0].real) == pytest.approx(wanted[0].real)
        verdicts.append(int(found.stability))
    assert verdicts == [cd.Stability.ATTRACTOR, cd.Stability.REPELLER]


def test_a_fast_mode_is_stable_whatever_the_step_says() -> None:
    flow = cd.ContinuousAdapter(
        lambda h, x: h * torch.tensor([-50.0, 0.25]).to(h), 2, 0, integrator=Euler(0.1)
    )
    start = torch.zeros(1, 2, dtype=torch.float64)
    points = cd.find_fixed_points(flow.rate_map, start, NOTHING)
    found = cd.linearize_flow(flow, points)
    assert found.rates.real.tolist() == [[0.25, -50.0]]
    assert found.unstable_dims.tolist() == [1]
    assert cd.linearize(flow, points).unstable_dims.tolist() == [2]
    assert found.time_constants[0, 1] == pytest.approx(0.02)
    assert found.time_constants[0].isnan().tolist() == [True, False]
    assert found.growth_times[0, 0] == pytest.approx(np.log(2) / 0.25)
    multipliers = found.multipliers(2.0)[0].real
    assert multipliers.tolist() == pytest.approx([np.exp(0.5), np.exp(-100)])
    assert "saddle, leading rate +0.2500" in found.summary()


def test_a_centre_is_marginal_and_turns_with_its_period() -> None:
    flow = cd.ContinuousAdapter(
        lambda h, x: torch.stack([h[:, 1], -4 * h[:, 0]], dim=-1),
        2,
        0,
        integrator=RungeKutta4(0.1),
    )
    points = cd.find_fixed_points(flow.rate_map, torch.ones(1, 2).double(), NOTHING)
    found = cd.linearize_flow(flow, points)
    assert found.stability.tolist() == [cd.Stability.MARGINAL]
    assert found.rotation_periods[0].tolist() == pytest.approx([np.pi, np.pi])
    assert found.time_constants.isinf().all()


def test_trajectories_are_those_of_scipy_to_the_order_of_the_method() -> None:
    start, errors = [-1.0, 1.0], []
    wanted = solve_ivp(
        lambda _, h: as_numpy(h, 0.5), (0, 8), start, rtol=1e-12, atol=1e-12
    ).y[:, -1]
    for steps in (16, 32):
        flow = neuron(8 / steps)
        inputs = torch.full((1, steps, 1), 0.5, dtype=torch.float64)
        run = flow.rollout(torch.tensor([start], dtype=torch.float64), inputs)
        errors.append(float(np.abs(run[0, -1].numpy() - wanted).max()))
    # Of fourth order: half the step, about a sixteenth of the error.
    assert 8 < errors[0] / errors[1] < 32


def test_what_only_the_integrator_rests_at_is_spurious() -> None:
    flow = cd.ContinuousAdapter(
        lambda h, x: h * (1 - h), 1, 0, integrator=RungeKutta4(3.0)
    )
    h = np.polynomial.Polynomial([0.0, 1.0])

    def rate(y: np.polynomial.Polynomial) -> np.polynomial.Polynomial:
        return y * (1 - y)

    k1 = rate(h)
    k2 = rate(h + 1.5 * k1)
    k3 = rate(h + 1.5 * k2)
    moved = k1 + 2 * k2 + 2 * k3 + rate(h + 3.0 * k3)
    roots = moved.roots()
    rests = np.sort(roots[np.abs(roots.imag) < 1e-9].real)
    artefacts = [r for r in rests if min(abs(r), abs(r - 1)) > 1e-6]
    assert artefacts
    starts = torch.tensor(rests, dtype=torch.float64)[:, None]
    points = cd.find_fixed_points(flow, starts, NOTHING)
    fixed = points.states[points.kind == cd.Kind.FIXED].flatten().tolist()
    assert sorted(fixed) == pytest.approx([0.0, 1.0], abs=1e-8)
    assert int((points.kind == cd.Kind.SPURIOUS).sum()) == len(artefacts)


class Cell(nn.Module):
    """One Euler step of a leaky rate network."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 3, dtype=torch.float64))

    def rate(self, h: Tensor, x: Tensor) -> Tensor:
        return -h + torch.tanh(h @ self.weight.T + x)

    def forward(self, x: Tensor, h: Tensor | None = None) -> Tensor:
        h = torch.zeros_like(x) if h is None else h
        return h + 0.1 * self.rate(h, x)


def test_a_rate_network_is_its_adapter() -> None:
    cell = Cell()
    flow = cd.ContinuousAdapter(cell.rate, 3, 3, integrator=Euler(0.1))
    report = check_adapter(flow, cell, torch.randn(3, 5, 3, dtype=torch.float64))
    assert report.passed, report.table()


def test_wrong_steps_and_rates_are_refused() -> None:
    with pytest.raises(ValueError, match="`dt` to be positive, got 0"):
        Euler(0.0)
    flow = cd.ContinuousAdapter(lambda h, x: h[:, :1], 2, 0, integrator=Euler(0.1))
    with pytest.raises(ValueError, match=r"`rate` to keep the shape \(3, 2\)"):
        flow(torch.zeros(3, 2), torch.zeros(1, 0))
