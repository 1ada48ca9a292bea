"""The ends of long runs as one result: each end once, with its share of the runs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

import torch
from jaxtyping import Float
from torch import Tensor

from captum_dynamics._shares import wilson_interval
from captum_dynamics._typing import Counts, States

NAMED = 4  # units, or ends, that are named before the rest is only counted
Plane = Float[Tensor, "k 2"]


class Regime(IntEnum):
    """What a long run does in the end."""

    REST = 0
    """It came to rest at a fixed point."""
    CYCLE = 1
    """It visits a few states in turn."""
    QUASI_PERIODIC = 2
    """It turns without ever repeating: no deviation grows, and some do not fade."""
    CHAOTIC = 3
    """It stays bounded, and deviations grow on average."""
    UNBOUNDED = 4
    """Some units leave every bound, or are on their steady way there."""
    SLOW = 5
    """It still drifts, ever more slowly or straight on: probably towards a rest."""
    UNRESOLVED = 6
    """None of these can be said, for a reason that is given."""


@dataclass(frozen=True)
class Growth:
    """How the size of one unit grows without bound.

    Attributes:
        unit: its name, such as "c[17]".
        rate: what its size gains in each step; where `exponential`, its factor.
        exponential: whether its size is multiplied in each step, not added to.
    """

    unit: str
    rate: float
    exponential: bool

    def describe(self) -> str:
        """Say it in words."""
        if self.exponential:
            return f"{self.unit}, grows {self.rate:#.4g}-fold per step"
        return f"{self.unit}, grows {self.rate:#.2g} per step"


@dataclass(frozen=True, eq=False)
class Ending:
    """One end of long runs: a set that attracts them, or why there is none.

    Attributes:
        regime: what the runs do.
        states: (k, d). A rest's one state, or several of a continuum; a cycle's states,
            each the image of the one before; 1,024 states of one run in a row on a
            torus and in chaos; else where the runs are now.
        period: 1 at rest, k on a cycle of k states, else 0.
        residual_norm: |F^k(h) - h| at the first state of a rest or cycle; elsewhere the
            step |F(h) - h| at the last, the longest of all runs.
        exponents: Lyapunov exponents (m,), the largest first; none where runs leave,
            are slow or not resolved.
        errors: (m,) their standard errors; zero where they come from multipliers.
        zeros: how many of them are zero within their error.
        dimension: Kaplan-Yorke dimension; NaN where m exponents do not tell.
        rotation: turns per step around the middle of a closed curve, at most 1/2; one
            over a whole number where it is several curves, visited in turn; NaN where
            there is no such curve.
        runs: how many runs ended here.
        count: of how many.
        degenerate: whether it may be one of a continuum.
        growth: the units that leave every bound, the fastest first.
        reason: why it is not resolved.
    """

    regime: Regime
    states: States
    period: int
    residual_norm: float
    exponents: Float[Tensor, " m"]
    errors: Float[Tensor, " m"]
    runs: int = 0
    count: int = 0
    zeros: int = 0
    dimension: float = math.nan
    rotation: float = math.nan
    degenerate: bool = False
    growth: tuple[Growth, ...] = ()
    reason: str = ""

    @property
    def is_unstable(self) -> bool:
        """Whether runs rest at a point that repels: they were started there."""
        resting = self.regime == Regime.REST and not self.zeros
        return resting and bool(self.exponents[0] > 0)

    @property
    def share(self) -> float:
        """Share of the runs that ended here."""
        return self.runs / self.count

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the share, for starts drawn as these were."""
        return wilson_interval(self.runs, self.count)

    def describe(self) -> str:
        """Say in one phrase what this is, and how many runs ended here."""
        return f"{_NAMES[self.regime](self)} ({self.runs} of {self.count} long runs)"


def _name_rest(ending: Ending) -> str:
    if ending.degenerate:
        return "continuum of fixed points"
    if ending.is_unstable:
        return "unstable fixed point, started at"
    return "marginal fixed point" if ending.zeros else "stable fixed point"


