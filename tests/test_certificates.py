"""Simple fixed points are proven, closely; what is not one, or not simple, never is."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal, localcontext
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import captum_dynamics as cd
from captum_dynamics import _linalg
from captum_dynamics.adapters import RecurrentAdapter
from captum_dynamics.certificates import Method, Reason
from captum_dynamics.tasks.flipflop import flipflop_fixed_points, load_flipflop
from captum_dynamics.testing import KnownSystem
from captum_dynamics.testing.systems import (
    bistable,
    coupled_switches,
    hopfield,
    line_attractor,
    pitchfork,
    uncoupled_switches,
)

DATA = Path(__file__).parent / "data"
REST = torch.zeros(1, 1)


def tanh_layer(weights: Tensor, kind: str = "tanh") -> RecurrentAdapter:
    """h' = tanh(W h + x): the layer that has the equations of a known system."""
    layer = nn.RNN(1, len(weights), bias=False, nonlinearity=kind).double()
    with torch.no_grad():
        layer.weight_hh_l0.copy_(weights)
        layer.weight_ih_l0.fill_(1.0)
    return cd.adapt(layer)


def layer_of(system: KnownSystem) -> RecurrentAdapter:
    """The tanh layer whose weights are the Jacobian of the system at 0."""
    zero = torch.zeros(1, system.dynamics.state_dim).double()
    return tanh_layer(system.dynamics.jacobians(zero, system.inputs)[0])


def search(dynamics: cd.DynamicsMap, starts: Tensor) -> cd.FixedPoints:
    inputs = torch.zeros(1, dynamics.input_dim)
    return cd.find_fixed_points(dynamics, starts, inputs).unique()


def as_fixed(points: cd.FixedPoints) -> cd.FixedPoints:
    """The same points, all said to be fixed and simple."""
    no = torch.zeros_like(points.degenerate)
    return replace(points, kind=torch.zeros_like(points.kind), degenerate=no)


def gaps(points: cd.FixedPoints, others: Tensor) -> Tensor:
    return torch.cdist(points.states, others, p=float("inf"))


def assert_alone(certificates: cd.Certificates) -> None:
    """No other point's proven zero lies in a ball that was proven to hold one."""
    apart = gaps(certificates.points, certificates.points.states)
    apart.fill_diagonal_(torch.inf)
    closest = apart - certificates.existence_radii
    assert (closest > certificates.uniqueness_radii[:, None]).all()


@pytest.mark.parametrize("widest", [256, 1], ids=["krawczyk", "newton-kantorovich"])
@pytest.mark.parametrize(
    "system",
    [
        bistable(),
        uncoupled_switches(2),
        uncoupled_switches(3),
        hopfield(),
        coupled_switches(),
    ],
    ids=lambda system: f"{system.name}-{system.dynamics.state_dim}",
)
def test_simple_points_of_known_systems_are_certified(
    system: KnownSystem, widest: int
) -> None:
    dynamics = layer_of(system)
    points = search(dynamics, system.states + 0.01)
    assert len(points) == len(system.states)
    found = cd.certify(dynamics, points, widest_krawczyk=widest)
    assert found.certified.all()
    distances = gaps(points, system.states).amin(1)
    # The known states are rounded themselves.
    assert (distances <= found.existence_radii + 1e-15).all()
    assert found.existence_radii.max() < 1e-12
    assert found.uniqueness_radii.min() > 0.03
    assert_alone(found)


def test_the_exact_root_is_within_the_existence_radius() -> None:
    dynamics = tanh_layer(torch.tensor([[2.0]]))
    points = search(dynamics, torch.ones(1, 1))
    found = cd.certify(dynamics, points)
    with localcontext() as context:
        context.prec = 60
        root = Decimal(1)
        for _ in range(100):
            root = 1 - 2 / (1 + (4 * root).exp())
        distance = abs(Decimal(float(points.states)) - root)
    assert distance <= Decimal(float(found.existence_radii))
    assert float(found.existence_radii) < 2e-14


