"""What is measured of one net: its states, its slow manifold and its fixed points."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from captum_dynamics._typing import Counts, Mask, OtherStates, PerPoint, States
from captum_dynamics.adapters import adapt
from captum_dynamics.analysis._measure import task_step
from captum_dynamics.experiments._variance import shares_of_variance
from captum_dynamics.fixed_points import (
    FixedPoints,
    Kind,
    find_fixed_points,
    find_slow_points,
)
from captum_dynamics.linearization import Linearization, Stability, linearize
from captum_dynamics.models.sequence_net import SequenceNet
from captum_dynamics.recording import record
from captum_dynamics.regimes import Regimes, classify_runs
from captum_dynamics.tasks.integration import Integration, LabelIntegration
from captum_dynamics.tasks.sequence_task import evaluate_task
from captum_dynamics.topology import Plane, SlowManifold, trace_slow_manifold

SHARE = 0.95  # of the variance, up to which components are counted
RUNS = 24  # that are followed where no fixed point attracts
END = 0.8  # of the farthest slow state that answers the same: there a corner begins


@dataclass(frozen=True)
class Effort:
    """How much is looked at.

    Attributes:
        documents: documents that are read.
        relaxed: visited states that are relaxed to slow ones.
        searches: searches for fixed points.
        drawn: states in a picture.
    """

    documents: int = 1000
    relaxed: int = 2000
    searches: int = 128
    drawn: int = 3000


@dataclass(frozen=True, eq=False)
class Geometry:
    """The geometry of one net.

    Attributes:
        accuracy: share of fresh documents, or of their labels, that it gets right.
        variance: (r,) share of the variance of all visited states by component.
        last_variance: (r,) the same for the states after the last words alone.
        readouts: (k, d) weights of the outputs, zero for what they do not read.
        manifold: slow states under the neutral word.
        points: distinct fixed points under it.
        fixed: their linearization; None where there is none.
        regimes: where long runs end; None where a fixed point attracts.
        reach: (f,) how far out each fixed point lies: its distance from the mean slow
            state, as a share of the farthest slow state's that answers the same.
        answers: (f,) what the net answers at each fixed point, as a number.
        plane: first two components of the visited states.
        states: (n, d) some visited states.
        labels: (n,) labels of their documents, as numbers.
    """

    accuracy: float
    variance: Float[Tensor, " r"]
    last_variance: Float[Tensor, " last"]
    readouts: Float[Tensor, "k d"]
    manifold: SlowManifold
    points: FixedPoints
    fixed: Linearization | None
    regimes: Regimes | None
    reach: Float[Tensor, " f"]
    answers: Int[Tensor, " f"]
    plane: Plane
    states: Float[Tensor, "n d"]
    labels: Int[Tensor, " n"]

    def held(self, components: int) -> float:
        """Share of the variance in the first components."""
        return float(self.variance[:components].sum())

    @property
    def components(self) -> int:
        """Components that hold 95 % of the variance."""
        return int((self.variance.cumsum(0) < SHARE).sum()) + 1

    @property
    def participation(self) -> float:
        """Participation ratio, (sum v)^2 / sum v^2 of the variances v."""
        return float(1 / self.variance.square().sum())

    @property
    def cosines(self) -> Float[Tensor, " pairs"]:
        """Cosines of all pairs of readout vectors."""
        units = self.readouts / self.readouts.norm(dim=1, keepdim=True)
        rows, columns = torch.triu_indices(len(units), len(units), offset=1)
        cosines: Tensor = (units @ units.T)[rows, columns]
        return cosines

    @property
    def times(self) -> Float[Tensor, " d"]:
        """Median over slow points of 1 / |ln|lambda||, the slowest mode first.

        NaN where no state is slow.
        """
        scales = self.manifold.linearization.time_scales
        if not len(scales):
            return torch.full_like(self.plane.origin, torch.nan)
        times: Tensor = scales.sort(dim=1, descending=True).values.median(0).values
        return times

    @property
    def unstable_dims(self) -> Counts:
        """Directions (f,) in which each fixed point repels."""
        none = torch.zeros(0, dtype=torch.long)
        return none if self.fixed is None else self.fixed.unstable_dims

    @property
    def attractors(self) -> Mask:
        """Which fixed points (f,) attract."""
        return _attracts(self.fixed)

    @property
    def labels_held(self) -> int:
        """Different answers that attractors stand for."""
        return len(set(self.answers[self.attractors].tolist()))

    @property
    def at_ends(self) -> float:
        """Share of the attractors that lie at the far end of their answer."""
        reached = self.reach[self.attractors]
        return float((reached >= END).double().mean()) if len(reached) else torch.nan


def measure_geometry(
    net: SequenceNet,
    task: Integration,
    effort: Effort,
    *,
    generator: torch.Generator,
) -> Geometry:
    """Read documents, and see where the states go and where they can stay.

    The constant input is the neutral word, which the task defines as adding nothing.

    Args:
        net: a trained net.
        task: what it was trained on.
        effort: how much to look at.
        generator: source of randomness.
    """
    data = task.sample(effort.documents, generator=generator)
    runs = record(net, "rnn", data.inputs, lengths=data.lengths)
    dynamics = adapt(net, "rnn")
    visited = runs.states[runs.valid]
    neutral = torch.eye(task.input_size, dtype=torch.float64)[-1:]
    manifold = trace_slow_manifold(
        dynamics,
        runs.sample_states(effort.relaxed, generator=generator),
        neutral,
        task_step=task_step(runs),
        run_length=float(data.lengths.double().mean()),
    )
    starts = runs.sample_states(effort.searches, generator=generator)
    points = find_fixed_points(dynamics, starts, neutral).unique()
    points = points[points.kind == Kind.FIXED]
    fixed = linearize(dynamics, points) if len(points) else None
    readouts = _readouts(net, dynamics.state_dim)
    slow = find_slow_points(dynamics, starts, neutral, steps=manifold.steps)
    owners = torch.arange(len(data))[:, None].expand(runs.valid.shape)[runs.valid]
    drawn = torch.randperm(len(visited), generator=generator)[: effort.drawn]
    return Geometry(
        evaluate_task(task, net),
        shares_of_variance(visited),
        shares_of_variance(runs.final_states),
        readouts,
        manifold,
        points,
        fixed,
        None
        if _attracts(fixed).any()
        else classify_runs(dynamics, starts[:RUNS], neutral),
        _reach(points.states, slow.states, readouts, task),
        answers_of(points.states @ readouts.T, task),
        Plane.principal(visited),
        visited[drawn],
        numbered(data.targets[owners[drawn]]),
    )


def _attracts(fixed: Linearization | None) -> Mask:
    """Which fixed points (f,) attract."""
    if fixed is None:
        return torch.zeros(0, dtype=torch.bool)
    attracts: Mask = fixed.stability == int(Stability.ATTRACTOR)
    return attracts


def numbered(targets: Tensor) -> Int[Tensor, " n"]:
    """Labels as numbers: several yes and no are the digits of one."""
    if targets.ndim == 1:
        return targets.long()
    digits = 2 ** torch.arange(targets.shape[1])
    return (targets.long() * digits).sum(1)


def answers_of(outputs: Float[Tensor, "n k"], task: Integration) -> Int[Tensor, " n"]:
    """What outputs of the net mean, as numbers."""
    several = isinstance(task, LabelIntegration)
    return numbered((outputs > 0) if several else outputs.argmax(1))


def _readouts(net: SequenceNet, width: int) -> Float[Tensor, "k d"]:
    """The readout's weights, with zeros for a cell state that it does not read."""
    weights = net.readout.weight.detach().double()
    missing = width - weights.shape[1]
    return torch.nn.functional.pad(weights, (0, missing))


def _reach(
    states: States, slow: OtherStates, readouts: Tensor, task: Integration
) -> PerPoint:
    """How far out states lie, beside slow ones that answer the same."""
    middle = slow.mean(0)
    far, answers = (slow - middle).norm(dim=1), answers_of(slow @ readouts.T, task)
    ours = answers_of(states @ readouts.T, task)
    same = ours[:, None] == answers
    farthest = torch.where(same, far, 0.0).amax(1)
    reach: PerPoint = (states - middle).norm(dim=1) / farthest
    return reach