def _name_cycle(ending: Ending) -> str:
    return f"period-{ending.period} cycle"


def _name_turns(ending: Ending) -> str:
    zeros = "exponent" if ending.zeros == 1 else "exponents"
    text = f"quasi-periodic motion with {ending.zeros} zero {zeros}"
    known = not math.isnan(ending.rotation)
    return f"{text}, {ending.rotation:.6f} turns per step" if known else text


def _name_chaos(ending: Ending) -> str:
    largest, error = float(ending.exponents[0]), float(ending.errors[0])
    text = f"chaos, largest exponent {largest:.3g} +- {error:.1g}"
    known = not math.isnan(ending.dimension)
    return f"{text}, dimension {ending.dimension:.2f}" if known else text


def _name_growth(ending: Ending) -> str:
    named = [growth.describe() for growth in ending.growth[:NAMED]]
    more = len(ending.growth) - len(named)
    named += [f"{more} more"] if more else []
    many = "s" if len(ending.growth) > 1 else ""
    return f"unbounded direction{many}: {', and '.join(named)}"


_NAMES: dict[Regime, Callable[[Ending], str]] = {
    Regime.REST: _name_rest,
    Regime.CYCLE: _name_cycle,
    Regime.QUASI_PERIODIC: _name_turns,
    Regime.CHAOTIC: _name_chaos,
    Regime.UNBOUNDED: _name_growth,
    Regime.SLOW: lambda end: f"slow: still moves by {end.residual_norm:.1e} per step",
    Regime.UNRESOLVED: lambda end: f"unresolved: {end.reason}",
}


@dataclass(frozen=True, eq=False)
class Regimes:
    """What long runs under one constant input do in the end.

    Attributes:
        endings: each end once, in the order of `Regime`; of one regime, the end of the
            most runs first.
        members: (n,) the ending of each run, as a place in `endings`.
        states: (n, d) where each run was when it had been followed; of a run that left
            every bound, the last state before.
    """

    endings: tuple[Ending, ...]
    members: Counts
    states: States

    def __len__(self) -> int:
        """Number of ends."""
        return len(self.endings)

    def of(self, regime: Regime) -> tuple[Ending, ...]:
        """The endings of one regime, those of the most runs first."""
        return tuple(end for end in self.endings if end.regime == regime)

    @property
    def planes(self) -> tuple[Plane, ...]:
        """States (k, 2) of each ending in the plane of their principal components.

        Runs that left are as far as can be, and have no say in where the plane lies.
        """
        everything = torch.cat([end.states for end in self.endings])
        near = [e.states for e in self.endings if e.regime != Regime.UNBOUNDED]
        shown = torch.cat(near) if near else everything
        middle = shown.mean(0)
        axes = torch.linalg.svd(shown - middle, full_matrices=False)[2][:2]
        flat = (everything - middle) @ axes.mT
        flat = torch.nn.functional.pad(flat, (0, 2 - len(axes)))
        return torch.split(flat, [len(end.states) for end in self.endings])

    def summary(self) -> str:
        """Name the ends in one line, and say where no point is stable."""
        rests = self.of(Regime.REST)
        others = [end for end in self.endings if end.regime != Regime.REST]
        parts = [end.describe() for end in rests]
        if len(rests) > 1:
            runs = sum(end.runs for end in rests)
            parts = [
                f"{len(rests)} fixed points ({runs} of {rests[0].count} long runs)"
            ]
        parts += [end.describe() for end in others[:NAMED]]
        if len(others) > NAMED:
            parts.append(f"and {len(others) - NAMED} other ends")
        open_ended = self.of(Regime.SLOW) + self.of(Regime.UNRESOLVED)
        if all(end.is_unstable for end in rests):
            none = "no long run at rest" if open_ended else "no stable fixed point"
            parts.insert(0, none)
        return "; ".join(parts)