@pytest.mark.parametrize("cell", ["gru", "lstm", "tanh", "relu"])
def test_the_27_points_of_a_flipflop_net_are_certified(cell: str) -> None:
    path = DATA / f"flipflop_{cell}.safetensors"
    dynamics, points = flipflop_fixed_points(load_flipflop(path))
    for widest, method in ((256, Method.KRAWCZYK), (1, Method.NEWTON_KANTOROVICH)):
        found = cd.certify(dynamics, points, widest_krawczyk=widest)
        assert found.method.tolist() == [method] * 27
        # A search ends at |g| <= 1e-12, and |(J - I)^-1| is about 10 here.
        assert found.existence_radii.max() < 1e-11
        assert found.uniqueness_radii.min() > (1e-4 if cell == "relu" else 5e-3)
        assert_alone(found)


@pytest.mark.parametrize("cell", ["gru", "lstm", "tanh", "relu"])
def test_a_point_moved_by_a_thousandth_is_proven_to_be_that_far_off(cell: str) -> None:
    path = DATA / f"flipflop_{cell}.safetensors"
    dynamics, points = flipflop_fixed_points(load_flipflop(path))
    shift = 1e-3 * torch.randn(points.states.shape, dtype=torch.float64)
    wrong = replace(points, states=points.states + shift)
    found = cd.certify(dynamics, wrong)
    distances = (wrong.states - points.states).abs().amax(1)
    proven = found.certified
    assert cell == "relu" or proven.sum() > 20
    assert (found.existence_radii[proven] >= distances[proven]).all()
    assert (found.existence_radii[proven] < 2 * distances[proven]).float().mean() > 0.5
    alone = cd.certify(dynamics, points).uniqueness_radii
    assert (found.uniqueness_radii[proven] > 0.5 * alone[proven]).all()


def test_a_pitchfork_is_not_certified_at_its_degenerate_origin() -> None:
    system = pitchfork()
    dynamics = layer_of(system)
    points = search(dynamics, system.states + 0.01)
    at_zero = points.states.abs().amax(1) < 0.1
    assert int(at_zero.sum()) == 1
    found = cd.certify(dynamics, points)
    assert found.certified.tolist() == (~at_zero).tolist()
    assert found.reason[at_zero].tolist() == [Reason.DEGENERATE]
    # Nor does it pass the tests when it is passed off as a simple one.
    for widest in (256, 1):
        found = cd.certify(dynamics, as_fixed(points), widest_krawczyk=widest)
        assert found.certified.tolist() == (~at_zero).tolist()
        assert found.reason[at_zero].tolist() == [Reason.NO_CONTRACTION]


def test_no_point_of_a_continuum_is_certified() -> None:
    # Where all units are on, a ReLU layer is the linear map of the known system.
    system = line_attractor()
    zero = torch.zeros(1, 3).double()
    weights = system.dynamics.jacobians(zero, system.inputs)[0]
    dynamics = tanh_layer(weights, "relu")
    points = cd.find_fixed_points(dynamics, 1 + torch.rand(20, 3), REST)
    assert (points.kind == cd.Kind.FIXED).all()
    assert points.states.min() > 0.01
    for given in (points, as_fixed(points)):
        for widest in (256, 1):
            found = cd.certify(dynamics, given, widest_krawczyk=widest)
            assert not found.certified.any()
            assert found.existence_radii.isnan().all()
            assert found.uniqueness_radii.isnan().all()


def test_slow_points_where_two_fixed_points_have_just_vanished_are_refused() -> None:
    # h = tanh(2 h + x) loses two of its three points at x = -0.5328.
    dynamics, x = tanh_layer(torch.tensor([[2.0]])), torch.tensor([[-0.5335]])
    starts = torch.linspace(0.71, 0.76, 20)[:, None]
    points = cd.find_slow_points(dynamics, starts, x, steps=5)
    assert (points.kind == cd.Kind.SLOW).all()
    found = cd.certify(dynamics, points)
    assert found.reason.tolist() == [Reason.NOT_FIXED] * 20


