"""Attractors kicked by inputs of any strength, and where they settle afterwards."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from captum_dynamics import _checks
from captum_dynamics._typing import (
    Counts,
    Mask,
    OneInput,
    OtherStates,
    PerOther,
    PerPoint,
)
from captum_dynamics.dynamics import DynamicsMap
from captum_dynamics.topology._destinations import Destinations, follow

DOUBLE_BITS = 53  # halvings after which an interval has no middle in float64
Sequences = Float[Tensor, "m s k"]


@dataclass(frozen=True, eq=False)
class Alphabet:
    """What each symbol means: a sequence of inputs, at full strength.

    Attributes:
        names: one a symbol.
        inputs: (m, s, k); short sequences are filled up with the input at rest, under
            which the state would settle anyway.
        lengths: (m,) steps of each symbol's own sequence.
        rest: the input (k,) between symbols.
    """

    names: tuple[str, ...]
    inputs: Sequences
    lengths: Int[Tensor, " m"]
    rest: OneInput

    def at(self, symbols: Counts, amplitudes: PerPoint) -> Float[Tensor, "n s k"]:
        """The symbols' inputs, moved from rest (0) to full strength (1)."""
        return torch.lerp(self.rest, self.inputs[symbols], amplitudes[:, None, None])


def read_symbols(
    symbols: Mapping[str, Tensor], dynamics: DynamicsMap, rest: OneInput
) -> Alphabet:
    """Check what each symbol means, and stack it."""
    if not isinstance(symbols, Mapping) or not symbols:
        raise TypeError(
            "Expected `symbols` to map at least one name to its input (k,) or inputs "
            f"(steps, k), got {type(symbols).__name__}."
        )
    rows = [_one(name, value, dynamics) for name, value in symbols.items()]
    steps = max(len(row) for row in rows)
    inputs = rest.repeat(len(rows), steps, 1)
    for place, row in enumerate(rows):
        inputs[place, : len(row)] = row.to(rest.dtype)
    lengths = torch.tensor([len(row) for row in rows], device=rest.device)
    return Alphabet(tuple(symbols), inputs, lengths, rest)


def _one(name: str, value: Tensor, dynamics: DynamicsMap) -> Tensor:
    if not isinstance(name, str):
        raise TypeError(
            f"Expected `symbols` to have names for keys, got {type(name).__name__}."
        )
    argument = f"symbols[{name!r}]"
    _checks.check_floating(argument, value)
    rows = value.detach()[None] if value.ndim == 1 else value.detach()
    _checks.check_matrix(argument, rows, dynamics.input_dim, dynamics.device)
    return _checks.check_rows(argument, rows)


@dataclass(frozen=True, eq=False)
class Kicks:
    """The experiment: put the state at an attractor, feed a symbol, let it settle."""

    dynamics: DynamicsMap
    alphabet: Alphabet
    attractors: OtherStates
    capture: PerOther
    max_steps: int
    show_progress: bool = False

    def settle(
        self, sources: Counts, symbols: Counts, amplitudes: PerPoint
    ) -> Destinations:
        """Where each attractor ends, kicked by its symbol at its amplitude."""
        states = self.attractors[sources]
        inputs = self.alphabet.at(symbols, amplitudes)
        for step in range(inputs.shape[1]):
            states = self.dynamics.step(states, inputs[:, step])
        return follow(
            self.dynamics,
            states,
            self.alphabet.rest.expand(len(states), -1),
            self.attractors,
            capture=self.capture,
            max_steps=self.max_steps,
            show_progress=self.show_progress,
            desc="Transitions",
        )

    def thresholds(
        self,
        sources: Counts,
        symbols: Counts,
        leave: Mask,
        *,
        amplitudes: int,
        tolerance: float,
    ) -> PerPoint:
        """Smallest amplitude (n,) that drives each state away; NaN where none does.

        A scan of equal steps finds the first amplitude that does, bisection the border
        below it: the returned one does drive the state away, and is above the border by
        `tolerance` at most. `leave` says what the full amplitude does.
        """
        scan = torch.arange(1, amplitudes + 1).to(self.attractors) / amplitudes
        weaker = self._leave(
            sources.repeat_interleave(amplitudes - 1),
            symbols.repeat_interleave(amplitudes - 1),
            scan[:-1].repeat(len(sources)),
        ).reshape(len(sources), amplitudes - 1)
        leaves = torch.cat([weaker, leave[:, None]], dim=1)
        some = torch.nonzero(leaves.any(1))[:, 0]
        high = scan[leaves[some].to(torch.uint8).argmax(1)]
        low = high - 1 / amplitudes
        halvings = math.log2(1 / (amplitudes * tolerance))
        for _ in range(math.ceil(min(halvings, DOUBLE_BITS))):
            middle = (low + high) / 2
            left = self._leave(sources[some], symbols[some], middle)
            low, high = torch.where(left, low, middle), torch.where(left, middle, high)
        found = self.attractors.new_full((len(sources),), torch.nan)
        found[some] = high
        return found

    def _leave(self, sources: Counts, symbols: Counts, amplitudes: PerPoint) -> Mask:
        left: Mask = self.settle(sources, symbols, amplitudes).targets != sources
        return left
