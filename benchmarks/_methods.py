"""The methods that are compared: each turns starts into distinct points."""

from __future__ import annotations

import contextlib
import copy
import importlib
import io
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from _nets import Net
from torch import Tensor, nn

import captum_dynamics as cd
from captum_dynamics.solvers import GradientDescent, Solver

PEER_TOLERANCE = 1e-12  # on q
PEER_STEPS = 5000


@dataclass(frozen=True, eq=False)
class Found:
    """Distinct states (m, d) that a method returned, and which (m,) it calls fixed."""

    states: Tensor
    claimed: Tensor


class Method(Protocol):
    """A way to search; what `prepare` returns is what is timed."""

    @property
    def name(self) -> str:
        """How tables call it."""

    def prepare(self, net: Net, starts: Tensor) -> Callable[[], Found]:
        """Do what is no part of a search, and return the search."""


@dataclass(frozen=True)
class Ours:
    """`find_fixed_points` and `unique()` with one of our solvers; None: the default."""

    name: str = "ours"
    solver: Solver | None = None

    def prepare(self, net: Net, starts: Tensor) -> Callable[[], Found]:
        """Search in float64; what a search calls fixed is its `Kind`."""

        def search() -> Found:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", cd.ConvergenceWarning)
                points = cd.find_fixed_points(
                    net.dynamics, starts, net.inputs, solver=self.solver
                ).unique()
            return Found(points.states, points.kind == cd.Kind.FIXED)

        return search


@dataclass(frozen=True)
class Peer:
    """FixedPointFinderTorch of a checkout, unmodified: Adam on all starts jointly."""

    finder: Any
    name: str = "peer"

    @classmethod
    def at(cls, path: Path) -> Peer:
        """Import the finder from its folder."""
        sys.path.append(str(path))
        try:
            module = importlib.import_module("FixedPointFinderTorch")
        except ModuleNotFoundError as error:
            raise SystemExit(
                f"Expected `--peer` to hold FixedPointFinderTorch.py: {error}"
            ) from error
        finally:
            sys.path.remove(str(path))
        return cls(module.FixedPointFinderTorch)

    def prepare(self, net: Net, starts: Tensor) -> Callable[[], Found]:
        """Give it its own layer, whose weights it freezes, and float32 arrays."""
        layer = copy.deepcopy(net.layer)
        if isinstance(layer, nn.LSTM):
            layer = HiddenAndCell(layer)
        states = starts.float().numpy()
        inputs = net.inputs.float().expand(len(starts), -1).contiguous().numpy()
        finder = self.finder(
            layer,
            lr_init=net.learning_rate,
            tol_q=PEER_TOLERANCE,
            max_iters=PEER_STEPS,
            do_compute_jacobians=False,
            do_decompose_jacobians=False,
            verbose=False,
        )

        def search() -> Found:
            with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                unique, _ = finder.find_fixed_points(states, inputs)
            # It marks nothing: its tolerance on its own q says what it calls fixed.
            claimed = torch.from_numpy(unique.qstar) < PEER_TOLERANCE
            return Found(torch.from_numpy(unique.xstar).double(), claimed)

        return search


class HiddenAndCell(nn.Module):
    """An LSTM whose state is one tensor, h and c side by side."""

    batch_first = True

    def __init__(self, lstm: nn.LSTM) -> None:
        super().__init__()
        self.lstm = lstm

    def forward(self, inputs: Tensor, states: Tensor) -> tuple[Tensor, Tensor]:
        """Advance states (1, n, 2d)."""
        h, c = states.chunk(2, dim=-1)
        outputs, new = self.lstm(inputs, (h.contiguous(), c.contiguous()))
        return outputs, torch.cat(new, dim=-1)


def our_methods() -> list[Method]:
    """The default search, and the field's method in our hands."""
    return [Ours(), Ours("GradientDescent", GradientDescent())]
