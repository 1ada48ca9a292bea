"""A survey that is interrupted goes on to the same result, or says why it cannot."""

from __future__ import annotations

import itertools
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import captum_dynamics as cd
from captum_dynamics.survey import _rounds
from captum_dynamics.testing.systems import coupled_switches

INPUTS = torch.linspace(-1, 1, 12)[:, None]
VISITED = torch.linspace(-1, 1, 7)[:, None]


def field(gain: float = 2.0) -> cd.FunctionAdapter:
    """h' = tanh(gain h + x)."""
    box = -torch.ones(1), torch.ones(1)
    return cd.FunctionAdapter(lambda h, x: torch.tanh(gain * h + x), 1, 1, box=box)


def survey(path: Path | str | None, **changes: object) -> cd.Survey:
    """Of a bistable switch under twelve inputs, in a few rounds."""
    given: dict[str, object] = {
        "dynamics": field(),
        "runs": VISITED,
        "inputs": INPUTS,
        "first_starts": 4,
        "generator": torch.Generator().manual_seed(0),
        "checkpoint": path,
    }
    return cd.survey_fixed_points(**{**given, **changes})  # type: ignore[arg-type]


def interrupt(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Press Ctrl-C in the search of the round after so many."""
    rounds = itertools.count()

    def search(*args: Tensor, **settings: object) -> cd.FixedPoints:
        found = cd.find_fixed_points(*args, **settings)  # type: ignore[arg-type]
        if next(rounds) == after:
            raise KeyboardInterrupt
        return found

    monkeypatch.setattr(_rounds, "find_fixed_points", search)


def same(one: cd.Survey, other: cd.Survey) -> bool:
    """Whether two surveys agree in every bit."""
    points = all(
        torch.equal(getattr(one.points, f.name), getattr(other.points, f.name))
        for f in fields(cd.FixedPoints)
    )
    texts = [[report.summary() for report in s.reports] for s in (one, other)]
    return points and texts[0] == texts[1] and one.starts == other.starts


@pytest.mark.parametrize("after", [0, 1, 2])
def test_an_interrupted_survey_goes_on_to_the_same_result(
    after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = survey(None)
    path = tmp_path / "survey.npz"
    interrupt(monkeypatch, after)
    with pytest.raises(KeyboardInterrupt):
        survey(path)
    assert [file.name for file in tmp_path.iterdir()] == ["survey.npz"]
    calls = []

    def counted(*args: Tensor, **settings: object) -> cd.FixedPoints:
        calls.append(len(args[1]))
        return cd.find_fixed_points(*args, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(_rounds, "find_fixed_points", counted)
    resumed = survey(path)
    assert same(resumed, whole)
    # What had been done is not done again.
    assert (sum(calls) < whole.starts) == (after > 0)


def test_a_survey_that_was_finished_is_only_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "survey.npz"
    done = survey(path)
    monkeypatch.setattr(_rounds, "find_fixed_points", lambda *_: pytest.fail("again"))
    assert same(survey(str(path)), done)
    # Without a generator it is the stored seed that counts.
    assert same(survey(path, generator=None), done)


def test_a_checkpoint_changes_no_result(tmp_path: Path) -> None:
    assert same(survey(tmp_path / "survey.npz"), survey(None))


def test_a_survey_that_is_killed_while_it_writes_keeps_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "survey.npz"
    interrupt(monkeypatch, 1)
    with pytest.raises(KeyboardInterrupt):
        survey(path)
    kept = path.read_bytes()
    monkeypatch.setattr(_rounds, "find_fixed_points", cd.find_fixed_points)
    right = np.savez

    def halfway(file: object, **arrays: object) -> None:
        right(file, **dict(list(arrays.items())[:3]))  # type: ignore[arg-type]
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez", halfway)
    with pytest.raises(OSError, match="disk full"):
        survey(path)
    assert path.read_bytes() == kept
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"generator": torch.Generator().manual_seed(1)}, "seed"),
        ({"inputs": INPUTS[:-1]}, "inputs"),
        ({"runs": VISITED[1:]}, "runs"),
        ({"max_starts": 64}, "max_starts"),
        ({"first_starts": 8}, "first_starts"),
        ({"q_slow": 1e-6}, "q_slow"),
        ({"budget": 2**20}, "budget"),
        ({"solver": cd.solvers.Newton()}, "solver"),
        ({"dynamics": field(2.0 + 1e-6)}, "dynamics"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_checkpoint_of_another_survey_is_refused_by_name(
    changes: dict[str, object], named: str, tmp_path: Path
) -> None:
    path = tmp_path / "survey.npz"
    survey(path)
    with pytest.raises(ValueError, match=f"`checkpoint`.*other {named}; remove it"):
        survey(path, **changes)


def test_a_checkpoint_of_another_map_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "survey.npz"
    survey(path)
    wide = coupled_switches()
    with pytest.raises(ValueError, match=r"`checkpoint`.*other inputs, runs;"):
        survey(path, dynamics=wide.dynamics, runs=wide.states, inputs=wide.inputs)


def test_a_truncated_or_foreign_file_is_refused_in_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "survey.npz"
    survey(path)
    whole = path.read_bytes()
    for size in range(0, len(whole), len(whole) // 20):
        path.write_bytes(whole[:size])
        with pytest.raises(cd.FileFormatError, match="is truncated, or no survey"):
            survey(path)
    path.write_text("nothing of the kind")
    with pytest.raises(cd.FileFormatError, match=r"survey\.npz is truncated, or no"):
        survey(path, generator=None)
    np.savez(path, states=np.zeros(3))
    with pytest.raises(cd.FileFormatError):
        survey(path)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("states", lambda a: a[1:]),
        ("active", lambda a: a[1:]),
        ("states", lambda a: a[:, :0]),
        ("inputs", lambda a: a + 100),
        ("kind", lambda a: a.astype(float)),
        ("endings", lambda a: a[:, :2]),
    ],
)
def test_a_file_whose_arrays_do_not_fit_is_refused(
    name: str, change: object, tmp_path: Path
) -> None:
    path = tmp_path / "survey.npz"
    survey(path)
    with np.load(path) as archive:
        arrays = dict(archive)
    arrays[name] = change(arrays[name])  # type: ignore[operator]
    np.savez(path, **arrays)
    with pytest.raises(cd.FileFormatError):
        survey(path)


def test_a_folder_that_is_not_there_is_said_before_the_search(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        survey(tmp_path / "nowhere" / "survey.npz")