@pytest.mark.parametrize("widest", [256, 1], ids=["krawczyk", "newton-kantorovich"])
def test_no_state_passes_for_a_point_that_has_vanished(widest: int) -> None:
    dynamics = tanh_layer(torch.tensor([[2.0]]))
    grid = torch.linspace(0.6, 0.85, 100), -0.5328 - torch.logspace(-4, -1, 20)
    states, x = torch.cartesian_prod(*grid).double()[:, :, None].unbind(1)
    points = cd.find_slow_points(dynamics, states, x, steps=1)
    found = cd.certify(dynamics, as_fixed(points), widest_krawczyk=widest)
    # All that may be proven is the one point left, on the other side.
    exists = found.existence_radii[found.certified]
    assert ((exists > 1.5) & (exists <= 2.0)).all()
    assert not found.certified.all()


def test_slow_points_of_a_leaky_layer_are_refused_or_shown_to_be_far_off() -> None:
    layer = nn.GRU(1, 4).double()
    with torch.no_grad():
        layer.bias_ih_l0[4:8] = 7.0  # update gates that keep 99.9 % of the state
    dynamics = cd.adapt(layer)
    points = cd.find_slow_points(dynamics, 1.8 * torch.rand(50, 4) - 0.9, REST)
    assert (points.kind == cd.Kind.SLOW).all()
    assert not cd.certify(dynamics, points).certified.any()
    (rest,) = search(dynamics, points.states).states
    found = cd.certify(dynamics, as_fixed(points))
    far = (points.states - rest).abs().amax(1)
    assert (far > 1e-2).all()
    # Whatever is proven then is proven of the one fixed point there is.
    proven = found.certified
    assert (found.existence_radii[proven] >= far[proven]).all()


def test_a_map_without_bounds_is_not_certified_and_it_says_so() -> None:
    system = coupled_switches()
    points = search(system.dynamics, system.states)
    found = cd.certify(system.dynamics, points)
    assert found.method.tolist() == [Method.NONE] * 9
    assert found.reason.tolist() == [Reason.NO_BOUNDS] * 9
    assert found.summary() == "0 of 9 points certified; 9 no bounds"


def test_points_of_every_kind_keep_their_rows() -> None:
    dynamics = tanh_layer(torch.tensor([[2.0]]))
    points = cd.find_fixed_points(dynamics, torch.tensor([[-1.0], [0.1], [1.0]]), REST)
    kinds = torch.tensor([cd.Kind.FIXED, cd.Kind.UNCONVERGED, cd.Kind.SPURIOUS])
    states = torch.where(
        kinds[:, None] == cd.Kind.UNCONVERGED, torch.nan, points.states
    )
    found = cd.certify(dynamics, replace(points, kind=kinds, states=states))
    assert found.certified.tolist() == [True, False, False]
    assert found.existence_radii.isnan().tolist() == [False, True, True]
    assert found.summary().startswith("1 of 3 points certified, each within")
    assert found.summary().endswith("; 2 not fixed")
    assert len(found) == 3


def test_rows_are_certified_on_their_own() -> None:
    path = DATA / "flipflop_gru.safetensors"
    dynamics, points = flipflop_fixed_points(load_flipflop(path))
    together, some = cd.certify(dynamics, points), torch.tensor([20, 3, 11])
    alone = cd.certify(dynamics, points[some])
    for name in ("existence_radii", "uniqueness_radii"):
        wanted = getattr(together, name)[some]
        assert torch.allclose(getattr(alone, name), wanted, rtol=0, atol=1e-10)


def test_a_ball_that_holds_all_states_proves_the_only_fixed_point() -> None:
    dynamics = tanh_layer(torch.tensor([[0.3, 0.4], [-0.4, 0.2]]))
    points = search(dynamics, torch.rand(5, 2))
    assert len(points) == 1
    assert cd.certify(dynamics, points).uniqueness_radii.tolist() == [2.0]
    near = cd.certify(dynamics, points, largest_radius=0.5)
    assert near.uniqueness_radii.tolist() == [0.5]


