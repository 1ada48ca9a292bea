"""The state of a survey as a file, and whether it is of the survey at hand."""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
import zlib
from dataclasses import asdict, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from captum_dynamics.exceptions import FileFormatError
from captum_dynamics.fixed_points import FixedPoints
from captum_dynamics.survey._problem import Problem
from captum_dynamics.survey._rounds import Progress, begin

FORMAT = "captum_dynamics survey"
VERSION = 1
PROBES = 4  # states at which the map is compared
_CONTENT = "content.json"
_POINTS = tuple(field.name for field in fields(FixedPoints))
_INPUTS = ("endings", "quiet", "active", "saturated")


class Checkpoint:
    """A file that a survey is kept in; without a path, nothing at all."""

    def __init__(self, path: str | Path | None) -> None:
        """Take the path."""
        self._path = None if path is None else Path(path)

    @property
    def exists(self) -> bool:
        """Whether there is a survey to go on from."""
        return self._path is not None and self._path.exists()

    def seed(self) -> int:
        """Seed of the stored survey."""
        return int(_read(Path(str(self._path)))[0]["problem"]["seed"])

    def load(self, problem: Problem) -> Progress:
        """Read the stored state.

        Raises:
            FileFormatError: for a truncated or foreign file.
            ValueError: for the checkpoint of another survey.
        """
        path = Path(str(self._path))
        content, arrays = _read(path)
        stored, own = content["problem"], _describe(problem)
        differing = [name for name in own if stored.get(name) != own[name]]
        if not differing and not _same(arrays["images"], _images(problem)):
            differing = ["dynamics"]
        if differing:
            raise ValueError(
                f"Expected `checkpoint` to be of this survey, got {path}, which is of "
                f"one with other {', '.join(differing)}; remove it to start anew."
            )
        _check_fit(path, arrays, problem)
        arrays = {name: a.to(problem.inputs.device) for name, a in arrays.items()}
        known = FixedPoints(*(arrays[name] for name in _POINTS))
        state = (arrays[name] for name in _INPUTS)
        return Progress(content["rounds"], known, arrays["fresh"], *state)

    def save(self, problem: Problem, progress: Progress) -> None:
        """Write the state; an interruption leaves the old file or the new one."""
        if self._path is None:
            return
        content = {
            "format": FORMAT,
            "version": VERSION,
            "rounds": progress.rounds,
            "problem": _describe(problem),
        }
        tensors = {**_tensors(progress), "images": _images(problem)}
        arrays = {name: tensor.cpu().numpy() for name, tensor in tensors.items()}
        arrays[_CONTENT] = np.frombuffer(json.dumps(content).encode(), dtype=np.uint8)
        part = self._path.with_name(self._path.name + ".part")
        try:
            with part.open("wb") as file:
                np.savez(file, **arrays)  # type: ignore[arg-type]
                file.flush()
                os.fsync(file.fileno())
            part.replace(self._path)
        finally:
            part.unlink(missing_ok=True)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Content and arrays of a file, all of which are there."""
    try:
        # From memory: numpy leaves a truncated file open.
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as archive:
            content = json.loads(archive[_CONTENT].tobytes().decode())
            names = (*_POINTS, "fresh", *_INPUTS, "images")
            arrays = {name: torch.from_numpy(archive[name]) for name in names}
        if (content["format"], content["version"]) != (FORMAT, VERSION):
            raise ValueError(f"format {content['format']!r} {content['version']!r}")
        counts = content["rounds"], content["problem"]["seed"]
        if not all(isinstance(count, int) for count in counts):
            raise ValueError("no counts")
    except OSError:
        raise
    except (
        EOFError,
        KeyError,
        TypeError,
        ValueError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise FileFormatError(
            f"{path} is truncated, or no survey that this release reads: {error!r}."
        ) from error
    return content, arrays


def _tensors(progress: Progress) -> dict[str, Tensor]:
    tensors = {name: getattr(progress.known, name) for name in _POINTS}
    return tensors | {name: getattr(progress, name) for name in ("fresh", *_INPUTS)}


def _check_fit(path: Path, arrays: dict[str, Tensor], problem: Problem) -> None:
    """Refuse arrays of other types or sizes than this survey would have written."""
    for name, own in _tensors(begin(problem)).items():
        rows = len(problem) if name in _INPUTS else len(arrays["states"])
        wanted = (own.dtype, (rows, *own.shape[1:]))
        if (arrays[name].dtype, tuple(arrays[name].shape)) != wanted:
            raise FileFormatError(f"{path} holds {name!r} of another type or size.")
    owners = arrays["inputs"]
    if not bool(((owners >= 0) & (owners < len(problem))).all()):
        raise FileFormatError(f"{path} holds points under inputs that do not exist.")


def _describe(problem: Problem) -> dict[str, Any]:
    """What tells one survey from another, save the map."""
    return {
        "inputs": _digest(problem.inputs),
        "runs": _digest(problem.visited),
        **asdict(problem.settings),
        "solver": repr(problem.settings.solver),
        "version": _version(),
    }


def _images(problem: Problem) -> Tensor:
    """F at some states, under inputs from the first to the last: its fingerprint."""
    generator = problem.generator(0, "probes")
    states = problem.random_starts(0, PROBES, generator)
    rows = torch.linspace(0, len(problem) - 1, PROBES).long()
    return problem.dynamics.step(states, problem.inputs[rows.to(states.device)])


def _same(stored: Tensor, own: Tensor) -> bool:
    """Whether two maps agree, to what other threads or libraries may round."""
    shapes = stored.shape == own.shape
    return shapes and torch.allclose(stored.to(own), own, rtol=1e-9, atol=1e-12)


def _digest(tensor: Tensor) -> str:
    return hashlib.sha256(tensor.cpu().numpy().tobytes()).hexdigest()


def _version() -> str:
    try:
        return version("captum-dynamics")
    except PackageNotFoundError:
        return "not installed"
