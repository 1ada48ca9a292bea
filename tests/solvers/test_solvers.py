"""Every solver tells the truth on every system whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import optimize
from torch import Tensor, nn

import captum_dynamics as cd
from captum_dynamics.adapters._gated import GatedTangent
from captum_dynamics.solvers import (
    Cascade,
    Dogleg,
    GradientDescent,
    Iteration,
    LevenbergMarquardt,
    MixedPrecision,
    Newton,
    NewtonKrylov,
    PiecewiseLinear,
    Solver,
    Status,
)
from captum_dynamics.testing import KnownSystem, all_systems, check_solver
from captum_dynamics.testing.systems import (
    bistable,
    coupled_switches,
    flip,
    hopfield,
    line_attractor,
    perturbed_ring,
    pitchfork,
    ring,
    spiral,
    uncoupled_switches,
)

# Short budgets where a search that cannot succeed would use all of it.
SOLVERS = [
    MixedPrecision(),
    Dogleg(max_steps=100),
    NewtonKrylov(max_steps=100, patience=30),
    LevenbergMarquardt(max_steps=100, patience=30),
    Newton(max_steps=100, patience=30),
    Newton(damping=0.5, max_steps=100, patience=30),
    PiecewiseLinear(max_steps=100, patience=30),
    Iteration(max_steps=150, patience=50),
    GradientDescent(max_steps=250, patience=100, decay=0.97),
]
SYSTEMS = [*all_systems(), uncoupled_switches(3), bistable(gain=1.2)]
LOCATABLE = [
    system
    for system in SYSTEMS
    if system.nearest is None and system.name != "pitchfork"
]


def name(thing: KnownSystem | Solver) -> str:
    return thing.name if isinstance(thing, KnownSystem) else type(thing).__name__


def search(system: KnownSystem, solver: Solver, count: int = 200) -> cd.FixedPoints:
    """Distinct fixed points from many starts in the system's region."""
    generator = torch.Generator().manual_seed(0)
    starts = system.sample_starts(count, generator=generator)
    points = cd.find_fixed_points(system.dynamics, starts, system.inputs, solver=solver)
    return points[points.kind == cd.Kind.FIXED].unique()


@pytest.mark.parametrize("system", SYSTEMS, ids=name)
def test_a_known_system_is_what_it_says(system: KnownSystem) -> None:
    inputs = system.inputs.expand(len(system.states), -1)
    assert system.dynamics.residual(system.states, inputs).abs().max() < 1e-14
    jacobians = system.dynamics.jacobians(system.states, inputs).numpy()
    for found, known in zip(
        np.linalg.eigvals(jacobians), system.eigenvalues, strict=True
    ):
        gaps = np.abs(found[:, None] - known.numpy())
        assert gaps.min(0).max() < 1e-12
        assert gaps.min(1).max() < 1e-12
    for cycle in system.cycles:
        new = system.dynamics.step(cycle, system.inputs.expand(len(cycle), -1))
        assert torch.allclose(new, cycle.roll(-1, 0), atol=1e-14)
        assert system.distances(cycle).min() > 0.05
    for start, end in system.edges:
        assert system.unstable_dims[start] == system.unstable_dims[end] + 1
    if system.index_rule:
        assert system.index_sum == 1


@pytest.mark.parametrize(
    ("system", "points", "edges"),
    [
        (bistable(), [2, 1], 2),
        (uncoupled_switches(2), [4, 4, 1], 12),
        (uncoupled_switches(3), [8, 12, 6, 1], 54),
        (spiral(), [0, 0, 1], 0),
        (hopfield(), [4, 4, 1], 12),
        (perturbed_ring(), [2, 2, 1], 6),
        (coupled_switches(), [4, 4, 1], 12),
    ],
    ids=lambda value: value.name if isinstance(value, KnownSystem) else None,
)
def test_known_systems_have_the_published_counts(
    system: KnownSystem, points: list[int], edges: int
) -> None:
    assert torch.bincount(system.unstable_dims).tolist() == points
    assert len(set(system.edges)) == edges


