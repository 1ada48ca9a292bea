"""States that are matrices or dicts; and the worked example of the documentation."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import captum_dynamics as cd
from captum_dynamics.adapters import CellCalls, _registry
from captum_dynamics.testing import check_adapter, verify

DOCS = Path(__file__).parents[2] / "docs" / "adapters.md"


class FastWeights(nn.Module):
    """A cell with a memory matrix m and a vector c, given and returned as a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.key = nn.Linear(3, 2).double()
        self.value = nn.Linear(3, 4).double()

    def forward(self, x: Tensor, s: dict[str, Tensor] | None = None) -> dict:
        if s is None:
            s = {"m": x.new_zeros(len(x), 4, 2), "c": x.new_zeros(len(x), 3)}
        write = self.value(x)[:, :, None] * torch.tanh(self.key(x))[:, None]
        read = (s["m"] @ torch.ones(2, 1).to(x))[:, :3, 0]
        return {"c": torch.tanh(0.5 * s["c"] + read), "m": 0.8 * s["m"] + write}


def fast_weights(cell: nn.Module) -> cd.FunctionAdapter:
    return cd.FunctionAdapter(
        lambda s, x: cell(x, s), {"m": (4, 2), "c": 3}, 3, calls=CellCalls("x", "s")
    )


def test_a_cell_of_dicts_of_matrices_passes_every_check() -> None:
    cell = FastWeights()
    report = check_adapter(
        fast_weights(cell), cell, torch.randn(3, 5, 3, dtype=torch.float64)
    )
    assert report.passed, report.table()
    assert {row.check[0] for row in report.rows} >= set("123456")


class Loop(nn.Module):
    """The cell in a loop."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = FastWeights()

    def forward(self, x: Tensor) -> Tensor:
        state = None
        for step in range(x.shape[1]):
            state = self.cell(x[:, step], state)
        return state["m"]


def test_states_of_a_dict_are_recorded_in_the_order_of_the_layout() -> None:
    model, x = Loop(), torch.randn(4, 6, 3, dtype=torch.float64)
    dynamics = fast_weights(model.cell)
    runs = cd.record(model, "cell", x, dynamics=dynamics)
    assert runs.states.shape == (4, 6, 11)
    last = dynamics.layout.unflatten(runs.final_states)
    assert torch.allclose(last["m"], model(x))
    report = verify(dynamics, model, x, layer="cell")
    assert report.passed, report.table()


def test_a_state_may_be_one_matrix() -> None:
    weight = 0.4 * torch.eye(3, dtype=torch.float64)
    target = torch.randn(3, 2, dtype=torch.float64)
    dynamics = cd.FunctionAdapter(lambda h, x: weight @ h + target, (3, 2), 0)
    points = cd.find_fixed_points(
        dynamics, torch.zeros(1, 6).double(), torch.zeros(1, 0)
    )
    found = dynamics.layout.unflatten(points.states)["h"][0]
    assert torch.allclose(found, target / 0.6)
    assert dynamics.layout.unit(5) == "h[2,1]"


def test_flatten_undoes_unflatten_and_refuses_other_blocks() -> None:
    layout = cd.StateLayout.of({"m": (2, 3), "c": 1})
    states = torch.randn(5, 7)
    blocks = layout.unflatten(states)
    assert blocks["m"].shape == (5, 2, 3)
    assert torch.equal(layout.flatten(blocks), states)
    with pytest.raises(ValueError, match=r"blocks \['m', 'c'\] of the state, got"):
        layout.flatten({"m": blocks["m"]})
    with pytest.raises(ValueError, match=r"block 'm'.*\('n', 2, 3\), got \(5, 3, 2\)"):
        layout.flatten({**blocks, "m": blocks["m"].mT})
    with pytest.raises(ValueError, match=r"block 'm' to hold 5 values, got \(2, 3\)"):
        cd.Block("m", 5, (2, 3))
    with pytest.raises(ValueError, match="`state` to give block 'm' a width"):
        cd.StateLayout.of({"m": (2, 0)})


def test_the_worked_example_of_the_documentation_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(_registry, "_ADAPTERS", dict(_registry._ADAPTERS))
    section = DOCS.read_text().partition("## A layer of your own")[2]
    blocks = re.findall(r"```python\n(.*?)```", section.partition("\n## ")[0], re.S)
    adapter = next(b for b in blocks if "register_adapter" in b)
    body = [line for line in adapter.splitlines() if line.strip()]
    assert len(body) < 20
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, str(DOCS), "exec"), names)
    said = capsys.readouterr().out
    assert "LayerNormLSTMAdapter of LayerNormLSTMCell" in said
    assert "FAIL" not in said
