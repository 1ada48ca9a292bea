"""Averages over segments are exact also where a map has corners."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import captum_dynamics as cd
from captum_dynamics.adapters import RNNLayer, adapt
from captum_dynamics.attr import DynamicsAttribution, PathIntegrated, Switching
from captum_dynamics.attr import _heads as heads
from captum_dynamics.attr._host import Arguments, Host
from captum_dynamics.attr._nodes import find_corners, gauss_legendre
from captum_dynamics.attr._pieces import Rule
from captum_dynamics.attr._quadrature import Quadrature
from captum_dynamics.attr._runs import pair_runs
from captum_dynamics.attr._segments import Segments
from tests.attr import models
from tests.attr.models import Reader, gru, vectors

WIDTH = 24


def large(rnn: nn.Module, head: nn.Module | None = None) -> Reader:
    """A layer whose runs are far enough apart to cross many corners."""
    torch.manual_seed(1)
    for parameter in rnn.parameters():
        nn.init.normal_(parameter, std=0.35)
    model = Reader(rnn, WIDTH, models.last)
    if head is not None:
        model.head = head
    return model.double().eval()


def relu(layers: int = 1) -> nn.Module:
    return nn.RNN(3, WIDTH, layers, batch_first=True, nonlinearity="relu")


def hidden(*after: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(WIDTH, 20), nn.ReLU(), nn.Linear(20, 4), *after)


def normalized() -> nn.Module:
    return nn.Sequential(
        nn.Linear(WIDTH, 8), nn.LayerNorm(8), nn.ReLU(), nn.Linear(8, 4)
    )


CASES: dict[str, Callable[[], Reader]] = {
    "ReLU layer": lambda: large(relu()),
    "two ReLU layers": lambda: large(relu(2)),
    "ReLU head on a GRU": lambda: large(nn.GRU(3, WIDTH, batch_first=True), hidden()),
    "ReLU head on a ReLU layer": lambda: large(relu(), hidden()),
    "curved on both sides of its corners": lambda: large(
        nn.GRU(3, WIDTH, batch_first=True), hidden(nn.Softmax(-1))
    ),
    "corners of what is normalized": lambda: large(
        nn.GRU(3, WIDTH, batch_first=True), normalized()
    ),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("given", [True, False], ids=["baselines", "reference"])
def test_contributions_are_complete_across_corners(case: str, given: bool) -> None:
    model, inputs = CASES[case](), vectors()
    baselines = vectors().flip(0) * 0.5 if given else None
    attributions, delta = DynamicsAttribution(model, model.rnn).attribute(
        inputs, baselines, 1, return_convergence_delta=True
    )
    assert attributions.abs().max() > 1e-3
    assert delta.abs().max() < 1e-8


def relu_segments(rows: int = 20) -> tuple[nn.Module, Segments, Tensor]:
    """Segments of one ReLU layer, and the ends of its pre-activations."""
    layer = large(relu()).rnn
    h, h_b, x, x_b = (
        torch.randn(rows, width, generator=torch.Generator().manual_seed(seed)).double()
        for seed, width in enumerate((WIDTH, WIDTH, 3, 3))
    )
    segments = Segments(adapt(layer), h_b, h - h_b, x_b, x - x_b)
    bias = layer.bias_ih_l0 + layer.bias_hh_l0
    ends = [
        h @ layer.weight_hh_l0.T + x @ layer.weight_ih_l0.T + bias
        for h, x in ((h_b, x_b), (h, x))
    ]
    return layer, segments, torch.stack(ends).detach()


def test_averages_are_divided_differences_of_the_activation() -> None:
    layer, segments, (start, end) = relu_segments()
    assert ((start > 0) != (end > 0)).sum(-1).min() > 3
    # relu' averaged from start to end, in closed form.
    slopes = (end.relu() - start.relu()) / (end - start)
    v = torch.randn(
        len(start), WIDTH, generator=torch.Generator().manual_seed(9)
    ).double()
    back, gradients, missing = Quadrature().pull_back(segments, v, segments.changes())
    torch.testing.assert_close(back, (v * slopes) @ layer.weight_hh_l0)
    torch.testing.assert_close(gradients, (v * slopes) @ layer.weight_ih_l0)
    assert (missing == 0).all()
    drives = Quadrature().drives(segments, segments.changes())
    driven = segments.input_changes @ layer.weight_ih_l0.T
    torch.testing.assert_close(drives, slopes * driven)


def test_a_heads_average_is_that_of_divided_differences() -> None:
    model, inputs = large(nn.GRU(3, WIDTH, batch_first=True), hidden()), vectors()
    host = Host(model, model.rnn, adapt(model.rnn))
    runs = pair_runs(host, Arguments((inputs,), 1), None, torch.zeros(1, 3).double())
    first, _, second = model.head
    start = first(runs.baseline_states[:, -1]).detach()
    end = first(runs.states[:, -1]).detach()
    assert ((start > 0) != (end > 0)).sum(-1).min() > 2
    slopes = (end.relu() - start.relu()) / (end - start)
    expected = (second.weight[1] * slopes) @ first.weight
    torch.testing.assert_close(runs.injections[:, -1], expected.detach())
    assert (runs.injections[:, :-1] == 0).all()


def test_a_relu_layer_takes_about_as_many_pieces_as_corners(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, segments, (start, end) = relu_segments()
    corners = int(((start > 0) != (end > 0)).sum())
    count = count_rows(monkeypatch, type(segments.dynamics))
    v = torch.ones(len(start), WIDTH).double()
    Quadrature().pull_back(segments, v, segments.changes())
    # 5 nodes, then 10, say that nodes will not do; then three for each piece.
    assert count() <= 15 * len(start) + 3.6 * (corners + len(start))


def count_rows(monkeypatch: pytest.MonkeyPatch, kind: type) -> Callable[[], int]:
    """At how many states derivatives have been taken since."""
    rows, original = [], kind.vjp

    def counted(self: object, states: Tensor, *rest: Tensor) -> object:
        rows.append(len(states))
        return original(self, states, *rest)

    monkeypatch.setattr(kind, "vjp", counted)
    return lambda: sum(rows)


def test_two_layers_and_every_coordinate_are_exact_too() -> None:
    layer = large(relu(2)).rnn
    generator = torch.Generator().manual_seed(4)
    ends = torch.randn(4, 20, 2 * WIDTH, generator=generator).double()
    h_b, dh, x_b, dx = ends[0], ends[1], ends[2, :, :3], ends[3, :, :3]
    segments = Segments(adapt(layer), h_b, dh, x_b, dx)
    changes = segments.changes()
    drives = Quadrature().drives(segments, changes)
    v = torch.eye(2 * WIDTH).double()
    for unit in (0, WIDTH + 1):
        cotangents = v[unit].expand(20, -1)
        back, gradients, missing = Quadrature().pull_back(segments, cotangents, changes)
        total = (back * dh).sum(-1) + (gradients * dx).sum(-1)
        torch.testing.assert_close(total, changes[:, unit], atol=1e-9, rtol=0)
        torch.testing.assert_close(
            (gradients * dx).sum(-1), drives[:, unit], atol=1e-8, rtol=0
        )
        assert (missing == 0).all()


@pytest.mark.parametrize("estimator", [PathIntegrated(), Switching(anchors=3)])
def test_contributions_and_constant_sum_to_the_free_run_of_a_relu(
    estimator: PathIntegrated | Switching,
) -> None:
    model = large(relu())
    told = DynamicsAttribution(model, model.rnn, estimator=estimator).evaluate(
        vectors(), target=1
    )
    assert told.identity_error < 1e-8


@pytest.mark.parametrize(
    ("read", "states", "passes"),
    [
        (models.last, 560, 1),
        (models.nonlinear, 560, 16),
        (models.attention, 590, 16),
    ],
)
def test_smooth_models_cost_what_they_did_before_there_were_pieces(
    read: Callable[..., Tensor],
    states: int,
    passes: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = gru(read)
    method = DynamicsAttribution(model, model.rnn)
    monkeypatch.setattr(type(method.dynamics), "unitwise_form", None)
    count, seen = count_rows(monkeypatch, type(method.dynamics)), []
    injections = Host.injections

    def counted(self: Host, *given: object) -> object:
        seen.append(given)
        return injections(self, *given)

    monkeypatch.setattr(Host, "injections", counted)
    method.attribute(vectors(), target=1)
    assert count() == states
    assert len(seen) == passes


def test_what_too_few_pieces_miss_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    model = large(relu(2))
    monkeypatch.setattr(RNNLayer, "unitwise_form", None)
    method = DynamicsAttribution(
        model, model.rnn, estimator=PathIntegrated(max_pieces=1)
    )
    with pytest.warns(cd.AttributionWarning, match="`max_pieces` of `PathIntegrated`"):
        _, delta = method.attribute(vectors(), target=1, return_convergence_delta=True)
    assert delta.abs().max() > 1e-4


def test_what_the_heads_average_misses_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "RULE", Rule((1, 5), max_pieces=1))
    model = large(nn.GRU(3, WIDTH, batch_first=True), hidden())
    with pytest.warns(cd.AttributionWarning, match="model's head miss up to"):
        _, delta = DynamicsAttribution(model, model.rnn).attribute(
            vectors(), target=1, return_convergence_delta=True
        )
    assert delta.abs().max() > 1e-4


def slopes_and_change(phi: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    nodes = torch.tensor(gauss_legendre(10).places).double().requires_grad_()
    (slopes,) = torch.autograd.grad(phi(nodes).sum(), nodes)
    ends = phi(torch.tensor([0.0, 1.0]).double())
    return (ends[1] - ends[0]).reshape(1, 1), slopes.reshape(1, -1, 1)


def corners(phi: Callable[[Tensor], Tensor]) -> Tensor:
    found = find_corners(
        *slopes_and_change(phi), gauss_legendre(10), torch.tensor([1e-12]).double()
    )[0]
    return found[~found.isnan()]


def test_a_corner_between_straight_lines_is_found_exactly() -> None:
    found = corners(lambda s: 2 * s + (s - 0.3).relu())
    torch.testing.assert_close(found, torch.tensor([0.3]).double())


def test_a_corner_between_curves_is_held_by_an_interval() -> None:
    low, high = corners(lambda s: (s - 0.3).abs() + 0.1 * s.square())
    assert 0.2 < low < 0.3 < high < 0.4


def test_smooth_functions_have_no_corner() -> None:
    assert len(corners(torch.exp)) == 0
    # Not smooth enough for ten nodes, but bent nowhere.
    assert len(corners(lambda s: torch.sigmoid(60 * (s - 0.4)))) == 0


def test_one_corner_of_many_functions_is_cut_once() -> None:
    bends = [lambda s, w=w: w * (s - 0.3).relu() for w in (1.0, -2.0, 0.5)]
    told = [slopes_and_change(phi) for phi in bends]
    change = torch.cat([one for one, _ in told], dim=-1)
    slopes = torch.cat([one for _, one in told], dim=-1)
    found = find_corners(
        change, slopes, gauss_legendre(10), torch.tensor([1e-12]).double()
    )
    assert (~found.isnan()).sum() == 1