def test_known_points_have_the_published_digits() -> None:
    assert float(bistable().states[2]) == pytest.approx(0.9575040241, abs=1e-10)
    assert float(bistable().eigenvalues[1].real) == pytest.approx(0.1663720878)
    saddle = coupled_switches()
    assert saddle.states[5].tolist() == pytest.approx([0.825642, 0.489132], abs=1e-6)
    found = saddle.eigenvalues[5].real.tolist()
    assert found == pytest.approx([1.246753, 0.479752], abs=1e-6)
    lengths = spiral().cycles[0].norm(dim=1)[:2].tolist()
    assert lengths == pytest.approx([0.920828, 1.062962], abs=1e-6)


@pytest.mark.parametrize("system", LOCATABLE, ids=name)
def test_edges_are_orbits_from_their_first_point_to_the_second(
    system: KnownSystem,
) -> None:
    for start, end in system.edges:
        if system.unstable_dims[start] != 1:
            continue  # only a single unstable direction says where to start
        inputs = system.inputs
        values, vectors = torch.linalg.eig(
            system.dynamics.jacobians(system.states[[start]], inputs)[0]
        )
        direction = vectors[:, values.abs().argmax()].real
        reached = []
        for sign in (-1e-4, 1e-4):
            h = (system.states[start] + sign * direction)[None]
            steps = inputs[:, None].expand(1, 2000, inputs.shape[1])
            reached.append(system.dynamics.rollout(h, steps)[:, -1])
        gaps = torch.cat(reached) - system.states[end]
        assert gaps.norm(dim=1).min() < 1e-6


@pytest.mark.parametrize("system", LOCATABLE, ids=name)
@pytest.mark.parametrize(
    "solver", [LevenbergMarquardt(), Newton(max_steps=100)], ids=name
)
def test_every_fixed_point_is_found_with_its_multipliers(
    system: KnownSystem, solver: Solver
) -> None:
    points = search(system, solver, count=600)
    assert len(points) == len(system.states)
    gaps = torch.cdist(system.states, points.states)
    assert gaps.amin(1).max() < 1e-6
    linear = cd.linearize(system.dynamics, points[gaps.argmin(1)])
    assert linear.unstable_dims.tolist() == system.unstable_dims.tolist()
    sizes = linear.eigenvalues.abs(), system.eigenvalues.abs()
    assert torch.allclose(*sizes, atol=1e-6)
    assert int(linear.indices.sum()) == system.index_sum


@pytest.mark.parametrize("solver", SOLVERS, ids=name)
def test_a_solver_tells_the_truth(solver: Solver) -> None:
    report = check_solver(solver)
    assert report.passed, report.table()


def test_a_solver_that_lies_is_found_out() -> None:
    class Liar(LevenbergMarquardt):
        def solve(self, *args: object, **kwargs: object) -> cd.solvers.Solution:
            found = super().solve(*args, **kwargs)
            zero = torch.zeros_like(found.status)
            return cd.solvers.Solution(found.states, found.residual_norms, zero, zero)

    report = check_solver(Liar(max_steps=3))
    assert not report.passed


def test_a_solver_that_raises_fails_every_claim() -> None:
    class Broken(Newton):
        def start(self, states: Tensor) -> Tensor:
            raise ArithmeticError("no start")

    report = check_solver(Broken())
    assert not any(row.ok for row in report.rows)
    assert "ArithmeticError: no start" in report.table()


@pytest.mark.parametrize("system", [hopfield(), coupled_switches()], ids=name)
def test_scipy_finds_the_same_roots_from_the_same_starts(system: KnownSystem) -> None:
    starts = system.sample_starts(20, generator=torch.Generator().manual_seed(1))
    inputs = system.inputs

    def residual(h: np.ndarray) -> np.ndarray:
        state = torch.from_numpy(h)[None]
        return system.dynamics.residual(state, inputs)[0].numpy()

    for start in starts:
        theirs = optimize.root(residual, start.numpy(), method="lm", tol=1e-12)
        assert system.distances(torch.from_numpy(theirs.x)[None]) < 1e-6
        there = torch.from_numpy(theirs.x)[None]
        ours = LevenbergMarquardt().solve(system.dynamics, there, inputs)
        assert torch.allclose(ours.states, there, atol=1e-7)


