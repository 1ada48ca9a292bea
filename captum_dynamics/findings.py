"""What an analysis finds: frozen numbers, which the pictures and the report show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from captum_dynamics._typing import PerPoint, StepMask
from captum_dynamics.fixed_points import FixedPoints
from captum_dynamics.linearization import Linearization
from captum_dynamics.topology import FixedPointGraph, SlowManifold


@dataclass(frozen=True)
class Setting:
    """What was analysed, and how.

    Attributes:
        model: class of the host model.
        layer: class of the recurrent layer, with its direction if it has two.
        path: where the layer stands in the model.
        blocks: names of the state's blocks.
        state_dim: width d of the state.
        input_dim: width k of the layer's input.
        sequences: number of recorded sequences.
        steps: number of recorded steps.
        target: the output that is explained, and for which sequences.
        seed: seed of every random choice.
        search: how all searches for fixed points ended.
        versions: release of each package the numbers depend on.
        seconds: time of each stage.
    """

    model: str
    layer: str
    path: str
    blocks: tuple[str, ...]
    state_dim: int
    input_dim: int
    sequences: int
    steps: int
    target: str
    seed: int
    search: str
    versions: dict[str, str]
    seconds: dict[str, float]


@dataclass(frozen=True, eq=False)
class Visits:
    """The states that the layer visits in use.

    Attributes:
        centre: (d,) mean visited state.
        axes: (2, d) first two principal components of the visited states.
        variance: (r,) share of variance in each component, in decreasing order.
        untrained_variance: the same for the layer with fresh random weights on the
            same inputs; empty where the layer cannot be re-initialised.
        plane: (m, 2) a sample of visited states in the plane of `axes`.
        readouts: (m,) what the readout says of them, w.h.
        task_step: median length of a step |h_t - h_{t-1}|.
        reference_input: (k,) the constant input of the searches.
    """

    centre: Float[Tensor, " d"]
    axes: Float[Tensor, "2 d"]
    variance: Float[Tensor, " r"]
    untrained_variance: Float[Tensor, " fresh"]
    plane: Float[Tensor, "m 2"]
    readouts: Float[Tensor, " m"]
    task_step: float
    reference_input: Float[Tensor, " k"]

    def project(self, states: Tensor) -> Tensor:
        """Coordinates (n, 2) of states in the plane of the pictures."""
        coordinates: Tensor = (states - self.centre) @ self.axes.T
        return coordinates

    def project_directions(self, directions: Tensor) -> Tensor:
        """Components (n, 2) of directions in the plane of the pictures."""
        components: Tensor = directions @ self.axes.T
        return components

    @property
    def cumulative(self) -> tuple[Tensor, Tensor]:
        """Share of variance in the first r components, trained and untrained."""
        return self.variance.cumsum(0), self.untrained_variance.cumsum(0)

    @staticmethod
    def dims_for(share: float, variance: Tensor) -> int:
        """Number of principal components that hold this share of the variance."""
        return int((variance.cumsum(0) < share).sum()) + 1

    @property
    def readout_range(self) -> tuple[float, float]:
        """2nd and 98th percentile of the readout over visited states."""
        marks = torch.tensor([0.02, 0.98], dtype=self.readouts.dtype)
        low, high = torch.quantile(self.readouts, marks.to(self.readouts)).tolist()
        return low, high


@dataclass(frozen=True, eq=False)
class Words:
    """What named inputs do at the slow points (at the fixed points, if none is slow).

    Attributes:
        names: the words, or other names of inputs.
        projections: (v,) mean over points of (w.r_1)(l_1.B (x - x*)): the change of
            the readout that the input leaves on the slowest mode; of a pair that
            turns, on both of its members. Points whose slowest mode is not independent
            of the others are left out; NaN where none is.
        spreads: (v,) standard deviation of it over the points.
        plane: (v, 2) mean over points of B (x - x*) in the plane of the pictures.
        scores: (v,) what is known of the words, such as the weights of a bag of words;
            NaN where nothing is.
        leading: (2,) mean of (w.r_1) l_1 in the plane, of unit length.
    """

    names: tuple[str, ...]
    projections: Float[Tensor, " v"]
    spreads: Float[Tensor, " v"]
    plane: Float[Tensor, "v 2"]
    scores: Float[Tensor, " v"]
    leading: Float[Tensor, " 2"]

    @property
    def score_correlation(self) -> float:
        """Pearson correlation of projections with known scores; NaN if undefined."""
        known = ~self.scores.isnan()
        return _correlation(self.projections[known], self.scores[known])

    def ranked(self, count: int, *, positive: bool) -> Tensor:
        """Rows of the words that push the readout one way, the strongest first."""
        pushes = self.projections if positive else -self.projections
        order = pushes.argsort(descending=True)
        return order[pushes[order] > 0][:count]

    def strongest(self, count: int, *, positive: bool) -> list[str]:
        """Names of the words that push the readout one way, the strongest first."""
        rows = self.ranked(count, positive=positive)
        return [self.names[row] for row in rows.tolist()]

    def classes(self, count: int = 100) -> dict[str, Tensor]:
        """Rows of the most positive, most negative and most neutral words.

        By known scores where there are any, else by the projections themselves; words
        without such a number are in no class.
        """
        known = not bool(self.scores.isnan().all())
        values = self.scores if known else self.projections
        order = values.argsort()[: int((~values.isnan()).sum())]  # NaN comes last
        count = max(1, min(count, len(order) // 3))
        return {
            "negative": order[:count],
            "neutral": order[values[order].abs().argsort()[:count]],
            "positive": order[-count:],
        }

    def class_projections(self, count: int = 100) -> dict[str, tuple[float, float]]:
        """Mean and standard deviation of the projections in each of `classes`."""
        summaries = {}
        for name, rows in self.classes(count).items():
            mean = self.projections[rows].mean()
            spread = (self.projections[rows] - mean).square().mean().sqrt()
            summaries[name] = (float(mean), float(spread))
        return summaries


@dataclass(frozen=True, eq=False)
class Explanation:
    """One attribution method on the explained sequences.

    Attributes:
        method: class name of the method.
        contributions: (n, t) of each step, summed over the features of its input.
        deltas: (n,) sum of contributions minus the change of the output that it is to
            explain; NaN where the method promises no such sum.
        seconds: time for all sequences together.
    """

    method: str
    contributions: Float[Tensor, "n t"]
    deltas: PerPoint
    seconds: float

    @property
    def complete(self) -> bool:
        """Whether contributions are promised to sum to the change of the output."""
        return not bool(self.deltas.isnan().any())


@dataclass(frozen=True, eq=False)
class Documents:
    """The explained sequences; `Documents.of` makes them of anybody's attributions.

    Attributes:
        tokens: names of the steps of each sequence.
        outputs: (n,) the model's explained output.
        baseline_outputs: (n,) the output under the reference input.
        valid: (n, t) steps that belong to their sequence.
        explanations: one for each method; of an analysis the first is ours.
    """

    tokens: tuple[tuple[str, ...], ...]
    outputs: PerPoint
    baseline_outputs: PerPoint
    valid: StepMask
    explanations: tuple[Explanation, ...]

    @classmethod
    def of(
        cls,
        tokens: Sequence[Sequence[str]],
        attributions: Mapping[str, Any],
        *,
        outputs: PerPoint | None = None,
        baseline_outputs: PerPoint | None = None,
    ) -> Documents:
        """Put names to attributions of any method, for `text_html` and the pictures.

        Args:
            tokens: names of the steps of each of n sequences; what is longer in the
                attributions is padding, and is not shown.
            attributions: by name of the method: a tensor (n, t) or (n, t, ...), which
                is summed over all but examples and steps, or a pair of it and deltas
                (n,), as Captum returns it with `return_convergence_delta=True`.
            outputs: (n,) the model's outputs, for `plot_accumulation`.
            baseline_outputs: (n,) its outputs under the baseline.

        Returns:
            The sequences, with one explanation for each method.

        Raises:
            ValueError: If attributions are not of these sequences.

        Example:
            >>> import torch
            >>> from captum_dynamics.findings import Documents
            >>> documents = Documents.of(
            ...     [["not", "bad"], ["good"]], {"ones": torch.ones(2, 2, 3)}
            ... )
            >>> documents.explanations[0].contributions.tolist()
            [[3.0, 3.0], [3.0, 3.0]]
            >>> documents.valid.tolist()
            [[True, True], [True, False]]
        """
        if not attributions:
            raise ValueError("Expected `attributions` of at least one method.")
        names = tuple(tuple(map(str, row)) for row in tokens)
        explanations = tuple(
            _explanation(name, given, names) for name, given in attributions.items()
        )
        shown = explanations[0].contributions
        if any(e.contributions.shape != shown.shape for e in explanations):
            raise ValueError(
                "Expected `attributions` of as many steps by all methods, got "
                f"{[e.contributions.shape[1] for e in explanations]}."
            )
        lengths = torch.tensor([len(row) for row in names], device=shown.device)
        nan = torch.full((len(names),), torch.nan, dtype=torch.float64)
        return cls(
            names,
            nan if outputs is None else outputs.detach().double(),
            nan if baseline_outputs is None else baseline_outputs.detach().double(),
            torch.arange(shown.shape[1], device=shown.device) < lengths[:, None],
            explanations,
        )

    def agreement(self, row: int) -> float:
        """Correlation over steps of a method with the first; NaN if undefined."""
        ours = self.explanations[0].contributions[self.valid]
        return _correlation(ours, self.explanations[row].contributions[self.valid])

    def accumulated(self, row: int) -> Tensor:
        """Baseline output plus one explanation's contributions so far, (n, t + 1)."""
        contributions = self.explanations[row].contributions
        counted = torch.where(self.valid, contributions, 0.0)
        start = self.baseline_outputs[:, None].to(counted)
        return torch.cat([start, start + counted.cumsum(1)], dim=1)


