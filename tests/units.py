"""Work that processes of a pool import: it leaves traces in a folder."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from captum_dynamics.dynamics import DynamicsMap
from captum_dynamics.solvers import MixedPrecision, Solution, Solver


class UserError(Exception):
    """An error that only the user's own step raises."""


@dataclass(frozen=True)
class Doomed(Solver):
    """The default search, but the first worker to begin it waits until it is killed."""

    folder: str
    home: int
    search: Solver = field(default_factory=MixedPrecision)

    def solve(
        self,
        dynamics: DynamicsMap,
        initial_states: Tensor,
        inputs: Tensor,
        *,
        show_progress: bool = False,
    ) -> Solution:
        if os.getpid() != self.home and claim(Path(self.folder) / "victim"):
            time.sleep(60)
        return self.search.solve(
            dynamics, initial_states, inputs, show_progress=show_progress
        )

    def tolerances(self, states: Tensor) -> Tensor:
        return self.search.tolerances(states)

    def bytes_per_row(self, dynamics: DynamicsMap) -> int:
        return self.search.bytes_per_row(dynamics)


def claim(path: Path) -> bool:
    """Write this process's id to a file, and say whether it was the first to do so."""
    draft = path.with_suffix(f".{os.getpid()}")
    draft.write_text(str(os.getpid()))
    try:
        os.link(draft, path)
    except FileExistsError:
        return False
    return True


def slow_square(number: int, folder: str) -> int:
    """Square a number in .1 s, and leave a file behind."""
    Path(folder, str(number)).touch()
    time.sleep(0.1)
    return number**2


def fail_from_two_on(number: int, folder: str) -> int:
    """Square a number, unless it is two or more."""
    square = slow_square(number, folder)
    if number >= 2:
        raise UserError(f"{number} is not to be squared")
    return square


def faulty_step(h: Tensor, x: Tensor) -> Tensor:
    """Raise the user's error where a step is wanted."""
    raise UserError(f"no step from {tuple(h.shape)} and {tuple(x.shape)}")
