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

def double():
    return build().double()

class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(9, 3)
        self.model = Model()
    def forward(self, ids, mask):
        return self.model(self.embedding(ids) * mask[..., None])

def tokens():
    return Tokens().eval()

def busy():
    return nn.Sequential(nn.Dropout(0.5), Model())

def broken():
    raise RuntimeError("no weights\\nfound")

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
    np.savez(tmp_path / "odd.npz", x=x, sizes=np.full(12, 4.5), names=["a"] * 12)
    np.savez(tmp_path / "whole.npz", x=x, sizes=np.full(12, 4.0))
    np.savez(tmp_path / "wide.npz", x=x[:, :, :2])
    np.savez(tmp_path / "text.npz", x=["a"] * 12)
    ids, mask = generator.integers(0, 9, (12, 8), np.uint8), x[..., 0] > 0
    np.savez(tmp_path / "ids.npz", mask=mask, ids=ids)
    (tmp_path / "cut.npz").write_bytes((tmp_path / "batch.npz").read_bytes()[:999])
    (tmp_path / "cut.tensors").write_bytes(b"\x08\x00")
    (tmp_path / "syntax.py").write_text("def build(:")
    monkeypatch.chdir(tmp_path)
    for name in ("cli_model", "syntax"):
        monkeypatch.delitem(sys.modules, name, raising=False)
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
@pytest.mark.parametrize("file", ["sized.npz", "whole.npz"])
def test_lengths_may_come_with_the_inputs(
    capsys: pytest.CaptureFixture[str], file: str
) -> None:
    sized = ("--inputs", file, "--lengths", "sizes", "--target", "0")
    assert analyze("cli_model:build", *sized, "--compare", "none") == 0
    assert "48 steps recorded" in " ".join(capsys.readouterr().out.split())


