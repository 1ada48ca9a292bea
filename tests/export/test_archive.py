"""Archives hold frozen results without pickle, and say what is wrong with others."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import numpy as np
import pytest
import torch

from captum_dynamics.exceptions import FileFormatError
from captum_dynamics.export.archive import from_archive, to_archive


class Colour(Enum):
    """An enum to save."""

    RED = 1


@dataclass(frozen=True, eq=False)
class Result:
    """A result to save."""

    numbers: torch.Tensor
    names: tuple[str, ...]
    times: dict[str, float]
    colour: Colour
    nothing: None = None


TYPES = {"Result": Result, "Colour": Colour}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    numbers = torch.tensor([1 + 2j, float("nan")], dtype=torch.complex128)
    result = Result(numbers, ("a", "ü"), {"stage": 0.5}, Colour.RED)
    return to_archive(result, tmp_path / "result")


def test_round_trip_is_the_identity(saved: Path) -> None:
    result = from_archive(saved, TYPES)
    assert saved.suffix == ".npz"
    assert result.numbers[0] == 1 + 2j
    assert bool(result.numbers[1].isnan())
    assert (result.names, result.times) == (("a", "ü"), {"stage": 0.5})
    assert (result.colour, result.nothing) == (Colour.RED, None)


def test_truncated_file_is_refused(saved: Path) -> None:
    saved.write_bytes(saved.read_bytes()[:200])
    with pytest.raises(FileFormatError, match="truncated"):
        from_archive(saved, TYPES)


def test_damaged_bytes_are_refused(saved: Path) -> None:
    content = bytearray(saved.read_bytes())
    content[60:90] = bytes(30)
    saved.write_bytes(bytes(content))
    with pytest.raises(FileFormatError):
        from_archive(saved, TYPES)


def test_foreign_npz_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "foreign.npz", a=np.zeros(3))
    with pytest.raises(FileFormatError, match=r"foreign\.npz"):
        from_archive(tmp_path / "foreign.npz", TYPES)


def test_pickled_npy_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "evil.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(FileFormatError, match=r"evil\.npy"):
        from_archive(tmp_path / "evil.npy", TYPES)


def test_newer_version_is_refused(tmp_path: Path) -> None:
    text = json.dumps({"format": "captum_dynamics archive", "version": 99})
    content = np.frombuffer(text.encode(), dtype=np.uint8)
    np.savez(tmp_path / "new.npz", **{"content.json": content})
    with pytest.raises(FileFormatError, match="version 99"):
        from_archive(tmp_path / "new.npz", TYPES)


def test_unknown_class_is_refused(saved: Path) -> None:
    with pytest.raises(FileFormatError, match="Result"):
        from_archive(saved, {"Colour": Colour})


def test_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        from_archive(tmp_path / "absent.npz", TYPES)


def test_values_that_cannot_be_saved_are_named(tmp_path: Path) -> None:
    result = Result(torch.zeros(1), ("a",), {"stage": object()}, Colour.RED)  # type: ignore[dict-item]
    with pytest.raises(TypeError, match=r"result\.times\.stage"):
        to_archive(result, tmp_path / "result.npz")