def test_every_point_of_a_line_attractor_is_fixed_and_degenerate() -> None:
    system = line_attractor()
    points = search(system, LevenbergMarquardt(), count=50)
    assert points.degenerate.all()
    assert system.distances(points.states).max() < 1e-10
    assert len(points) > 5
    linear = cd.linearize(system.dynamics, points)
    assert (linear.stability == cd.Stability.MARGINAL).all()
    assert (linear.indices == 0).all()
    v = torch.tensor([2.0, 1.0, 2.0], dtype=torch.float64) * 3 / 8
    left = linear.left_eigenvectors[0, 0].real
    assert torch.allclose(left / left.norm(), v / v.norm() * left.sum().sign())


def test_a_ring_is_found_as_a_continuum_around_a_repeller() -> None:
    system = ring()
    points = search(system, LevenbergMarquardt())
    assert system.distances(points.states).max() < 1e-9
    assert (~points.degenerate).sum() == 1
    assert points.states[~points.degenerate].norm() < 1e-9


def test_a_pitchfork_is_one_degenerate_point_located_to_a_thousandth() -> None:
    system = pitchfork()
    points = search(system, LevenbergMarquardt(), count=400)
    assert len(points) == 3
    assert int(points.degenerate.sum()) == 1
    assert points.states[points.degenerate].norm() < 1e-3
    gaps = torch.cdist(system.states[1:], points[~points.degenerate].states)
    assert gaps.amin(1).max() < 1e-9


def test_only_iteration_promises_that_the_point_attracts_the_start() -> None:
    points = search(coupled_switches(), Iteration())
    linear = cd.linearize(coupled_switches().dynamics, points)
    assert (linear.stability == cd.Stability.ATTRACTOR).all()
    assert len(points) == 4


def no_root() -> cd.FunctionAdapter:
    """h^2 + h + 1 + x: |g| is at least 1 + x, with a minimum at 0."""
    return cd.FunctionAdapter(lambda h, x: h + h**2 + 1, 1, 0)


@pytest.mark.parametrize("solver", [LevenbergMarquardt(), GradientDescent()], ids=name)
def test_a_minimum_of_speed_that_is_no_zero_is_stalled(solver: Solver) -> None:
    start = torch.tensor([[0.7]], dtype=torch.float64)
    solution = solver.solve(no_root(), start, start[:, :0])
    assert solution.status.tolist() == [Status.STALLED]
    assert float(solution.residual_norms) == pytest.approx(1.0, abs=1e-3)


def test_a_cycle_stalls_iteration() -> None:
    solver = Iteration(patience=50)
    start = torch.tensor([[0.3]], dtype=torch.float64)
    flip = cd.FunctionAdapter(lambda h, x: torch.tanh(-2 * h), 1, 0)
    solution = solver.solve(flip, start, start[:, :0])
    assert solution.status.tolist() == [Status.STALLED]
    assert int(solution.steps) < 200


@pytest.mark.parametrize("solver", SOLVERS[1:6], ids=name)
def test_a_budget_of_one_step_runs_out(solver: Solver) -> None:
    short = type(solver)(max_steps=1)
    system = coupled_switches()
    start = torch.tensor([[0.9, 0.2]], dtype=torch.float64)
    solution = short.solve(system.dynamics, start, system.inputs)
    assert solution.status.tolist() == [Status.MAX_STEPS]
    assert solution.steps.tolist() == [1]
    residual = system.dynamics.residual(solution.states, system.inputs)
    assert torch.equal(solution.residual_norms, residual.norm(dim=1))


def test_a_state_that_leaves_the_numbers_is_nonfinite() -> None:
    double = cd.FunctionAdapter(lambda h, x: 10 * h**3, 1, 0)
    starts = torch.tensor([[0.01], [2.0]], dtype=torch.float64)
    solution = Iteration().solve(double, starts, starts[:, :0])
    assert solution.status.tolist() == [Status.CONVERGED, Status.NONFINITE]
    assert float(solution.states[0]) == pytest.approx(0.0, abs=1e-12)


def test_a_singular_newton_row_is_nonfinite_and_alone() -> None:
    system = bistable()
    flat = cd.FunctionAdapter(
        lambda h, x: torch.where(h > 2, h + 1, system.dynamics.step(h, x)), 1, 1
    )
    starts = torch.tensor([[0.9], [3.0], [-0.9]], dtype=torch.float64)
    solution = Newton().solve(flat, starts, starts.new_zeros(3, 1))
    assert solution.status.tolist() == [0, Status.NONFINITE, 0]


