"""The measurement at real size, made small."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch

pytest.importorskip("transformers", reason="transformers is not there")

FILE = Path(__file__).parents[3] / "benchmarks" / "real_size.py"


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("real_size", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_small_model_is_measured(
    benchmark: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "times.png"
    threads = torch.get_num_threads()
    sizes = "--layers 2 --width 16 --vocabulary 30 --token 5 --modes 3"
    rows = benchmark.main(
        [*sizes.split(), "--threads", str(threads), "--picture", str(picture)]
    )
    printed = capsys.readouterr().out.splitlines()
    assert len(rows) == 2
    for number, row in enumerate(rows):
        assert row["residual"] < 1e-12
        assert row["times"] == sorted(row["times"], reverse=True)
        # Steps of 0.001 to 0.1 and rates of 1 to 16, as training begins with.
        assert 0.5 < row["quantiles"][0] < row["times"][2] <= row["times"][0] < 1500
        assert min(row["reads"]) > 0
        assert any(line.startswith(f"{number:5d}  ") for line in printed)
    assert any("status 0" in line for line in printed)
    assert picture.stat().st_size > 1000