def test_a_two_cycle_is_certified_as_a_point_of_the_iterated_map() -> None:
    twice = tanh_layer(torch.tensor([[-2.0]])).iterate(2)
    points = search(twice, torch.tensor([[-1.0], [0.01], [1.0]]))
    found = cd.certify(twice, points)
    assert found.certified.tolist() == [True] * 3
    assert_alone(found)


@pytest.mark.parametrize(("factor", "certified"), [(0.0, False), (1.3, True)])
@pytest.mark.parametrize("widest", [256, 1], ids=["krawczyk", "newton-kantorovich"])
def test_a_wrong_inverse_costs_sharpness_but_never_truth(
    monkeypatch: pytest.MonkeyPatch, factor: float, certified: bool, widest: int
) -> None:
    system, right = coupled_switches(), _linalg.real_inverse
    dynamics = layer_of(system)
    points = search(dynamics, system.states + 0.01)
    monkeypatch.setattr(_linalg, "real_inverse", lambda a: factor * right(a))
    found = cd.certify(dynamics, points, widest_krawczyk=widest)
    assert found.certified.tolist() == [certified] * 9
    if certified:
        distances = gaps(points, system.states).amin(1)
        assert (distances <= found.existence_radii + 1e-15).all()
        assert_alone(found)


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported")
@pytest.mark.parametrize(
    "layer",
    [
        lambda: nn.RNN(1, 6, 2),
        lambda: nn.GRU(1, 6, 2),
        lambda: nn.LSTM(1, 6, 2),
        lambda: nn.LSTM(1, 6, proj_size=3),
        lambda: nn.GRUCell(1, 6),
    ],
    ids=["tanh stack", "gru stack", "lstm stack", "projected lstm", "gru cell"],
)
def test_points_of_every_torch_layer_are_certified(layer) -> None:
    dynamics = cd.adapt(layer())
    points = search(dynamics, 0.1 * torch.randn(3, dynamics.state_dim))
    found = cd.certify(dynamics, points)
    assert found.certified.all()
    assert found.existence_radii.max() < 1e-12


def test_wide_states_are_certified_by_a_lipschitz_constant_where_there_is_one() -> None:
    wide = tanh_layer(2 * torch.eye(300) + 0.01 * torch.randn(300, 300) / 300**0.5)
    starts = torch.randint(2, (2, 300)).double() * 2 - 1
    points = search(wide, starts)
    found = cd.certify(wide, points)
    assert found.method.tolist() == [Method.NEWTON_KANTOROVICH] * 2
    assert found.existence_radii.max() < 1e-11
    narrow = cd.certify(wide, points, widest_krawczyk=300)
    assert narrow.method.tolist() == [Method.KRAWCZYK] * 2
    stack = cd.adapt(nn.GRU(1, 3, 2))
    points = search(stack, torch.zeros(1, 6))
    found = cd.certify(stack, points, widest_krawczyk=1)
    assert found.method.tolist() == [Method.KRAWCZYK]


def test_no_points_have_no_certificates() -> None:
    dynamics = tanh_layer(torch.tensor([[2.0]]))
    points = search(dynamics, torch.ones(1, 1))
    assert len(cd.certify(dynamics, points[:0])) == 0


def test_misuse_is_refused_by_name() -> None:
    dynamics = tanh_layer(torch.tensor([[2.0]]))
    points = search(dynamics, torch.ones(1, 1))
    with pytest.raises(ValueError, match="`largest_radius` to be positive, got 0"):
        cd.certify(dynamics, points, largest_radius=0.0)
    with pytest.raises(ValueError, match=r"`points.states` to have shape \(n, 2\)"):
        cd.certify(tanh_layer(torch.eye(2)), points)
