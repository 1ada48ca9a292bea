"""How far a set of fixed points can be trusted to hold all of them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from captum_dynamics import _checks, _linalg
from captum_dynamics._execution import BUDGET, row_chunks
from captum_dynamics._typing import Counts, Inputs, Mask
from captum_dynamics.dynamics import DynamicsMap
from captum_dynamics.fixed_points import FixedPoints, Kind
from captum_dynamics.long_runs import NO_RUNS, LongRuns

BYTES_PER_ENTRY = 6 * 8  # of a Jacobian: with its factors, six matrices in float64
ConstantInputs = Float[Tensor, "m k"]
KindCounts = Int[Tensor, "m kinds"]
PerInput = Bool[Tensor, " m"]


class Verdict(IntEnum):
    """What can be said of a set of fixed points. None of these is "all found"."""

    REFUTED = 0
    """The indices must add up to 1 and do not: points are missing."""
    CONSISTENT = 1
    """Nothing speaks against the set, but the search ended before it ran dry."""
    SATURATED = 2
    """The search doubled and found nothing new. No proof: see `unseen_mass`."""
    PROVEN = 3
    """The points were enumerated exhaustively."""


@dataclass(frozen=True, eq=False)
class CompletenessReport:
    """How far the fixed points under one constant input can be trusted to be all.

    Attributes:
        points: distinct fixed points.
        attractors: those that attract, by a proof: powers of the Jacobian vanish.
        degenerate: those where J - I is singular to 1e-4: perhaps part of a continuum.
        index_sum: sum of the indices, sign det(I - J).
        objection: why the index sum need not be 1; empty where it must.
        hits: searches from random starts that ended at a fixed point.
        singletons: points that were hit once, or only from a start placed on purpose.
        doubletons: points that were hit twice.
        endings: how many searches ended as each `Kind`, from FIXED to SPURIOUS.
        saturated: whether the search ran dry: doubling the starts brought nothing new.
        exhaustive: whether the points were enumerated rather than searched.
        long_runs: where long runs end; looked at where no search met an attractor.
    """

    points: int
    attractors: int
    degenerate: int
    index_sum: int
    objection: str
    hits: int
    singletons: int
    doubletons: int
    endings: tuple[int, ...]
    saturated: bool
    exhaustive: bool
    long_runs: LongRuns = NO_RUNS

    @property
    def starts(self) -> int:
        """All searches."""
        return sum(self.endings)

    @property
    def verdict(self) -> Verdict:
        """The strongest statement that holds."""
        if self.index_sum != 1 and not self.objection:
            return Verdict.REFUTED
        if self.exhaustive:
            return Verdict.PROVEN
        return Verdict.SATURATED if self.saturated else Verdict.CONSISTENT

    @property
    def is_restless(self) -> bool:
        """Whether no point is stable: none attracts, and no long run came to rest."""
        runs = self.long_runs
        return not self.attractors and runs.count > 0 and not len(runs.resting)

    @property
    def unseen_mass(self) -> float:
        """Chance that the next hit is a point not seen yet, by Good and Turing.

        It is about starts drawn as these were: a point whose share of them is small
        weighs little here, however many of such there are.
        """
        return min(1.0, self.singletons / self.hits) if self.hits else 1.0

    @property
    def estimated_points(self) -> float:
        """Number of points by Chao (1984): a lower bound, for starts drawn as these."""
        once, twice = self.singletons, self.doubletons
        return self.points + once * (once - 1) / (2 * (twice + 1))

    def summary(self) -> str:
        """Say what was found, what was checked, and what follows, in plain words."""
        lines = [
            f"{_counted(self.points, 'fixed point')}, {self.attractors} attracting"
        ]
        if self.degenerate:
            lines[0] += f", {self.degenerate} degenerate"
        if self.is_restless:
            lines.append(f"no stable fixed point; {self.long_runs.summary()}")
        elif not self.attractors and self.long_runs.count:
            lines.append(f"no point is sure to attract; {self.long_runs.summary()}")
        lines.append(self._index_sentence())
        if not self.exhaustive:
            lines.append(self._search_sentence())
        lines.append(f"{self.verdict.name.lower()}: {_MEANINGS[self.verdict]}")
        return "\n".join(lines)

    def _index_sentence(self) -> str:
        if self.objection:
            return f"index rule not applicable: {self.objection}"
        return f"index sum {self.index_sum}, and it must be 1"

    def _search_sentence(self) -> str:
        counts = zip(self.endings, Kind, strict=True)
        ended = ", ".join(f"{n} {kind.name.lower()}" for n, kind in counts if n)
        return (
            f"{_counted(self.starts, 'start')} ({ended}); for starts drawn alike, the "
            f"chance that the next hit is a new point is {self.unseen_mass:.1%}, and "
            f"Chao's lower bound on the points {self.estimated_points:.0f}"
        )


_MEANINGS = {
    Verdict.REFUTED: "points are missing",
    Verdict.CONSISTENT: "no contradiction, but the search ended before it ran dry",
    Verdict.SATURATED: "twice the starts brought no new point; this is no proof",
    Verdict.PROVEN: "the points were enumerated exhaustively",
}


@torch.no_grad()
def assess_completeness(
    dynamics: DynamicsMap,
    points: FixedPoints,
    inputs: ConstantInputs,
    *,
    endings: KindCounts,
    saturated: PerInput,
    exhaustive: bool = False,
) -> tuple[CompletenessReport, ...]:
    """Report on the fixed points under each of several constant inputs.

    Args:
        dynamics: the map.
        points: distinct fixed points, whose `multiplicity` counts random starts.
        inputs: the constant inputs (m, k), all different.
        endings: searches (m, 4) under each input that ended as each `Kind`.
        saturated: (m,) whether doubling the starts of an input found nothing new.
        exhaustive: whether the points were enumerated, as for piecewise-linear maps.

    Returns:
        One report for each row of `inputs`.

    Raises:
        ValueError: when a point's input is no row, or rows are equal.

    References:
        Good (1953), Biometrika 40; Chao (1984), Scandinavian Journal of Statistics 11.

    Example:
        >>> import torch, captum_dynamics as cd
        >>> box = -torch.ones(1), torch.ones(1)
        >>> switch = cd.FunctionAdapter(lambda h, x: torch.tanh(2 * h), 1, 0, box=box)
        >>> starts, none = torch.tensor([[-1.0], [1.0]]), torch.zeros(1, 0)
        >>> points = cd.find_fixed_points(switch, starts, none).unique()
        >>> (report,) = assess_completeness(
        ...     switch,
        ...     points,
        ...     none,
        ...     endings=torch.tensor([[2, 0, 0, 0]]),
        ...     saturated=torch.tensor([False]),
        ... )
        >>> report.index_sum, report.verdict.name
        (2, 'REFUTED')
    """
    _checks.check_matrix("inputs", inputs, dynamics.input_dim, dynamics.device)
    inputs = inputs.to(points.inputs)
    owners = _owners(points, inputs)
    sums, objections = audit_indices(dynamics, points, owners, inputs)
    attracting = _attracting(dynamics, points)
    reports = []
    for row, ended in enumerate(endings.tolist()):
        own = owners == row
        hits = points.multiplicity[own]
        reports.append(
            CompletenessReport(
                points=len(hits),
                attractors=int(attracting[own].sum()),
                degenerate=int(points.degenerate[own].sum()),
                index_sum=int(sums[row]),
                objection=objections[row],
                hits=int(hits.sum()),
                singletons=int((hits <= 1).sum()),
                doubletons=int((hits == 2).sum()),
                endings=tuple(ended),
                saturated=bool(saturated[row]),
                exhaustive=exhaustive,
            )
        )
    return tuple(reports)


def audit_indices(
    dynamics: DynamicsMap, points: FixedPoints, owners: Counts, inputs: ConstantInputs
) -> tuple[Tensor, list[str]]:
    """Sum of indices (m,) for each input, and why it need not be 1, or "" if it must.

    A map of a convex set into itself has index sum 1 (Lefschetz) when its fixed points
    are simple and none lies on the border of the set.

    Args:
        dynamics: the map.
        points: distinct fixed points.
        owners: row of `inputs` (n,) of each point.
        inputs: the constant inputs (m, k).
    """
    if _too_wide(dynamics):
        none = torch.zeros(len(inputs), dtype=torch.long, device=inputs.device)
        return none, ["the Jacobian of one point does not fit"] * len(inputs)
    indices = _indices(dynamics, points)
    sums = torch.zeros(len(inputs), dtype=torch.long, device=inputs.device)
    sums = sums.index_add(0, owners, indices)
    uncertain = torch.bincount(owners[indices == 0], minlength=len(inputs)).tolist()
    box = dynamics.invariant_box(inputs)
    if box is None:
        return sums, ["no box is known that the map maps into itself"] * len(inputs)
    low, high = box
    finite = (torch.isfinite(low) & torch.isfinite(high)).all(-1).tolist()
    rounding = 4 * torch.finfo(points.states.dtype).eps
    inside = (points.states - low[owners]).minimum(high[owners] - points.states)
    on_border = (inside <= rounding * high[owners].abs()).any(-1)
    border = torch.bincount(owners[on_border], minlength=len(inputs)).tolist()
    facts = zip(finite, uncertain, border, strict=True)
    return sums, [_objection(*of_input) for of_input in facts]


def row_keys(inputs: Inputs) -> list[bytes]:
    """The bytes of each row: equal exactly where the rows are."""
    # Adding zero makes -0 and 0 one.
    return [row.tobytes() for row in (inputs + 0.0).cpu().numpy()]


def _owners(points: FixedPoints, inputs: ConstantInputs) -> Counts:
    """The row of `inputs` that each point's input equals."""
    rows = {key: row for row, key in enumerate(row_keys(inputs))}
    owners = [rows.get(key, -1) for key in row_keys(points.inputs)]
    if len(rows) < len(inputs) or -1 in owners:
        raise ValueError(
            f"Expected `inputs` to hold the input of each point in one row, got "
            f"{owners.count(-1)} points without theirs and "
            f"{len(inputs) - len(rows)} rows that repeat others."
        )
    return torch.tensor(owners, dtype=torch.long, device=inputs.device)


