"""Layers of ncps, held against the package itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from scipy.optimize import root
from torch import Tensor, nn

import captum_dynamics as cd
from captum_dynamics.adapters.ncps import CfCAdapter, CfCCellAdapter, LTCAdapter
from captum_dynamics.testing import check_adapter, verify

NAMES = {
    "LTC": "ncps.torch.ltc.LTC",
    "LTCCell": "ncps.torch.ltc_cell.LTCCell",
    "CfC": "ncps.torch.cfc.CfC",
    "CfCCell": "ncps.torch.cfc_cell.CfCCell",
    "WiredCfCCell": "ncps.torch.wired_cfc_cell.WiredCfCCell",
}


def ncps() -> Any:
    return pytest.importorskip("ncps.torch", reason="ncps is not installed")


def wiring() -> Any:
    wirings = pytest.importorskip("ncps.wirings", reason="ncps is not installed")
    return wirings.AutoNCP(9, 2)


LAYERS: dict[str, Callable[[], nn.Module]] = {
    "LTCCell": lambda: ncps().LTCCell(wiring(), 3),
    "LTCCell-softplus": lambda: ncps().LTCCell(
        wiring(), 3, implicit_param_constraints=True, ode_unfolds=2
    ),
    "LTCCell-plain": lambda: ncps().LTCCell(
        wiring(), 3, input_mapping=None, output_mapping="linear"
    ),
    "CfCCell": lambda: ncps().CfCCell(3, 5, backbone_units=7),
    "CfCCell-pure": lambda: ncps().CfCCell(3, 5, mode="pure", backbone_units=7),
    "CfCCell-no-gate": lambda: ncps().CfCCell(
        3, 5, mode="no_gate", backbone_activation="gelu", backbone_layers=2
    ),
    "WiredCfCCell": lambda: ncps().WiredCfCCell(3, wiring()),
    "LTC": lambda: ncps().LTC(3, 6),
    "LTC-wired-mixed": lambda: ncps().LTC(3, wiring(), mixed_memory=True),
    "LTC-last-only": lambda: ncps().LTC(3, wiring(), return_sequences=False),
    "CfC": lambda: ncps().CfC(3, 5, backbone_units=7, batch_first=False),
    "CfC-wired": lambda: ncps().CfC(3, wiring(), proj_size=4),
    "CfC-mixed": lambda: ncps().CfC(3, 5, mixed_memory=True, backbone_layers=0),
}


def made(name: str) -> nn.Module:
    """One of the layers in float64, with weights of its own initialisation."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return LAYERS[name]().double()


def sequences(rows: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(rows, 6, 3, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("name", [*LAYERS])
def test_every_layer_passes_all_six_checks(name: str) -> None:
    layer = made(name)
    report = check_adapter(cd.adapt(layer), layer, sequences())
    assert report.passed, report


@pytest.mark.parametrize("name", ["LTC", "CfC", "CfC-wired"])
def test_a_step_of_another_length_passes_them_too(name: str) -> None:
    layer = made(name)
    kind = LTCAdapter if name == "LTC" else CfCAdapter
    report = check_adapter(kind(layer, timespan=0.3), layer, sequences())
    assert report.passed, report


def test_every_layer_is_listed_whether_the_package_is_installed_or_not() -> None:
    listed = cd.list_adapters()
    assert {name: listed[path] for name, path in NAMES.items()} == {
        name: f"{name}Adapter" for name in NAMES
    }


def test_the_points_of_an_ltc_are_those_of_its_differential_equation() -> None:
    cell = made("LTCCell")
    cell._epsilon = 0.0
    dynamics = cd.adapt(cell)
    x = sequences()[0, :1]
    starts = torch.randn(32, 9, dtype=torch.float64)
    points = cd.find_fixed_points(dynamics, starts, x).unique()
    fixed = points.states[points.kind == cd.Kind.FIXED]
    p = {n: v.detach() for n, v in cell.named_parameters()}

    def rate(v: Any) -> Any:
        """Hasani et al. (2021): the currents through leak and synapses."""
        v = torch.as_tensor(v)
        total = p["gleak"] * (p["vleak"] - v)
        read = x[0] * p["input_w"] + p["input_b"]
        for kind, sources in (("", v), ("sensory_", read)):
            gate = torch.sigmoid(
                p[f"{kind}sigma"] * (sources[:, None] - p[f"{kind}mu"])
            )
            share = p[f"{kind}w"] * p[f"{kind}sparsity_mask"] * gate
            total = total + (share * (p[f"{kind}erev"] - v)).sum(0)
        return total.numpy()

    assert len(fixed)
    for state in fixed.numpy():
        assert root(rate, state, tol=1e-13).x == pytest.approx(state, abs=1e-9)


def test_a_model_in_single_precision_is_recorded_and_proved() -> None:
    model = nn.ModuleDict({"rnn": made("CfC-wired").float(), "head": nn.Linear(4, 1)})
    model.forward = lambda x: model["head"](model["rnn"](x)[0][:, -1])  # type: ignore[method-assign]
    report = verify(cd.adapt(model), model, sequences().float())
    assert report.passed, report
    runs = cd.record(model, "rnn", sequences().float())
    assert runs.states.shape == (3, 6, 9)
    assert cd.adapt_all(model).keys() == {"rnn"}


def test_a_sequence_without_an_axis_for_rows_is_read() -> None:
    layer = made("CfC-mixed")
    zeros = torch.zeros(5, dtype=torch.float64)
    dynamics = cd.adapt(layer)
    args = (sequences()[0], (zeros, zeros))
    output = layer(*args)
    call = dynamics.calls.read(dynamics, args, {})
    states = dynamics.rollout(call.initial_states, call.inputs)
    outputs, (h, c) = dynamics.calls.write(dynamics, states, call, output)
    assert torch.allclose(outputs, output[0], atol=1e-12)
    assert torch.allclose(h, output[1][0], atol=1e-12)
    assert torch.allclose(c, output[1][1], atol=1e-12)


def test_time_spans_that_differ_are_refused() -> None:
    layer = made("CfC")
    spans = torch.rand(6, 3, dtype=torch.float64)
    dynamics = cd.adapt(layer)
    with pytest.raises(ValueError, match=r"take the time 1.0.*`timespan=`"):
        dynamics.calls.read(dynamics, (sequences(), None, spans), {})
    other = CfCCellAdapter(made("CfCCell"), timespan=0.5)
    with pytest.raises(ValueError, match=r"take the time 0.5.*got times from 1 to 1"):
        other.calls.read(other, (sequences()[:, 0], torch.zeros(3, 5), 1.0), {})


def test_active_dropout_and_a_time_of_nothing_are_refused() -> None:
    layer = ncps().CfC(3, 5, backbone_layers=2, backbone_dropout=0.5)
    with pytest.raises(cd.UnsupportedLayerError, match=r"dropout of 0.5.*model.eval"):
        cd.adapt(layer)
    assert cd.adapt(layer.eval()).state_dim == 5
    with pytest.raises(ValueError, match="`timespan` to be positive"):
        CfCAdapter(layer, timespan=0.0)
