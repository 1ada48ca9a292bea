"""ODE functions in torchdiffeq's form, held against torchdiffeq and SciPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import root
from torch import Tensor, nn

import captum_dynamics as cd
from captum_dynamics.adapters import Euler, RungeKutta4
from captum_dynamics.testing import check_adapter


class Field(nn.Module):
    """A small neural ODE."""

    def __init__(self, width: int = 3) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.inner = nn.Linear(width, 5)
        self.outer = nn.Linear(5, width)
        for weight in self.parameters():
            nn.init.normal_(weight, std=0.7, generator=generator)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.outer(torch.tanh(self.inner(y))) - y


class Driven(Field):
    """The same with an input."""

    def forward(self, t: Tensor, y: Tensor, x: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(t, y) + x


class Solved(nn.Module):
    """A cell that torchdiffeq follows for one step of Euler."""

    def __init__(self, func: Driven, dt: float) -> None:
        super().__init__()
        self.func, self.dt = func, dt

    def forward(self, x: Tensor, hx: Tensor | None = None) -> Tensor:
        torchdiffeq = pytest.importorskip("torchdiffeq")
        start = torch.zeros(len(x), 3, dtype=x.dtype) if hx is None else hx
        times = torch.tensor([0.0, self.dt], dtype=x.dtype)
        ends: Tensor = torchdiffeq.odeint(
            lambda t, y: self.func(t, y, x), start, times, method="euler"
        )
        return ends[-1]


def starts(count: int = 16) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return 2 * torch.randn(count, 3, generator=generator, dtype=torch.float64)


def test_the_flow_follows_torchdiffeq_to_where_it_rests() -> None:
    torchdiffeq = pytest.importorskip("torchdiffeq", reason="torchdiffeq not installed")
    func = Field().double()
    flow = cd.ContinuousAdapter.of_ode(func, 3, integrator=RungeKutta4(dt=0.02))
    inputs = torch.zeros(4, 50, 0, dtype=torch.float64)
    times = torch.linspace(0, 1, 51, dtype=torch.float64)
    exact = torchdiffeq.odeint(func, starts(4), times, rtol=1e-11, atol=1e-11)
    followed = flow.rollout(starts(4), inputs)
    assert (followed - exact[1:].transpose(0, 1)).abs().max() < 1e-8
    points = cd.find_fixed_points(flow.rate_map, starts(), torch.zeros(1, 0)).unique()
    verdicts = cd.linearize_flow(flow, points).stability
    attractors = points.states[verdicts == cd.Stability.ATTRACTOR]
    late = torch.tensor([0.0, 200.0], dtype=torch.float64)
    ends = torchdiffeq.odeint(func, starts(4), late, rtol=1e-9, atol=1e-11)[-1]
    assert torch.cdist(ends, attractors).amin(1).max() < 1e-6


def test_points_of_a_module_in_single_precision_are_those_of_scipy() -> None:
    func = Field()
    flow = cd.ContinuousAdapter.of_ode(func, 3, integrator=Euler(dt=0.1))
    points = cd.find_fixed_points(flow.rate_map, starts(), torch.zeros(1, 0)).unique()
    weights = {k: v.detach().double().numpy() for k, v in func.named_parameters()}

    def rate(y: np.ndarray) -> np.ndarray:
        inner = np.tanh(weights["inner.weight"] @ y + weights["inner.bias"])
        return weights["outer.weight"] @ inner + weights["outer.bias"] - y

    fixed = points.states[points.kind == cd.Kind.FIXED]
    assert len(fixed)
    for state in fixed.numpy():
        assert root(rate, state + 1e-3, tol=1e-13).x == pytest.approx(state, abs=1e-9)
    assert func.inner.weight.dtype == torch.float32
    assert func.inner.weight.requires_grad


def test_a_driven_function_passes_all_six_checks_beside_torchdiffeq() -> None:
    pytest.importorskip("torchdiffeq", reason="torchdiffeq not installed")
    cell = Solved(Driven().double(), 0.25)
    flow = cd.ContinuousAdapter.of_ode(cell.func, 3, 3, integrator=Euler(dt=0.25))
    report = check_adapter(flow, cell, torch.randn(3, 6, 3, dtype=torch.float64))
    assert report.passed, report


def test_time_stands_still_where_it_is_said_to() -> None:
    def func(t: Tensor, y: Tensor) -> Tensor:
        assert t.ndim == 0
        return t - y

    nothing = torch.zeros(1, 0)
    for time in (0.0, 2.5):
        flow = cd.ContinuousAdapter.of_ode(func, 1, integrator=Euler(dt=0.1), t=time)
        points = cd.find_fixed_points(flow.rate_map, torch.ones(1, 1), nothing)
        assert points.states.item() == pytest.approx(time)


def test_a_function_of_a_tuple_is_given_a_mapping_of_shapes() -> None:
    turn = torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=torch.float64)

    def func(t: Tensor, y: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        matrix, scale = y
        return matrix @ turn - matrix, 1 + t - scale

    flow = cd.ContinuousAdapter.of_ode(
        func, {"m": (2, 2), "s": 1}, integrator=Euler(dt=0.1)
    )
    points = cd.find_fixed_points(flow.rate_map, torch.ones(1, 5), torch.zeros(1, 0))
    assert points.states[0].tolist() == pytest.approx([0, 0, 0, 0, 1], abs=1e-9)
    rates = cd.linearize_flow(flow, points).rates[0]
    assert sorted(rates.imag.tolist()) == pytest.approx([-1, -1, 0, 1, 1])


def test_active_dropout_in_an_ode_function_is_refused() -> None:
    func = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5))
    with pytest.raises(cd.UnsupportedLayerError, match=r"dropout is active.*eval\(\)"):
        cd.ContinuousAdapter.of_ode(func, 2, integrator=Euler(dt=0.1))
