"""The command line as a user calls it, in this process and in a fresh one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from captum_dynamics.cli import main

MODEL = """
import torch
from torch import nn

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.rnn = nn.GRU(3, 5, batch_first=True)
        self.readout = nn.Linear(5, 2)
    def forward(self, x):
        return self.readout(self.rnn(x)[0][:, -1])

def build():
    return Model().eval()

number = 3
def not_a_model():
    return 3
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "cli_model.py").write_text(MODEL)
    generator = np.random.default_rng(0)
    x = generator.standard_normal((12, 8, 3))
    np.savez(tmp_path / "batch.npz", x=x)
    np.savez(tmp_path / "sized.npz", x=x, sizes=np.full(12, 4))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "cli_model", raising=False)
    return tmp_path


def analyze(*arguments: str) -> int:
    few = ("--starts", "16", "--explained", "2", "--out", "out")
    with torch.random.fork_rng():
        return main(["analyze", *arguments, *few])


def test_analyze_leaves_report_graph_summary_and_numbers(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = analyze(
        "cli_model:build", "--layer", "rnn", "--inputs", "batch.npz", "--target", "1"
    )
    assert code == 0, capsys.readouterr().err
    names = {path.name for path in (folder / "out").iterdir()}
    assert names == {
        "report.html",
        "analysis.npz",
        "graph.graphml",
        "graph.json",
        "summary.txt",
    }
    assert "LAYER" in capsys.readouterr().out


@pytest.mark.usefixtures("folder")
def test_lengths_may_come_with_the_inputs(capsys: pytest.CaptureFixture[str]) -> None:
    sized = ("--inputs", "sized.npz", "--lengths", "sizes", "--target", "0")
    assert analyze("cli_model:build", *sized, "--compare", "none") == 0
    assert "48 steps recorded" in " ".join(capsys.readouterr().out.split())


@pytest.mark.usefixtures("folder")
def test_weights_are_loaded_before_the_analysis(
    capsys: pytest.CaptureFixture[str],
) -> None:
    save_file({"rnn.weight_hh_l0": torch.zeros(15, 5)}, "part.safetensors")
    weights = ("--weights", "part.safetensors", "--inputs", "batch.npz")
    assert analyze("cli_model:build", *weights) == 1
    assert "Missing key" in capsys.readouterr().err


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cli_model", "--inputs", "batch.npz"], "Expected MODULE:FACTORY"),
        (["absent:build", "--inputs", "batch.npz"], "No module named 'absent'"),
        (["cli_model:absent", "--inputs", "batch.npz"], "no attribute 'absent'"),
        (["cli_model:not_a_model", "--inputs", "batch.npz"], "got int"),
        (["cli_model:build", "--inputs", "absent.npz"], "no file absent.npz"),
        (["cli_model:build", "--inputs", "cli_model.py"], "not an .npz"),
        (["cli_model:build", "--inputs", "batch.npz"], "`target` between 0 and 1"),
        (
            ["cli_model:build", "--inputs", "batch.npz", "--layer", "nowhere"],
            "'rnn' (GRU)",
        ),
        (
            ["cli_model:build", "--inputs", "batch.npz", "--lengths", "absent"],
            "Expected an array 'absent'",
        ),
        (
            ["cli_model:build", "--inputs", "batch.npz", "--compare", "Nonsense"],
            "got 'Nonsense'",
        ),
    ],
)
def test_mistakes_get_one_line_and_exit_code_1(
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    assert analyze(*arguments) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("captum-dynamics: error: ")
    assert message in error


def test_output_that_is_a_file_is_refused_before_any_work(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "out").write_text("mine")
    assert analyze("cli_model:build", "--inputs", "batch.npz", "--target", "0") == 1
    assert "Cannot write to the folder out" in capsys.readouterr().err
    assert (folder / "out").read_text() == "mine"


def test_wrong_usage_exits_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["analyze"])
    assert "usage:" in capsys.readouterr().err


def test_adapters_lists_the_layers(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["adapters"]) == 0
    assert "torch.nn.modules.rnn.GRU " in capsys.readouterr().out


def test_help_teaches_with_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["analyze", "--help"])
    assert "captum-dynamics analyze mymodel:build" in capsys.readouterr().out


def test_demo_explains_the_users_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "the film was not good, said the zyzzyva"
    assert main(["demo", "--text", text, "--out", str(tmp_path)]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "Read as the unknown word: zyzzyva" in out
    assert "line attractor" in out
    assert "SENTENCE 'the film was not good" in out
    assert (tmp_path / "report.html").stat().st_size < 5_000_000


def test_demo_refuses_a_sentence_without_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", "--text", "  ", "--out", str(tmp_path)]) == 1
    assert "at least one word" in capsys.readouterr().err


def test_module_runs_as_a_program() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "captum_dynamics", "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip() == "0.1.0"
