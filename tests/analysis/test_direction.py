"""One direction of a bidirectional layer through the whole chain."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import captum_dynamics as cd
from captum_dynamics.attr import DynamicsAttribution
from captum_dynamics.cli import main


class Reader(nn.Module):
    """A bidirectional GRU, read at both its ends."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(3)
            self.rnn = nn.GRU(4, 3, batch_first=True, bidirectional=True)
            self.head = nn.Linear(6, 1)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.rnn(x)[1]
        return self.head(torch.cat([hidden[0], hidden[1]], dim=-1))


def sequences() -> Tensor:
    return torch.randn(8, 6, 4, generator=torch.Generator().manual_seed(4))


def test_each_direction_is_analysed_and_both_are_explained() -> None:
    model, x = Reader().eval(), sequences()
    found = {
        way: cd.analyze(model, "rnn", x, direction=way, starts=8, explained=2)
        for way in ("forward", "backward")
    }
    for place, (way, result) in enumerate(found.items()):
        assert result.setting.layer == f"{way} GRU"
        assert result.setting.state_dim == 3
        head = model.head.weight[0, 3 * place : 3 * place + 3]
        torch.testing.assert_close(result.readout, head.detach().double())
        dynamics = cd.adapt(model, "rnn", direction=way)
        points = result.graph.linearization.points
        assert dynamics.residual(points.states, points.inputs).abs().max() < 1e-8
    ours = [result.documents.explanations[0].contributions for result in found.values()]
    torch.testing.assert_close(ours[0], ours[1])
    method = DynamicsAttribution(model, model.rnn, reference=x.mean((0, 1)).double())
    wanted = method.attribute(x[:2], target=0).double().sum(-1)
    torch.testing.assert_close(ours[0], wanted, atol=1e-6, rtol=0)


MODEL = """
import torch
from torch import nn

def build():
    torch.manual_seed(0)
    return Reader().eval()

class Reader(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(4, 3, batch_first=True, bidirectional=True)
    def forward(self, x):
        return self.rnn(x)[0][:, 0, 3:4]
"""


def test_the_command_line_takes_a_direction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "two_way_model.py").write_text(MODEL)
    np.savez(tmp_path / "batch.npz", x=sequences().numpy())
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "two_way_model", raising=False)
    given = ["analyze", "two_way_model:build", "--inputs", "batch.npz", "--out", "out"]
    given += ["--compare", "none", "--starts", "4", "--explained", "1"]
    with torch.random.fork_rng():
        assert main(given) == 2
        assert 'direction="forward"' in capsys.readouterr().err
        assert main([*given, "--direction", "backward"]) == 0, capsys.readouterr().err
    assert "LAYER  backward GRU at 'rnn'" in (tmp_path / "out/summary.txt").read_text()
