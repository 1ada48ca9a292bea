"""The numbers of one network that the paper's claims are about."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from captum_dynamics._typing import PerPoint
from captum_dynamics.adapters import RecurrentAdapter, adapt
from captum_dynamics.analysis import Analysis, NamedInputs, analyze
from captum_dynamics.experiments._variance import shares_of_variance
from captum_dynamics.experiments.line_attractor._linear_prediction import (
    linear_picture,
)
from captum_dynamics.findings import Visits, Words
from captum_dynamics.fixed_points import Kind
from captum_dynamics.models import SentimentClassifier
from captum_dynamics.recording import Trajectories, record
from captum_dynamics.regimes import Regimes, classify_runs
from captum_dynamics.tasks._documents import initialize
from captum_dynamics.topology import Shape, SlowManifold

WORDS_APART = 100  # words of each class
CORRELATED = 0.95  # wanted at each of most slow points
CHECKED = 3  # slow points whose derivatives are compared with differences
STEP = 1e-5
SAMPLE = 5000  # states of a principal component analysis
FOLLOWED = 64  # long runs under the mean input
EXPLAINED = 4  # documents whose words are attributed, for the picture


@dataclass(frozen=True)
class LineStatistics:
    """What is measured of one network; shares are from 0 to 1, times in steps.

    Attributes:
        dims: principal components for 90 % of the variance of visited states.
        untrained_dims: the same for the layer with fresh weights; NaN where it cannot
            be made anew.
        unlearned_dims: the same for the network before training, embedding and all.
        read_dims: components for 90 % of the variance of the words' vectors.
        fixed: distinct fixed points found.
        index_sum: sum of their indices, 1 where none is missing and none marginal.
        leading: |lambda_1| of the fixed points.
        turn: steps of a turn of mode 1 at the first of them; infinite where it is real
            and positive.
        shape: the verdict on the slow points.
        slow_share: relaxed states that are slow.
        coverage: part of the visited range of the readout that slow points cover.
        memory: median time constant of mode 1 where it fades.
        growing_share: slow points where mode 1 grows.
        attracting_share: slow points where mode 2 fades: all but mode 1 attract.
        scale: median of |1 / ln|lambda_1||, fading or growing.
        second_scale: the same of mode 2.
        ratio: median over the points of the first by the second.
        turning_share: slow points whose mode 1 turns.
        turning_period: steps of a turn.
        tangent_alignment: median |cos| of r_1 and the local direction of the line.
        axis_alignment: median |cos| of r_1 and the main axis m.
        readout_alignment: |cos| of the readout and m.
        auc: chance that one of the 100 best words writes more than one of the worst.
        score_correlation: of what words write with their known scores.
        correlated_share: slow points where that correlation is at least .95.
        one_step: median relative error of one linear step.
        free_r2: R^2 of the logits that the linear picture reaches by itself.
        free_agreement: labels on which it agrees with the network.
        jacobian_error: largest |J - differences| / |J|.
        mode_error: largest entry of |L R - I|.
    """

    dims: int
    untrained_dims: float
    unlearned_dims: int
    read_dims: int
    fixed: int
    index_sum: int
    leading: tuple[float, ...]
    turn: float
    shape: str
    slow_share: float
    coverage: float
    memory: float
    growing_share: float
    attracting_share: float
    scale: float
    second_scale: float
    ratio: float
    turning_share: float
    turning_period: float
    tangent_alignment: float
    axis_alignment: float
    readout_alignment: float
    auc: float
    score_correlation: float
    correlated_share: float
    one_step: float
    free_r2: float
    free_agreement: float
    jacobian_error: float
    mode_error: float

    @property
    def is_line(self) -> bool:
        """Whether the slow points were told to form a line."""
        return self.shape == Shape.LINE.value


@dataclass(frozen=True, eq=False)
class Subject:
    """A network under study.

    Attributes:
        model: the classifier.
        ids: (n, t) documents that it reads.
        words: the words whose effect is looked at, with what each is known to be
            worth.
        reference: (k,) the mean input; by default that of the documents.
    """

    model: SentimentClassifier
    ids: Tensor
    words: NamedInputs
    reference: Tensor | None = None

    @cached_property
    def dynamics(self) -> RecurrentAdapter:
        """The recurrent layer as a map."""
        return adapt(self.model, "rnn")

    @cached_property
    def runs(self) -> Trajectories:
        """The states that the documents lead to."""
        lengths = self.model.lengths(self.ids)
        return record(
            self.model, "rnn", self.ids, lengths=lengths, dynamics=self.dynamics
        )

    def analyze(self, seed: int) -> Analysis:
        """Find points, slow points and what words do."""
        return analyze(
            self.model,
            "rnn",
            self.ids,
            lengths=self.model.lengths(self.ids),
            words=self.words,
            reference=self.reference,
            explained=EXPLAINED,
            seed=seed,
        )


def measure_line(subject: Subject, result: Analysis, *, seed: int) -> LineStatistics:
    """Measure all of it.

    Args:
        subject: the network.
        result: of `subject.analyze`.
        seed: of the choice of steps and anchors.
    """
    visits, manifold = result.visits, result.manifold
    scales = manifold.linearization.time_scales
    # Without a fixed point, an analysis shows the slowest rows of the search instead.
    fixed = result.points.kind == Kind.FIXED
    one_step, free_r2, agreement = _linear_prediction(subject, result, seed)
    return LineStatistics(
        dims=visits.dims_for(0.9, visits.variance),
        untrained_dims=_untrained_dims(visits),
        unlearned_dims=_unlearned_dims(subject, seed),
        read_dims=_read_dims(subject.words),
        fixed=int(fixed.sum()),
        index_sum=int(result.linearization.indices[fixed].sum()),
        leading=tuple(result.linearization.spectral_radius[fixed].tolist()),
        turn=_turn(result.linearization.rotation_periods[fixed]),
        shape=manifold.shape.value,
        slow_share=manifold.slow_share,
        coverage=result.coverage,
        memory=manifold.memory,
        growing_share=manifold.growing_share,
        attracting_share=_attracting_share(manifold),
        scale=_median(scales[:, 0]),
        second_scale=_median(scales[:, 1]),
        ratio=_median(scales[:, 0] / scales[:, 1]),
        turning_share=manifold.turning_share,
        turning_period=manifold.turning_period,
        tangent_alignment=_median(manifold.tangent_alignment),
        axis_alignment=_median(manifold.axis_alignment),
        readout_alignment=result.readout_alignment if len(manifold) else math.nan,
        auc=word_auc(result.words) if len(manifold) else math.nan,
        score_correlation=(
            result.words.score_correlation if len(manifold) else math.nan
        ),
        correlated_share=_correlated_share(result, subject.words),
        one_step=one_step,
        free_r2=free_r2,
        free_agreement=agreement,
        jacobian_error=_jacobian_error(result, subject.dynamics),
        mode_error=_mode_error(result),
    )


def long_runs(subject: Subject, result: Analysis, *, seed: int) -> Regimes:
    """What becomes of visited states when the mean word is read for ever.

    Args:
        subject: the network.
        result: of `subject.analyze`.
        seed: of the choice of states.
    """
    generator = torch.Generator().manual_seed(seed)
    starts = subject.runs.sample_states(FOLLOWED, generator=generator)
    return classify_runs(subject.dynamics, starts, result.visits.reference_input[None])


def word_auc(words: Words, count: int = WORDS_APART) -> float:
    """Chance that a word of the best class writes more than one of the worst.

    1 where what they write on the slowest mode tells the classes apart without fault:
    the area under the ROC curve, by counting pairs; ties count half.
    """
    classes = words.classes(count)
    best = words.projections[classes["positive"]][:, None]
    worst = words.projections[classes["negative"]]
    return float(((best > worst).double() + 0.5 * (best == worst).double()).mean())


def _linear_prediction(
    subject: Subject, result: Analysis, seed: int
) -> tuple[float, float, float]:
    """One-step error, and R^2 of logits and agreement of labels of a free run."""
    model, ids, runs = subject.model, subject.ids, subject.runs
    generator = torch.Generator().manual_seed(seed)
    picture = linear_picture(
        subject.dynamics,
        runs,
        result.visits.reference_input[None].double(),
        steps=result.manifold.steps,
        q_slow=0.5 * (0.05 * result.visits.task_step) ** 2,
        generator=generator,
    )
    errors = picture.one_step_errors(runs, generator=generator)
    with torch.no_grad():
        logits = model(ids)[:, 0].double()
        hidden = picture.free_run(runs)[:, : model.readout.in_features]
        found = model.readout(hidden.float())[:, 0].double()
    left_over = (logits - found).square().sum()
    r2 = 1 - left_over / (logits - logits.mean()).square().sum()
    return (
        _median(errors),
        float(r2),
        float(((logits > 0) == (found > 0)).double().mean()),
    )


def _untrained_dims(visits: Visits) -> float:
    if not len(visits.untrained_variance):
        return math.nan
    return visits.dims_for(0.9, visits.untrained_variance)


def _unlearned_dims(subject: Subject, seed: int) -> int:
    fresh = copy.deepcopy(subject.model)
    layer: Any = fresh.rnn
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layer.reset_parameters()
        initialize(fresh)
    lengths = fresh.lengths(subject.ids)
    states = record(fresh, "rnn", subject.ids, lengths=lengths).sample_states(
        SAMPLE, generator=torch.Generator().manual_seed(seed)
    )
    return Visits.dims_for(0.9, shares_of_variance(states))


def _read_dims(words: NamedInputs) -> int:
    return Visits.dims_for(0.9, shares_of_variance(words.inputs.double()))


def _correlated_share(result: Analysis, words: NamedInputs) -> float:
    """Slow points at which l_1 B x follows the words' known scores."""
    linear = result.manifold.linearization
    scores = result.words.scores
    if not len(linear) or bool(scores.isnan().any()):
        return math.nan
    left = linear.left_eigenvectors[:, 0].real
    pushes = torch.einsum(
        "pd,pdk,vk->pv", left, linear.input_jacobians, words.inputs.to(left)
    )
    found = [torch.corrcoef(torch.stack([row, scores]))[0, 1].abs() for row in pushes]
    return float((torch.stack(found) >= CORRELATED).double().mean())


