"""Cells of xlstm without their stabiliser, held against the package itself."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import captum_dynamics as cd
from captum_dynamics.testing import check_adapter, verify


def slstm(**settings: Any) -> Any:
    package = pytest.importorskip(
        "xlstm.blocks.slstm.cell", reason="xlstm is not installed"
    )
    given = {"hidden_size": 6, "num_heads": 2, "backend": "vanilla", **settings}
    cell = package.sLSTMCell(package.sLSTMCellConfig(**given))
    return randomised(cell, 0.6)


def mlstm() -> Any:
    package = pytest.importorskip(
        "xlstm.blocks.mlstm.cell", reason="xlstm is not installed"
    )
    settings = {"context_length": 16, "embedding_dim": 6, "num_heads": 2}
    return randomised(package.mLSTMCell(package.mLSTMCellConfig(**settings)), 0.4)


def randomised(cell: nn.Module, size: float) -> nn.Module:
    """The cell in float64, with no weight at the zero that it may start from."""
    generator = torch.Generator().manual_seed(0)
    for weight in cell.parameters():
        nn.init.normal_(weight, std=size, generator=generator)
    return cell.double()


def sequences(width: int, rows: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(rows, 6, width, generator=generator, dtype=torch.float64)


def test_both_cells_pass_all_six_checks() -> None:
    for cell, width in ((slstm(), 24), (mlstm(), 18)):
        report = check_adapter(cd.adapt(cell), cell, sequences(width))
        assert report.passed, report


def test_shifting_the_stabiliser_leaves_the_state_as_it_is() -> None:
    cell = slstm()
    _, (y, c, n, m) = cell(sequences(24))
    shift = torch.linspace(-3, 3, 6, dtype=torch.float64)
    shifted = torch.stack([y, c * (-shift).exp(), n * (-shift).exp(), m + shift])
    dynamics = cd.adapt(cell)
    read = [
        dynamics.calls.read(dynamics, (sequences(24), state), {}).initial_states
        for state in (torch.stack([y, c, n, m]), shifted)
    ]
    assert torch.allclose(*read, rtol=1e-13)
    outputs = [cell(sequences(24), state)[0] for state in (torch.stack([y, c, n, m]),)]
    again = cell(sequences(24), shifted)[0]
    assert torch.allclose(outputs[0], again, atol=1e-12)


def test_the_spectrum_is_the_cells_own_without_that_of_its_stabiliser() -> None:
    cell, x = slstm(), sequences(24)[:1, :1]
    dynamics = cd.adapt(cell)
    inputs = x[:, 0]
    settled = dynamics.rollout(
        torch.zeros(1, 18, dtype=torch.float64), x.expand(1, 3000, -1)
    )[:, -1]
    points = cd.find_fixed_points(dynamics, settled, inputs)
    assert points.kind.tolist() == [cd.Kind.FIXED]
    found = cd.linearize(dynamics, points).eigenvalues[0]
    y, c, n = dynamics.layout.split(points.states).values()
    # At rest m is the drive of the input gate, which sets it anew in each step.
    m = torch.zeros_like(n)
    for _ in range(200):
        start = torch.stack([y, c * (-m).exp(), n * (-m).exp(), m])
        m = cell(x, start)[1][3].detach()

    def raw(flat: Tensor) -> Tensor:
        return cell(x, flat.reshape(4, 1, 6))[1].flatten()

    flat = start.detach().flatten()
    assert torch.allclose(raw(flat), flat, atol=1e-9)
    own = torch.linalg.eigvals(torch.autograd.functional.jacobian(raw, flat))
    zeros = torch.zeros(6, dtype=found.dtype)
    wanted = torch.cat([found, zeros])
    for values, others in ((own, wanted), (wanted, own)):
        assert (values[:, None] - others).abs().amin(1).max() < 1e-6


@torch.no_grad()
def test_states_of_the_mlstm_are_those_of_its_recurrent_form() -> None:
    cell = mlstm()
    dynamics = cd.adapt(cell)
    q, k, v = sequences(18).chunk(3, dim=-1)
    call = dynamics.calls.read(dynamics, (), {"q": q, "k": k, "v": v})
    states = dynamics.rollout(call.initial_states, call.inputs)
    kept, worst = None, 0.0
    output = call.inputs
    for step in range(6):
        parts = (part[:, step : step + 1].clone() for part in (q, k, v))
        output, kept = cell.step(*parts, kept)
        c, n, m = kept
        wanted = torch.cat([(c * m.exp()).flatten(1), (n * m.exp()).flatten(1)], dim=1)
        worst = max(worst, float((states[:, step] - wanted).abs().max()))
    assert worst < 1e-12
    _, given = dynamics.advance(states[:, -2], call.inputs[:, -1])
    assert torch.allclose(given, output[:, 0], atol=1e-4)
    assert dynamics.traits.affine_in_state


def test_cells_within_a_model_are_recorded_and_proved() -> None:
    package = pytest.importorskip("xlstm", reason="xlstm is not installed")
    slstm_layer = package.sLSTMLayer(
        package.sLSTMLayerConfig(embedding_dim=6, num_heads=2, backend="vanilla")
    )
    mlstm_layer = package.mLSTMLayer(
        package.mLSTMLayerConfig(
            embedding_dim=8,
            num_heads=2,
            context_length=16,
            proj_factor=1.0,
            round_proj_up_to_multiple_of=8,
        )
    )
    for layer, name, width in (
        (slstm_layer, "slstm_cell", 6),
        (mlstm_layer, "mlstm_cell", 8),
    ):
        model = randomised(layer, 0.3)
        assert cd.adapt_all(model).keys() == {name}
        report = verify(cd.adapt(model), model, sequences(width))
        assert report.passed, report


def test_settings_that_are_not_read_are_refused() -> None:
    with pytest.raises(cd.UnsupportedLayerError, match="BSGNH and BSH; only"):
        cd.adapt(slstm(output_shape="BSH"))
    with pytest.raises(cd.UnsupportedLayerError, match="function is 'lstm'"):
        cd.adapt(slstm(function="lstm"))
