"""The update gate RNN: its equations, its form of a call, its adapter."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import captum_dynamics as cd
from captum_dynamics.models import UGRNN, UGRNNCell
from captum_dynamics.testing import check_adapter, verify

BOTH = {"layer": UGRNN, "cell": UGRNNCell}


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_one_unit_follows_the_published_equations() -> None:
    cell = UGRNNCell(1, 1).double()
    values = {
        "weight_ih": [[0.3], [-0.7]],
        "weight_hh": [[0.5], [1.1]],
        "bias_ih": [0.2, -0.1],
        "bias_hh": [0.4, 0.25],
    }
    cell.load_state_dict({name: torch.tensor(v) for name, v in values.items()})
    x, h = 0.9, -0.6
    g = sigmoid(0.3 * x + 0.5 * h + 0.6)
    c = math.tanh(-0.7 * x + 1.1 * h + 0.15)
    found = cell(torch.tensor([[x]]).double(), torch.tensor([[h]]).double())
    assert found.item() == pytest.approx(g * h + (1 - g) * c, abs=1e-7)


def test_a_layer_is_its_cell_in_a_loop() -> None:
    layer, cell = UGRNN(3, 5).double(), UGRNNCell(3, 5).double()
    weights = {k.removesuffix("_l0"): v for k, v in layer.state_dict().items()}
    cell.load_state_dict(weights)
    x, h = random(4, 6, 3), random(4, 5)
    states, last = layer(x, h[None])
    for step in range(6):
        h = cell(x[:, step], h)
        torch.testing.assert_close(states[:, step], h)
    assert torch.equal(last[0], states[:, -1])
    assert torch.equal(layer(x)[0], layer(x, torch.zeros(1, 4, 5).double())[0])
    assert torch.equal(cell(x[:, 0]), cell(x[:, 0], torch.zeros(4, 5).double()))


def test_an_open_gate_keeps_the_state_and_a_shut_one_forgets_it() -> None:
    cell, h, x = UGRNNCell(2, 4, keep_bias=60.0).double(), random(3, 4), random(3, 2)
    torch.testing.assert_close(cell(x, h), h)
    with torch.no_grad():
        # Also the candidate must not read the state.
        cell.bias_ih[:4] -= 120
        cell.weight_hh[4:] = 0
    torch.testing.assert_close(cell(x, h), cell(x, random(3, 4)))


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_it_is_its_adapter(kind: str, dtype: torch.dtype) -> None:
    layer = BOTH[kind](3, 5).to(dtype)
    report = check_adapter(cd.adapt(layer), layer, random(4, 9, 3).to(dtype))
    assert report.passed, report.table()
    assert {row.check[0] for row in report.rows} >= set("123456")


def test_an_adapter_with_its_gates_exchanged_is_told() -> None:
    layer, wrong = UGRNN(3, 5).double(), UGRNN(3, 5).double()
    weights = {k: v.roll(5, 0) for k, v in layer.state_dict().items()}
    wrong.load_state_dict(weights)
    report = check_adapter(cd.adapt(wrong), layer, random(4, 9, 3))
    assert any(name.startswith("1 outputs") for name in report.failed)


def test_in_a_model_with_initial_states_it_is_its_adapter() -> None:
    layer = UGRNN(3, 5).double()
    model = nn.ModuleDict({"rnn": layer})
    given = random(1, 4, 5)
    model.forward = lambda x: layer(x, given)[0][:, -1]
    report = verify(cd.adapt(model, "rnn"), model, random(4, 6, 3))
    assert report.passed, report.table()


def test_no_step_leaves_the_invariant_box() -> None:
    adapter, x = cd.adapt(UGRNN(3, 5)), 3 * random(500, 3)
    low, high = adapter.invariant_box(x)
    new = adapter.step(low + (high - low) * torch.randint(2, low.shape), x)
    assert ((new >= low) & (new <= high)).all()


def test_what_the_gate_hides_shows_in_the_ungated_residual() -> None:
    adapter = cd.adapt(UGRNN(3, 5, keep_bias=40.0))
    h, x = 0.5 * random(3, 5), torch.zeros(3, 3).double()
    assert adapter.residual(h, x).abs().max() < 1e-12
    assert adapter.ungated_residual(h, x).norm(dim=1).min() > 1e-2


@pytest.mark.misuse
def test_input_that_is_no_batch_of_sequences_is_refused() -> None:
    for wrong in (torch.zeros(4, 3), torch.zeros(2, 0, 3)):
        with pytest.raises(ValueError, match=r"`input` of shape \(n, t, 3\)"):
            UGRNN(3, 5)(wrong)
    with pytest.raises(ValueError, match="`hidden_size` to be a whole number"):
        UGRNNCell(3, 0)