@dataclass(frozen=True, eq=False)
class Findings:
    """How one recurrent layer computes: all numbers of an analysis.

    Attributes:
        setting: what was analysed, and how.
        graph: fixed points, their linearization, and how they connect.
        manifold: the slow points, in order.
        readout: (d,) mean gradient w of the output with respect to the state it reads.
        visits: the states visited in use.
        words: what named inputs do; without names, a sample of recorded inputs.
        documents: the explained sequences and their attributions.
    """

    setting: Setting
    graph: FixedPointGraph
    manifold: SlowManifold
    readout: Float[Tensor, " d"]
    visits: Visits
    words: Words
    documents: Documents

    @property
    def linearization(self) -> Linearization:
        """Spectra and modes of the distinct points."""
        return self.graph.linearization

    @property
    def points(self) -> FixedPoints:
        """The distinct fixed points."""
        return self.linearization.points

    @property
    def coverage(self) -> float:
        """Share of the visited readout range that the slow points cover."""
        if not len(self.manifold):
            return 0.0
        low, high = self.visits.readout_range
        slow = self.manifold.points.states @ self.readout
        covered = min(float(slow.max()), high) - max(float(slow.min()), low)
        return max(0.0, covered) / max(high - low, 1e-300)

    @property
    def readout_alignment(self) -> float:
        """|cos| between the readout and the main axis of the slow points.

        Over the leading block alone, which is what a layer of torch gives out: for an
        LSTM over h, since the readout has no part in c.
        """
        read = self.readout != 0
        axis, readout = self.manifold.axis[read], self.readout[read]
        size = axis.norm() * readout.norm()
        return float((axis @ readout).abs() / size) if float(size) > 0 else float("nan")


