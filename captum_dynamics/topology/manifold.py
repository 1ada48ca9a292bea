"""Where visited states linger: slow points, their shape, order and speed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from captum_dynamics import _checks
from captum_dynamics._typing import GivenInputs, Mask, PerPoint, States
from captum_dynamics.dynamics import DynamicsMap
from captum_dynamics.fixed_points import Q_SLOW, FixedPoints, Kind, find_slow_points
from captum_dynamics.linearization import Linearization, linearize
from captum_dynamics.spreading import farthest_points
from captum_dynamics.topology._alignment import (
    cosines,
    mode_angles,
    random_cosines,
    tangent_spaces,
)
from captum_dynamics.topology._backbone import find_backbone, place_along
from captum_dynamics.topology._find_shape import find_shape
from captum_dynamics.topology._judge import Circumstances, judge
from captum_dynamics.topology._neighbours import Graph, distances_of, neighbourhood
from captum_dynamics.topology._slow_modes import (
    count_slow_modes,
    relaxation_steps,
    slow_part,
)
from captum_dynamics.topology._theta import line_coordinate, unit_range
from captum_dynamics.topology.shapes import Shape, ShapeEvidence, nothing
from captum_dynamics.topology.speed_profile import (
    SpeedProfile,
    measure_speeds,
    no_profile,
)

SLOW_RATIO = 0.05  # of a step in use: what moves less is slow
RUN_LENGTH = 100.0  # where nothing is said of the runs


@dataclass(frozen=True, eq=False)
class SlowManifold:
    """Slow points, the shape that they form, and the motion along it.

    Attributes:
        linearization: of m well spread slow points, ordered by `theta`.
        evidence: the verdict on their shape, with all numbers that it rests on.
        profile: how fast states move along a line or ring; empty for other shapes.
        theta: (m,) coordinate along the manifold in [-1, 1]: on a ring the angle over
            pi, by arc length; else by locally linear embedding, or along `axis` where
            the points form islands or the embedding folds, and growing along `axis`.
        axis: (d,) main axis of the slow points, of unit length.
        tangents: (m, d) local direction of the manifold at each point.
        extent: range of the slow points along `axis`, as a share of the range of the
            states that were relaxed; next to zero where all end in one place.
        slow_share: share of the relaxed states that are slow.
        speed_ratio: median residual of the slow points over the median step that the
            layer takes in use; NaN where it takes none.
        variance_ratios: share of the slow points' variance in each principal
            component, in decreasing order.
        steps: steps of relaxation.
    """

    linearization: Linearization
    evidence: ShapeEvidence
    profile: SpeedProfile
    theta: PerPoint
    axis: Float[Tensor, " d"]
    tangents: States
    extent: float
    slow_share: float
    speed_ratio: float
    variance_ratios: Float[Tensor, " r"]
    steps: int

    def __len__(self) -> int:
        """Number of points kept."""
        return len(self.linearization)

    @property
    def points(self) -> FixedPoints:
        """The slow points, in order."""
        return self.linearization.points

    @property
    def _turns(self) -> Mask:
        """Whether the leading mode is one of a conjugate pair."""
        return self.linearization.eigenvalues[:, 0].imag != 0

    @property
    def leading_times(self) -> Tensor:
        """Time constants (m, 2) of the two slowest modes; NaN where one grows."""
        times = self.linearization.time_constants
        missing = max(0, 2 - times.shape[1])
        pair: Tensor = torch.nn.functional.pad(
            times[:, :2], (0, missing), value=torch.nan
        )
        return pair

    @property
    def growing_share(self) -> float:
        """Share of the points whose leading mode grows instead of decaying."""
        growing = self.linearization.spectral_radius > 1
        return float(growing.double().mean()) if len(self) else float("nan")

    @property
    def turning_share(self) -> float:
        """Share of the points whose leading mode is a pair that turns."""
        return float(self._turns.double().mean()) if len(self) else float("nan")

    @property
    def turning_period(self) -> float:
        """Median steps of one turn of the leading mode where it is a pair."""
        return _nanmedian(self.linearization.rotation_periods[self._turns, 0])

    @property
    def memory(self) -> float:
        """Median time constant, in steps, of the leading mode where it decays."""
        return _nanmedian(self.leading_times[:, 0])

    @property
    def gap(self) -> float:
        """Median ratio of the rates at which the second and first mode decay."""
        rates = self.linearization.eigenvalues.abs().log().abs()
        return _nanmedian(rates[:, 1] / rates[:, 0]) if rates.shape[1] > 1 else np.inf

    @property
    def filled(self) -> float:
        """Share of the tenths of the main axis that hold a slow point."""
        if not len(self):
            return 0.0
        along = self.points.states @ self.axis
        places = 10 * unit_range(along)
        return len(torch.unique(places.long().clamp(max=9))) / 10

    @property
    def leading_axes(self) -> Float[Tensor, "m 2 d"]:
        """Orthonormal axes of the leading mode: r_1, or the plane where a pair turns.

        A pair turns on the ellipse Re(e^{i phi} r_1); its long axis comes first. Where
        the mode is real the second axis is zero.
        """
        leading = self.linearization.right_eigenvectors[:, :, 0]
        # In this phase Re r and Im r are orthogonal: the half-axes of the ellipse.
        phase = -0.5 * (leading**2).sum(1, keepdim=True).angle()
        turned = leading * torch.polar(torch.ones_like(phase), phase)
        halves = torch.stack([turned.real, turned.imag], dim=1)
        halves[~self._turns, 1] = 0
        sizes = halves.norm(dim=2, keepdim=True)
        return halves / torch.where(sizes > 0, sizes, 1.0)

    @property
    def tangent_alignment(self) -> PerPoint:
        """|cos| (m,) of the leading mode, a line or plane, with the local tangent."""
        return cosines(self.leading_axes, self.tangents)

    @property
    def axis_alignment(self) -> PerPoint:
        """|cos| (m,) of the leading mode, a line or plane, with the main axis."""
        return cosines(self.leading_axes, self.axis.expand(len(self), -1))

    def random_alignment(self, edges: Tensor) -> Tensor:
        """Number of points in each bin of |cos| if directions were drawn at random."""
        dim = self.leading_axes.shape[2]
        planes = int(self._turns.sum())
        lines = len(self) - planes
        return lines * random_cosines(dim, edges) + planes * random_cosines(
            dim, edges, span=2
        )

    @property
    def shape(self) -> Shape:
        """The verdict of `evidence`."""
        return self.evidence.shape

    def neighbourhood(self, *, neighbours: int = 6) -> Graph:
        """Join points that are among each other's nearest, and all by a spanning tree.

        Nodes are rows of `points`, edges carry their `length`; shortest ways through
        the graph are distances along the manifold.

        Args:
            neighbours: how many nearest points of each count.
        """
        _checks.check_count("neighbours", neighbours)
        states = self.points.states.cpu().numpy()
        return neighbourhood(distances_of(states), neighbours=neighbours)

    def summary(self) -> str:
        """Say in one sentence what shape it is, and why."""
        return f"{self.shape.value}, because {self.evidence.reason}"


def trace_slow_manifold(
    dynamics: DynamicsMap,
    states: States,
    inputs: GivenInputs,
    *,
    task_step: float,
    steps: int | None = None,
    kept: int = 64,
    q_slow: float | None = None,
    run_length: float = RUN_LENGTH,
) -> SlowManifold:
    """Relax visited states, keep the slow ones, and decide what shape they form.

    A shape is claimed where the points and the dynamics agree: the points' local
    dimensions with the number of modes before a gap of the spectrum, and their tangents
    with these modes, to 15 degrees. Lines and rings get a `profile` of their speed.

    Args:
        dynamics: the map.
        states: visited states (n, d), some hundreds.
        inputs: constant input (1, k), usually the mean of the layer's inputs.
        task_step: median length of the layer's step in use, to compare speeds with.
        steps: steps of relaxation; by default ceil(ln .001 / ln|lambda|) of the first
            fast mode, after which what is fast has died out, but at least 10 and at
            most `run_length`; 50 where no gap is seen.
        kept: points to linearize, chosen farthest from each other.
        q_slow: speed q below which a relaxed state counts as slow; by default that of a
            residual of 5 % of `task_step`, or 1e-5 where that is zero.
        run_length: length of the runs in use: rates below its inverse are all alike,
            and a mode that fades within a tenth of it is not slow.

    Returns:
        The manifold; with no slow state it holds no point. Loops are looked for where
        gudhi is installed (the `topology` extra); `evidence.homology` tells.

    Raises:
        ValueError: states or inputs that do not fit the map, or numbers that are not
            positive.

    References:
        Maheswaranathan et al. (2019), arXiv 1906.10720, appendix B.
        Sagodi et al. (2024), Back to the continuous attractor, arXiv 2408.00109.

    Example:
        >>> import torch, captum_dynamics as cd
        >>> decay = torch.tensor([0.999, 0.2], dtype=torch.float64)
        >>> leak = cd.FunctionAdapter(lambda h, x: decay * h, 2, 0)
        >>> states = torch.randn(60, 2, generator=torch.Generator().manual_seed(0))
        >>> slow = trace_slow_manifold(leak, states, torch.zeros(1, 0), task_step=1.0)
        >>> slow.shape.value, round(slow.memory), slow.steps
        ('line', 999, 10)
    """
    _checks.check_positive("kept", kept)
    _checks.check_positive("run_length", run_length)
    _checks.check_not_negative("task_step", task_step)
    if q_slow is None:
        q_slow = 0.5 * (SLOW_RATIO * task_step) ** 2 if task_step > 0 else Q_SLOW
    if steps is None:
        given, constant = dynamics.check(states, inputs)
        _checks.check_rows("states", given)
        steps = relaxation_steps(dynamics, given, constant, run_length=run_length)
    relaxed = find_slow_points(dynamics, states, inputs, steps=steps, q_slow=q_slow)
    slow = relaxed[(relaxed.kind == Kind.SLOW) | (relaxed.kind == Kind.FIXED)]
    if not len(slow):
        return _empty(relaxed, dynamics, steps)
    cloud = find_shape(slow.states)
    axes, ratios = _principal_axes(slow.states)
    spread = slow[farthest_points(slow.states, kept)]
    theta = _theta(spread.states, axes[0], cloud.shape)
    order = theta.argsort()
    spread, theta = spread[order], theta[order]
    pace = slow.residual_norms.median() / task_step if task_step > 0 else torch.nan
    linear = linearize(dynamics, spread)
    modes = count_slow_modes(linear.eigenvalues, run_length=run_length)
    spaces = tangent_spaces(spread.states, slow.states, max(cloud.dimension, 1))
    found = SlowManifold(
        linear,
        cloud,
        no_profile(spread.states),
        theta,
        axes[0],
        spaces[:, 0],
        _width(spread.states, axes[0]) / max(_width(states, axes[0]), 1e-300),
        len(slow) / len(relaxed),
        float(pace),
        ratios,
        steps,
    )
    known = Circumstances(
        modes,
        float(mode_angles(spaces, linear.right_eigenvectors).median()),
        found.slow_share,
        found.extent,
        found.filled,
    )
    evidence = judge(cloud, known)
    return replace(
        found, evidence=evidence, profile=_profile(dynamics, linear, evidence.shape)
    )


def _theta(states: States, axis: Tensor, shape: Shape) -> PerPoint:
    """Coordinate of each state along the manifold, from -1 to 1."""
    if shape is not Shape.RING:
        return line_coordinate(states, axis)
    points = states.cpu().numpy()
    way = find_backbone(points)
    around = place_along(points, points[way], closed=True)
    edges = np.diff(points[[*way, way[0]]], axis=0)
    angles = 2 * around / np.linalg.norm(edges, axis=1).sum() - 1
    return torch.from_numpy(angles).to(states)


def _profile(
    dynamics: DynamicsMap, linear: Linearization, shape: Shape
) -> SpeedProfile:
    """Speeds along the longest way through points in the order of theta."""
    states = linear.points.states
    if shape not in (Shape.LINE, Shape.RING):
        return no_profile(states)
    way = find_backbone(states.cpu().numpy())
    rows = torch.tensor(way if way[0] < way[-1] else way[::-1]).to(states.device)
    motion = slow_part(dynamics.residual(states, linear.points.inputs), linear)
    closed = shape is Shape.RING
    return measure_speeds(states[rows], motion[rows], rows, closed=closed)


def _width(states: States, axis: Tensor) -> float:
    along = states.to(axis) @ axis
    return float(along.max() - along.min())


def _principal_axes(states: States) -> tuple[Tensor, Tensor]:
    _, sizes, axes = torch.linalg.svd(states - states.mean(0), full_matrices=False)
    variances = sizes**2
    total = variances.sum().clamp_min(torch.finfo(states.dtype).tiny)
    return axes, variances / total


def _nanmedian(values: Tensor) -> float:
    finite = values[~values.isnan()]
    return float(finite.median()) if len(finite) else float("nan")


def _empty(relaxed: FixedPoints, dynamics: DynamicsMap, steps: int) -> SlowManifold:
    none = relaxed[:0]
    d, k = dynamics.state_dim, dynamics.input_dim
    states = none.states
    matrices = states.new_zeros(0, d, d)
    vectors = matrices.to(torch.complex128)
    linearization = Linearization(
        none,
        matrices,
        states.new_zeros(0, d, k),
        vectors[:, 0],
        vectors,
        vectors,
        states.new_zeros(0),
    )
    none_yet = states.new_zeros(0)
    axis = states.new_zeros(d)
    return SlowManifold(
        linearization,
        nothing("no state stays slow", states),
        no_profile(states),
        none_yet,
        axis,
        states,
        0.0,
        0.0,
        float("nan"),
        none_yet,
        steps,
    )
