"""Claims, their verdicts, and the pages and files that an experiment leaves."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from torch import nn

from captum_dynamics.experiments import (
    EXPERIMENTS,
    Bench,
    Options,
    Reproduction,
    Verdict,
    reproduce,
)
from captum_dynamics.experiments._claims import (
    at_least,
    at_most,
    check,
    holds,
    reported,
    within,
)
from captum_dynamics.tasks._files import load_weights, save_weights
from captum_dynamics.tasks._training import Checkpoint


def finished(folder: Path, *, quick: bool = False) -> Reproduction:
    bench = Bench(Options(folder, quick=quick))
    bench.section("Accuracy", "What nets get right.")
    bench.claim(
        at_least("accuracy | GRU", 0.9123, 0.88, paper="0.869", form=".3f"),
        at_most("components", math.nan, 2, note="the search found nothing"),
        reported("seconds", 12.5),
        check(at_most("error", 0.0, 1.0)),
    )
    bench.numbers["by_seed"] = {0: [0.5, math.inf]}
    return bench.finish("accuracy", "A title", "captum-dynamics reproduce accuracy")


@pytest.mark.parametrize(
    ("claim", "verdict"),
    [
        (at_least("a", 2.0, 2.0), Verdict.REPRODUCED),
        (at_least("a", 1.9, 2.0), Verdict.NOT_REPRODUCED),
        (at_most("a", 2.0, 2.0), Verdict.REPRODUCED),
        (at_most("a", math.nan, 2.0), Verdict.NOT_REPRODUCED),
        (within("a", 1.0, 0.8, 1.2), Verdict.REPRODUCED),
        (within("a", 1.3, 0.8, 1.2), Verdict.NOT_REPRODUCED),
        (holds("a", "a line", False, wanted="no line"), Verdict.NOT_REPRODUCED),
        (reported("a", 1.0), Verdict.REPORTED),
        (check(at_least("a", 2.0, 2.0)), Verdict.HOLDS),
        (check(at_least("a", 1.0, 2.0)), Verdict.FAILS),
    ],
    ids=lambda value: getattr(value, "name", getattr(value, "what", "")),
)
def test_a_verdict_follows_the_bound(claim: object, verdict: Verdict) -> None:
    assert getattr(claim, "verdict") is verdict  # noqa: B009


def test_the_page_has_every_claim_and_counts_the_verdicts(tmp_path: Path) -> None:
    found = finished(tmp_path)
    page = (tmp_path / "index.md").read_text("utf-8")
    assert "1 of 2 claims are reproduced." in page
    assert "| accuracy \\| GRU | 0.869 | 0.912 | ≥ 0.880 | reproduced |" in page
    assert "*components*: the search found nothing" in page
    assert f"torch {torch.__version__}" in page
    assert "accuracy | GRU" in found.summary()


def test_numbers_that_are_none_are_null_in_the_file(tmp_path: Path) -> None:
    finished(tmp_path)
    stored = json.loads((tmp_path / "result.json").read_text("utf-8"))
    (section,) = stored["sections"]
    assert section["claims"][1]["value"] is None
    assert section["claims"][0]["value"] == 0.9123
    assert stored["numbers"] == {"by_seed": {"0": [0.5, None]}}


def test_a_quick_run_says_that_it_judges_little(tmp_path: Path) -> None:
    assert "quick version" in finished(tmp_path, quick=True).summary()


def test_a_net_is_trained_once_and_again_for_other_settings(tmp_path: Path) -> None:
    trainings = []

    def train(checkpoint: Checkpoint) -> nn.Linear:
        trainings.append(checkpoint.path.name)
        return nn.Linear(2, 1)

    def net(width: int) -> nn.Linear:
        return Bench(Options(tmp_path)).net(
            "line",
            {"width": width},
            train,
            lambda net, path: save_weights(net, path, {}),
            lambda path: load_weights(path, lambda _: nn.Linear(2, 1), what="a line"),
        )

    first, second = net(2), net(2)
    assert trainings == ["line.checkpoint"]
    assert torch.equal(first.weight, second.weight)
    net(3)
    assert len(trainings) == 2


def test_a_net_whose_note_could_not_be_written_is_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(Options(tmp_path))
    arguments = (
        lambda checkpoint: nn.Linear(2, 1),
        lambda net, path: save_weights(net, path, {}),
        lambda path: load_weights(path, lambda _: nn.Linear(2, 1), what="a line"),
    )
    bench.net("line", {"width": 2}, *arguments)

    def cut_short(path: Path, text: str, **_: str) -> None:
        path.write_bytes(text[:10].encode())
        raise OSError("no space left")

    with monkeypatch.context() as broken:
        broken.setattr(Path, "write_text", cut_short)
        with pytest.raises(OSError, match="no space left"):
            bench.net("line", {"width": 3}, *arguments)
    # What is cut short is no note: the next run reads the old one, and goes on.
    assert bench.net("line", {"width": 3}, *arguments).weight.shape == (1, 2)


def test_an_unknown_experiment_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Expected `name` to be one of"):
        reproduce("alchemy", Options(tmp_path))


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_of_the_catalogue_can_be_imported(name: str) -> None:
    assert callable(EXPERIMENTS[name].run)