def _objection(finite: bool, uncertain: int, border: int) -> str:
    if not finite:
        return "the box that the map maps into itself is not bounded"
    if uncertain:
        return f"J - I is singular, or nearly, at {_counted(uncertain, 'point')}"
    if border:
        return f"{_counted(border, 'point')} on the border of the invariant box"
    return ""


def _too_wide(dynamics: DynamicsMap) -> bool:
    """Whether the matrices of one point take more memory than there may be."""
    return BYTES_PER_ENTRY * dynamics.state_dim**2 > BUDGET


def _indices(dynamics: DynamicsMap, points: FixedPoints) -> Counts:
    """sign det(I - J) of each point; 0 where it is degenerate or not certain."""
    signs = torch.zeros_like(points.multiplicity)
    rows = torch.nonzero(~points.degenerate)[:, 0]
    for chunk in row_chunks(len(rows), BYTES_PER_ENTRY * dynamics.state_dim**2):
        part = rows[chunk]
        slopes = dynamics.jacobians(points.states[part], points.inputs[part])
        slopes.diagonal(dim1=-2, dim2=-1).sub_(1)
        signs[part] = _linalg.determinant_signs(-slopes)
    return signs


def _attracting(dynamics: DynamicsMap, points: FixedPoints) -> Mask:
    attracting = torch.zeros_like(points.degenerate)
    if _too_wide(dynamics):
        return attracting
    for chunk in row_chunks(len(points), BYTES_PER_ENTRY * dynamics.state_dim**2):
        slopes = dynamics.jacobians(points.states[chunk], points.inputs[chunk])
        attracting[chunk] = _linalg.powers_vanish(slopes)
    return attracting


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