@pytest.mark.usefixtures("folder")
def test_weights_are_loaded_before_the_analysis(
    capsys: pytest.CaptureFixture[str],
) -> None:
    save_file({"rnn.weight_hh_l0": torch.zeros(15, 5)}, "part.safetensors")
    weights = ("--weights", "part.safetensors", "--inputs", "batch.npz")
    assert analyze("cli_model:build", *weights) == 2
    assert "Missing key" in capsys.readouterr().err


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("factory", "file"),
    [("double", "batch.npz"), ("tokens", "ids.npz")],
    ids=["a model in double precision", "token ids of one byte, and a mask"],
)
def test_arrays_take_the_types_that_the_model_reads(
    capsys: pytest.CaptureFixture[str], factory: str, file: str
) -> None:
    given = ("--inputs", file, "--target", "0", "--compare", "none")
    assert analyze(f"cli_model:{factory}", *given) == 0, capsys.readouterr().err


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cli_model", "--inputs", "batch.npz"], "Expected MODULE:FACTORY"),
        (["absent:build", "--inputs", "batch.npz"], "No module named 'absent'"),
        (["cli_model:absent", "--inputs", "batch.npz"], "no attribute 'absent'"),
        (["cli_model:not_a_model", "--inputs", "batch.npz"], "got int"),
        (["syntax:build", "--inputs", "batch.npz"], "'syntax:build': SyntaxError"),
        (["cli_model:broken", "--inputs", "batch.npz"], "RuntimeError: no weights fou"),
        (["cli_model:busy", "--inputs", "batch.npz"], "model.eval()"),
        (["cli_model:build", "--inputs", "cut.npz"], "not an .npz of plain arrays"),
        (["cli_model:build", "--inputs", "text.npz"], "Expected numbers in the array"),
        (["cli_model:build", "--inputs", "wide.npz"], "(x (12, 8, 2) torch.float32)"),
        (["cli_model:build", "--inputs", "sized.npz"], "unexpected keyword argument"),
        (
            ["cli_model:build", "--inputs", "odd.npz", "--lengths", "sizes"],
            "Expected whole numbers in the array 'sizes' of odd.npz, got 4.5",
        ),
        (
            ["cli_model:build", "--inputs", "odd.npz", "--lengths", "names"],
            "Expected numbers in the array 'names' of odd.npz",
        ),
        (
            ["cli_model:build", "--inputs", "batch.npz", "--lengths", "x"],
            "Expected arrays besides 'x'",
        ),
        (
            [
                *("cli_model:build", "--inputs", "batch.npz", "--target", "0"),
                *("--compare", "LayerIntegratedGradients"),
            ],
            "got LayerIntegratedGradients, which needs layer",
        ),
        (
            ["cli_model:build", "--inputs", "batch.npz", "--weights", "absent"],
            "no file absent",
        ),
        (
            [
                "cli_model:build",
                "--inputs",
                "batch.npz",
                "--weights",
                "cut.tensors",
            ],
            "Cannot load cut.tensors",
        ),
        (
            ["cli_model:build", "--inputs", "batch.npz", "--target", "2"],
            "`target` between 0 and 1 to say",
        ),
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
def test_mistakes_get_one_line_and_exit_code_2(
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    assert analyze(*arguments) == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith("captum-dynamics: error: ")
    assert message in error


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("option", ["--starts", "--explained"])
def test_counts_of_nothing_get_one_line_too(
    capsys: pytest.CaptureFixture[str], option: str
) -> None:
    given = ["cli_model:build", "--inputs", "batch.npz", "--out", "out", option, "0"]
    assert main(["analyze", *given]) == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert f"`{option[2:]}` to be a whole number of at least 1, got 0" in error


@pytest.mark.usefixtures("folder")
def test_what_is_no_mistake_of_the_user_keeps_its_traceback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr("captum_dynamics.cli._analyze.analyze", fail)
    with pytest.raises(RuntimeError, match="a defect"):
        analyze("cli_model:build", "--inputs", "batch.npz", "--target", "0")


@pytest.mark.usefixtures("folder")
def test_debug_shows_where_a_mistake_arose() -> None:
    with pytest.raises(ValueError, match="no weights") as caught:
        main(
            [
                *("--debug", "analyze", "cli_model:broken", "--inputs", "batch.npz"),
                *("--out", "out"),
            ]
        )
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_output_that_is_a_file_is_refused_before_any_work(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "out").write_text("mine")
    assert analyze("cli_model:build", "--inputs", "batch.npz", "--target", "0") == 2
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
    assert main(["demo", "--text", "  ", "--out", str(tmp_path)]) == 2
    assert "at least one word" in capsys.readouterr().err


def test_module_runs_as_a_program() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "captum_dynamics", "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip() == "0.1.0"


def test_adapters_says_versions_and_traits(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["adapters"]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split() == ["LAYER", "ADAPTER", "SUPPORTED", "INSTALLED", "TRAITS"]
    (gru,) = [row for row in rows if row.startswith("torch.nn.modules.rnn.GRU ")]
    assert torch.__version__.partition("+")[0] in gru
    assert "float64, float32" in gru


@pytest.mark.usefixtures("folder")
def test_inspect_lists_the_layers_of_a_users_model(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["inspect", "cli_model:tokens"]) == 0
    head, row = capsys.readouterr().out.splitlines()
    assert head.split() == ["PATH", "LAYER", "ADAPTER", "STATE", "INPUT", "TRAITS"]
    assert row.split()[:6] == ["model.rnn", "GRU", "GRUAdapter", "h", "5", "3"]


def test_inspect_says_why_a_layer_is_refused_and_which_one_needs_a_direction(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "cli_odd.py").write_text(
        "from torch import nn\n"
        "def build():\n"
        "    noisy = nn.GRU(3, 4, 2, dropout=0.5)\n"
        "    return nn.Sequential(noisy, nn.LSTM(4, 2, bidirectional=True))\n"
        "def plain():\n"
        "    return nn.Linear(2, 2)\n"
    )
    assert main(["inspect", "cli_odd:build"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "0 GRU refused" in out
    assert "call `model.eval()`" in out
    assert "adapt(model, '1', direction='forward')" in out
    assert main(["inspect", "cli_odd:plain"]) == 0
    assert "FunctionAdapter(step" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("command", ["inspect", "adapters"])
def test_help_of_a_listing_teaches(
    capsys: pytest.CaptureFixture[str], command: str
) -> None:
    with pytest.raises(SystemExit, match="0"):
        main([command, "--help"])
    assert "captum-dynamics inspect mymodel:build" in capsys.readouterr().out


def test_inspect_of_no_model_gets_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "absent:build"]) == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert "No module named 'absent'" in error
