"""Comparison: several attribution methods on the same inputs, side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from scipy.stats import spearmanr
from torch import Tensor

from captum_dynamics import _checks
from captum_dynamics._typing import PerPoint, StepMask
from captum_dynamics.attr._comparison_table import write_table
from captum_dynamics.attr._curves import steps_of

Curves = Float[Tensor, "n p"]
Agreement = Float[Tensor, "m m"]
PerMethod = Float[Tensor, "m n"]


@dataclass(frozen=True, eq=False)
class MethodScores:
    """One method: what it gave, how it fares, and what it cost.

    A number that is not defined is NaN, and `reasons` says why.

    Attributes:
        name: what the method is called here.
        attributions: (n, t) or (n, t, ...), as the method gave them; what it said of a
            group of features (`feature_mask`, `sliding_window_shapes`) is shared
            equally by them, as Captum repeats it at each.
        deltas: (n,) Captum's convergence delta; NaN where the method has none.
        infidelity: (n,) `captum.metrics.infidelity`, half of the steps replaced.
        sensitivity: (n,) `captum.metrics.sensitivity_max`.
        deletion: (n, p) outputs with a share of the steps replaced by the baseline,
            the most positive first.
        insertion: (n, p) outputs with that share as it is and all others replaced.
        seconds: wall time of `attribute`, with the delta where there is one.
        calls: calls of the model in it.
        examples: examples that went through the model in these calls.
        traps: what `check_method` says of the method on this model.
        reasons: why a number is NaN, by the number's name.
    """

    name: str
    attributions: Tensor
    deltas: PerPoint
    infidelity: PerPoint
    sensitivity: PerPoint
    deletion: Curves
    insertion: Curves
    seconds: float
    calls: int
    examples: int
    traps: tuple[str, ...]
    reasons: Mapping[str, str]

    @property
    def by_step(self) -> Float[Tensor, "n t"]:
        """Attributions of steps, summed over features, in float64."""
        return steps_of(self.attributions)

    @property
    def deletion_areas(self) -> PerPoint:
        """Area (n,) under each example's deletion curve: a good order has a small one.

        In units of the output, as the share removed goes from 0 to 1.
        """
        return _area(self.deletion)

    @property
    def insertion_areas(self) -> PerPoint:
        """Area (n,) under each insertion curve: a good order has a large one."""
        return _area(self.insertion)


@dataclass(frozen=True)
class PairedDifference:
    """A mean difference between two methods over examples, with its interval.

    Attributes:
        mean: over examples; positive where the first method is better.
        low: lower end of the interval.
        high: upper end.
        level: share of intervals that hold the true mean, about.
    """

    mean: float
    low: float
    high: float
    level: float

    def __str__(self) -> str:
        """Write the mean, and the interval in brackets."""
        return f"{self.mean:+.3g} [{self.low:+.3g}, {self.high:+.3g}]"


@dataclass(frozen=True, eq=False)
class Comparison:
    """Attribution methods on the same inputs; `str(comparison)` is a table.

    Correlations and orders are of steps: attributions summed over features.

    Attributes:
        methods: those that gave attributions, in the order they were given.
        failures: why each of the others gave none, by name.
        valid: (n, t) steps that belong to their sequence.
        outputs: (n,) the model's outputs F(x).
        baseline_outputs: (n,) its outputs with all steps replaced.
        shares: (p,) shares of the steps at which curves are known, from 0 to 1.
    """

    methods: tuple[MethodScores, ...]
    failures: Mapping[str, str]
    valid: StepMask
    outputs: PerPoint
    baseline_outputs: PerPoint
    shares: Float[Tensor, " p"]

    def __getitem__(self, name: str) -> MethodScores:
        """The scores of one method.

        Raises:
            KeyError: If no method of this name gave attributions.
        """
        for method in self.methods:
            if method.name == name:
                return method
        raise KeyError(
            f"Expected the name of a method that gave attributions, one of "
            f"{self.names}, got {name!r}."
        )

    @property
    def names(self) -> list[str]:
        """Names of the methods that gave attributions."""
        return [method.name for method in self.methods]

    @property
    def attributions(self) -> dict[str, tuple[Tensor, PerPoint]]:
        """Attributions and deltas by name, as `Documents.of` takes them."""
        return {m.name: (m.attributions, m.deltas) for m in self.methods}

    @cached_property
    def rank_correlations(self) -> Agreement:
        """Spearman's correlation of two methods over the steps of all examples.

        NaN where a method gives the same number everywhere.
        """
        return _rank_correlations([m.by_step[self.valid] for m in self.methods])

    @cached_property
    def rank_correlations_within(self) -> Agreement:
        """The median over examples of Spearman's correlation within one.

        Examples where it is not defined are left out; NaN where it never is.
        """
        within = [
            _rank_correlations([m.by_step[row][steps] for m in self.methods])
            for row, steps in enumerate(self.valid)
        ]
        return torch.stack(within).nanquantile(0.5, dim=0)

    @property
    def lines(self) -> Curves:
        """(n, p) straight lines from F(x) to F(baseline): what removal does on average.

        A deletion curve below its line has found what holds the output up.
        """
        change = self.baseline_outputs - self.outputs
        return self.outputs[:, None] + change[:, None] * self.shares.to(change)

    @property
    def deletion_bends(self) -> Float[Tensor, "m n p"]:
        """Deletion curves less `lines`: below 0 is better than a random order.

        The levels of the examples, which have no part in a comparison, are gone.
        """
        return torch.stack([m.deletion for m in self.methods]) - self.lines

    @property
    def insertion_bends(self) -> Float[Tensor, "m n p"]:
        """Insertion curves less the lines in the other direction: above 0 is better."""
        return torch.stack([m.insertion for m in self.methods]) - self.lines.flip(1)

    def deletion_difference(
        self,
        first: str,
        second: str,
        *,
        generator: torch.Generator | None = None,
        resamples: int = 10_000,
        level: float = 0.95,
    ) -> PairedDifference:
        """Compare the deletion areas of two methods, example by example.

        Args:
            first: name of a method.
            second: name of another.
            generator: source of the resamples; by default always the same one.
            resamples: how often the examples are drawn anew.
            level: of the interval.

        Returns:
            Mean of the second's area less the first's, so that a positive number
            speaks for the first, with a percentile interval of the paired bootstrap.

        References:
            Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13.
        """
        areas = self[second].deletion_areas - self[first].deletion_areas
        return _bootstrap(areas, generator, resamples, level)

    def insertion_difference(
        self,
        first: str,
        second: str,
        *,
        generator: torch.Generator | None = None,
        resamples: int = 10_000,
        level: float = 0.95,
    ) -> PairedDifference:
        """Compare the insertion areas of two methods, as `deletion_difference` does.

        Args:
            first: name of a method.
            second: name of another.
            generator: source of the resamples; by default always the same one.
            resamples: how often the examples are drawn anew.
            level: of the interval.

        Returns:
            Mean of the first's area less the second's, so that a positive number
            speaks for the first, with its interval.
        """
        areas = self[first].insertion_areas - self[second].insertion_areas
        return _bootstrap(areas, generator, resamples, level)

    def to_rows(self) -> list[dict[str, Any]]:
        """One dict a method, in the order given: means over examples, as numbers.

        `agreement` is the median rank correlation within an example with the first
        method. A method that failed has its name and its `error` alone.
        """
        agreement = self.rank_correlations_within[:, 0].tolist() if self.names else []
        rows: list[dict[str, Any]] = [
            {
                "method": method.name,
                "seconds": method.seconds,
                "calls": method.calls,
                "examples": method.examples,
                "delta": float(method.deltas.abs().mean()),
                "infidelity": float(method.infidelity.mean()),
                "sensitivity": float(method.sensitivity.mean()),
                "deletion": float(method.deletion_areas.mean()),
                "insertion": float(method.insertion_areas.mean()),
                "agreement": same,
            }
            for method, same in zip(self.methods, agreement, strict=True)
        ]
        failed = [{"method": n, "error": why} for n, why in self.failures.items()]
        return rows + failed

    def table(self) -> str:
        """Write `to_rows()` as text, then why numbers are missing and the traps."""
        lacking: dict[tuple[str, str], list[str]] = {}
        for method in self.methods:
            for reason in method.reasons.items():
                lacking.setdefault(reason, []).append(method.name)
        notes = [
            f"{number} is not defined for {', '.join(names)}: {why}"
            for (number, why), names in lacking.items()
        ]
        traps = [f"{m.name}: {trap}" for m in self.methods for trap in m.traps]
        return write_table(self.to_rows(), notes + traps)

    def __str__(self) -> str:
        """Write the table."""
        return self.table()


def _area(curves: Curves) -> PerPoint:
    """Trapezoidal rule over evenly spaced shares."""
    shares = torch.linspace(0, 1, curves.shape[1]).to(curves)
    return torch.trapezoid(curves, shares, dim=1)


def _rank_correlations(values: list[PerPoint]) -> Agreement:
    numbers = [value.cpu().numpy() for value in values]
    varies = [value.size > 1 and bool((value != value[0]).any()) for value in numbers]
    found = torch.full((len(values), len(values)), torch.nan, dtype=torch.float64)
    for i in range(len(values)):
        for j in range(i, len(values)):
            if varies[i] and varies[j]:
                rank = float(spearmanr(numbers[i], numbers[j]).statistic)
                found[i, j] = found[j, i] = rank
    return found


def _bootstrap(
    differences: PerPoint,
    generator: torch.Generator | None,
    resamples: int,
    level: float,
) -> PairedDifference:
    """Percentile interval of a mean of paired differences."""
    _checks.check_count("resamples", resamples)
    if not 0 < level < 1:
        raise ValueError(f"Expected `level` between 0 and 1, got {level}.")
    generator = generator or torch.Generator().manual_seed(0)
    rows, values = len(differences), differences.cpu()
    drawn = torch.randint(
        rows, (resamples, rows), generator=generator, device=generator.device
    )
    means = values[drawn.cpu()].mean(1)
    tail = (1 - level) / 2
    low, high = torch.quantile(means, torch.tensor([tail, 1 - tail]).to(means)).tolist()
    return PairedDifference(float(values.mean()), low, high, level)