def _explanation(name: str, given: Any, tokens: Sequence[Sequence[str]]) -> Explanation:
    """Attributions by step, with deltas where there are any."""
    pair = isinstance(given, tuple) and len(given) == 2
    values, deltas = given if pair else (given, None)
    if isinstance(values, tuple) and len(values) == 1:  # of a tuple of inputs
        (values,) = values
    rows, longest = len(tokens), max(map(len, tokens), default=0)
    fits = isinstance(values, Tensor) and values.ndim > 1 and len(values) == rows
    if not fits or values.shape[1] < longest:
        got = tuple(values.shape) if isinstance(values, Tensor) else type(values)
        raise ValueError(
            f"Expected `attributions` of {name!r} to be of {rows} sequences of up to "
            f"{longest} steps, got {got}."
        )
    steps = values.detach().double()
    missing = torch.full((rows,), torch.nan, dtype=torch.float64)
    found = missing if deltas is None else deltas.detach().double()
    return Explanation(
        name,
        steps.flatten(2).sum(-1) if steps.ndim > 2 else steps,
        # Methods that draw samples give a delta for each, sample after sample.
        found.reshape(rows, -1).mean(1) if rows else found,
        float("nan"),
    )


def _correlation(first: PerPoint, second: PerPoint) -> float:
    """Pearson correlation; NaN for fewer than three pairs, or where one is constant."""
    pair = torch.stack([first, second])
    centred = pair - pair.mean(1, keepdim=True)
    sizes = centred.norm(dim=1)
    # What varies less than rounding does not vary.
    varies = sizes > 1e-12 * pair.norm(dim=1)
    if len(first) < 3 or not bool(varies.all()):
        return float("nan")
    return float(centred[0] @ centred[1] / sizes.prod())