def _jacobian_error(result: Analysis, dynamics: RecurrentAdapter) -> float:
    """Of |J - central differences| / |J| at some points, the largest."""
    linear = result.linearization
    errors = []
    for row in range(min(CHECKED, len(linear))):
        steps = STEP * torch.eye(dynamics.state_dim, dtype=torch.float64)
        at, constant = linear.points.states[row], linear.points.inputs[row, None]
        above, below = (
            dynamics.step(at + sign * steps, constant.expand(len(steps), -1))
            for sign in (1, -1)
        )
        differences = ((above - below) / (2 * STEP)).mT
        jacobian = linear.jacobians[row]
        errors.append(float((jacobian - differences).norm() / jacobian.norm()))
    return max(errors)


def _attracting_share(manifold: SlowManifold) -> float:
    second = manifold.linearization.eigenvalues[:, 1:2].abs()
    return float((second < 1).double().mean()) if len(second) else math.nan


def _turn(periods: Tensor) -> float:
    return float(periods[0, 0]) if len(periods) else math.nan


def _mode_error(result: Analysis) -> float:
    linear = result.linearization
    products = linear.left_eigenvectors @ linear.right_eigenvectors
    wrong = (products - torch.eye(products.shape[-1]).to(products)).abs()
    return float(wrong.max())


def _median(values: PerPoint) -> float:
    finite = values[torch.isfinite(values)]
    return float(finite.median()) if len(finite) else math.nan