@pytest.mark.parametrize("solver", SOLVERS, ids=name)
def test_a_start_that_is_a_fixed_point_takes_no_step(solver: Solver) -> None:
    system = hopfield()
    inputs = system.inputs.expand(9, -1)
    solution = solver.solve(system.dynamics, system.states, inputs)
    assert not solution.steps.any()
    assert torch.equal(solution.states, system.states)


@pytest.mark.parametrize("solver", SOLVERS, ids=name)
def test_chunks_do_not_change_a_search(
    solver: Solver, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = coupled_switches()
    starts = system.sample_starts(7, generator=torch.Generator().manual_seed(2))
    inputs = system.inputs.expand(7, -1)
    whole = solver.solve(system.dynamics, starts, inputs)
    monkeypatch.setattr(type(solver), "bytes_per_row", lambda *_: 2**28)
    parts = solver.solve(system.dynamics, starts, inputs)
    assert torch.allclose(parts.states, whole.states, atol=1e-10)
    assert torch.equal(parts.status, whole.status)


@pytest.mark.parametrize("setting", ["atol", "max_steps", "patience"])
def test_settings_no_search_can_meet_are_refused(setting: str) -> None:
    with pytest.raises(ValueError, match=f"Expected `{setting}` to be positive"):
        Newton(**{setting: 0})


def test_a_cascade_goes_on_where_its_first_solver_failed() -> None:
    system = flip()
    starts = torch.tensor([[0.9], [0.0]], dtype=torch.float64)
    inputs = system.inputs.expand(2, -1)
    cascade = Cascade(Iteration(patience=20), LevenbergMarquardt())
    solution = cascade.solve(system.dynamics, starts, inputs)
    assert solution.status.tolist() == [Status.CONVERGED] * 2
    assert solution.states.abs().max() < 1e-12
    alone = cascade.first.solve(system.dynamics, starts, inputs)
    assert alone.status.tolist() == [Status.STALLED, Status.CONVERGED]
    assert int(solution.steps[0]) > int(alone.steps[0])


def test_dogleg_takes_no_step_that_raises_the_residual() -> None:
    dynamics = hopfield().dynamics
    states = hopfield().sample_starts(50, generator=torch.Generator().manual_seed(1))
    inputs, solver = torch.zeros(50, dynamics.input_dim).double(), Dogleg()
    residuals, memory = dynamics.residual(states, inputs), solver.start(states)
    for _ in range(8):
        before = residuals.norm(dim=-1)
        states, residuals, memory = solver.update(
            dynamics, states, inputs, residuals, memory
        )
        assert (residuals.norm(dim=-1) <= before).all()
        assert torch.equal(residuals, dynamics.residual(states, inputs))


def test_krylov_finds_what_solves_find_without_a_jacobian(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    gru = nn.GRU(2, 200)
    with torch.no_grad():
        gru.weight_hh_l0.mul_(2)
    dynamics, starts = cd.adapt(gru), 2 * torch.rand(4, 200, dtype=torch.float64) - 1
    inputs = torch.zeros(4, 2, dtype=torch.float64)
    solved = Dogleg().solve(dynamics, starts, inputs)
    monkeypatch.setattr(GatedTangent, "jacobians", None)
    solution = NewtonKrylov(krylov_dims=80).solve(dynamics, starts, inputs)
    assert solution.status.tolist() == [Status.CONVERGED] * 4
    assert (solution.states - solved.states).abs().max() < 1e-9


def test_krylov_solves_where_its_products_do_not_suffice() -> None:
    # Multipliers all around 1: three products tell little of fifty dimensions.
    torch.manual_seed(0)
    angles = torch.linspace(0.1, 3, 25, dtype=torch.float64)
    turns = torch.block_diag(
        *(
            0.99 * torch.tensor([[a.cos(), -a.sin()], [a.sin(), a.cos()]])
            for a in angles
        )
    ).double()
    dynamics = cd.FunctionAdapter(lambda h, x: torch.tanh(h @ turns.mT), 50, 0)
    starts, none = torch.randn(3, 50).double(), torch.zeros(3, 0).double()
    few = {"krylov_dims": 3, "forcing": 1e-3}
    solution = NewtonKrylov(**few).solve(dynamics, starts, none)
    assert solution.status.tolist() == [Status.CONVERGED] * 3
    alone = NewtonKrylov(**few, fallback_bytes=0).solve(dynamics, starts, none)
    assert (alone.steps > solution.steps).all()
