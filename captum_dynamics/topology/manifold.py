"""Where visited states linger: slow points, their order, and whether it is a line."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from enum import Enum

import numpy as np
import torch
from jaxtyping import Float
from scipy.special import betainc
from torch import Tensor

from captum_dynamics import _checks
from captum_dynamics._typing import GivenInputs, Mask, OtherStates, PerPoint, States
from captum_dynamics.dynamics import DynamicsMap
from captum_dynamics.fixed_points import Q_SLOW, FixedPoints, Kind, find_slow_points
from captum_dynamics.linearization import Linearization, linearize
from captum_dynamics.spreading import farthest_points

NEIGHBOURS = 12
# Below these a claim of a line would rest on too little.
LEAST_POINTS = 20
LINE_VARIANCE = 0.9
LINE_SHARE = 0.2  # of the relaxed states that are slow
LINE_GAP = 3.0
LINE_EXTENT = 0.1  # of the range that is visited: a shorter line stores next to nothing
LINE_FILLED = 0.6  # more than half of a line, and less than few places would fill
PLACES_FILLED = 0.3


class Shape(Enum):
    """What the slow points form."""

    LINE = "line"
    """One direction holds their variance, and one slow mode follows it."""
    PLACES = "places"
    """They have come to rest in one or a few separate places."""
    NONE = "none"
    """Too few states linger for a shape."""
    UNDECIDED = "undecided"
    """Neither clearly a line nor clearly none."""


@dataclass(frozen=True, eq=False)
class SlowManifold:
    """Slow points in the order of a line fitted to them.

    Attributes:
        linearization: of m well spread slow points, ordered by `theta`.
        theta: (m,) coordinate along the manifold in [-1, 1], by locally linear
            embedding, or along `axis` where the points form islands or the embedding
            folds; it grows along `axis`.
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
        places = 10 * _unit_range(along)
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
        return _cosines(self.leading_axes, self.tangents)

    @property
    def axis_alignment(self) -> PerPoint:
        """|cos| (m,) of the leading mode, a line or plane, with the main axis."""
        return _cosines(self.leading_axes, self.axis.expand(len(self), -1))

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
        """A verdict; it rests on shares, `variance_ratios`, `gap` and `extent`."""
        if len(self) < LEAST_POINTS:
            return Shape.NONE
        if self.extent < LINE_EXTENT or self.filled <= PLACES_FILLED:
            return Shape.PLACES
        straight = float(self.variance_ratios[0]) >= LINE_VARIANCE
        often = self.slow_share >= LINE_SHARE
        whole = self.filled >= LINE_FILLED
        is_line = straight and often and whole and self.gap >= LINE_GAP
        return Shape.LINE if is_line else Shape.UNDECIDED


def trace_slow_manifold(
    dynamics: DynamicsMap,
    states: States,
    inputs: GivenInputs,
    *,
    task_step: float,
    steps: int = 50,
    kept: int = 64,
    q_slow: float = Q_SLOW,
) -> SlowManifold:
    """Relax visited states, keep the slow ones, and order them along a line.

    Args:
        dynamics: the map.
        states: visited states (n, d), some hundreds.
        inputs: constant input (1, k), usually the mean of the layer's inputs.
        task_step: median length of the layer's step in use, to compare speeds with.
        steps: steps of relaxation, after which fast directions have died out.
        kept: points to linearize, chosen farthest from each other.
        q_slow: speed below which a relaxed state counts as slow.

    Returns:
        The manifold; with no slow state it holds no point.

    References:
        Maheswaranathan et al. (2019), arXiv 1906.10720, appendix B.

    Example:
        >>> import torch, captum_dynamics as cd
        >>> decay = torch.tensor([0.999, 0.2], dtype=torch.float64)
        >>> leak = cd.FunctionAdapter(lambda h, x: decay * h, 2, 0)
        >>> states = torch.randn(60, 2, generator=torch.Generator().manual_seed(0))
        >>> slow = trace_slow_manifold(leak, states, torch.zeros(1, 0), task_step=1.0)
        >>> slow.shape.value, round(slow.memory)
        ('line', 999)
    """
    _checks.check_positive("kept", kept)
    relaxed = find_slow_points(dynamics, states, inputs, steps=steps, q_slow=q_slow)
    slow = relaxed[(relaxed.kind == Kind.SLOW) | (relaxed.kind == Kind.FIXED)]
    share = len(slow) / len(relaxed)
    if not len(slow):
        return _empty(relaxed, dynamics, steps)
    axes, ratios = _principal_axes(slow.states)
    spread = slow[farthest_points(slow.states, kept)]
    theta = _theta(spread.states, axes[0])
    order = theta.argsort()
    spread, theta = spread[order], theta[order]
    pace = slow.residual_norms.median() / task_step if task_step > 0 else torch.nan
    return SlowManifold(
        linearize(dynamics, spread),
        theta,
        axes[0],
        _tangents(spread.states, slow.states),
        _width(spread.states, axes[0]) / max(_width(states, axes[0]), 1e-300),
        share,
        float(pace),
        ratios,
        steps,
    )


def random_cosines(dim: int, edges: Tensor, *, span: int = 1) -> Tensor:
    """Share of random unit vectors whose |cos| with a fixed line falls in each bin.

    In d dimensions cos^2 with a subspace of s dimensions is Beta(s/2, (d - s)/2); in
    a whole space every vector lies. This is what alignments of unrelated directions
    look like.

    Args:
        dim: d, at least 1.
        edges: increasing edges (b + 1,) of the bins, from 0 to 1.
        span: s, 1 for a line and 2 for a plane.

    Returns:
        Shares (b,), which sum to 1.

    Example:
        >>> import torch
        >>> edges = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
        >>> [round(share, 3) for share in random_cosines(3, edges).tolist()]
        [0.5, 0.5]
        >>> [round(share, 3) for share in random_cosines(100, edges).tolist()]
        [1.0, 0.0]
    """
    _checks.check_positive("dim", dim)
    squares = edges.detach().cpu().double().numpy() ** 2
    if dim <= span:
        below = (squares >= 1).astype(float)
    else:
        below = betainc(span / 2, (dim - span) / 2, squares)
    return torch.from_numpy(np.diff(below)).to(edges)


def _theta(states: States, axis: Tensor) -> PerPoint:
    """Coordinate along the manifold in [-1, 1], growing along the main axis."""
    along = (states - states.mean(0)) @ axis
    if len(states) > NEIGHBOURS + 1:
        embedded = _locally_linear(states)
        if embedded is not None:
            ranks = along.argsort().argsort().to(embedded)
            found = embedded.argsort().argsort().to(embedded)
            agreement = torch.corrcoef(torch.stack([ranks, found]))[0, 1]
            # An embedding that folds the line back on itself is worse than the axis.
            if float(agreement.abs()) > 0.9:
                along = embedded * agreement.sign()
    return 2 * _unit_range(along) - 1


def _unit_range(along: PerPoint) -> PerPoint:
    """Shift and scale values to [0, 1]."""
    low, high = along.min(), along.max()
    width = (high - low).clamp_min(torch.finfo(along.dtype).tiny)
    shares: PerPoint = (along - low) / width
    return shares


def _width(states: States, axis: Tensor) -> float:
    along = states.to(axis) @ axis
    return float(along.max() - along.min())


def _locally_linear(states: States) -> PerPoint | None:
    """One coordinate by locally linear embedding; None where neighbours form islands.

    Islands would each collapse to a point of their own.
    """
    from scipy.sparse.csgraph import connected_components
    from sklearn.manifold import LocallyLinearEmbedding
    from sklearn.neighbors import kneighbors_graph

    points = states.cpu().numpy()
    if (
        connected_components(kneighbors_graph(points, NEIGHBOURS), directed=False)[0]
        > 1
    ):
        return None
    embedding = LocallyLinearEmbedding(
        n_neighbors=NEIGHBOURS, n_components=1, eigen_solver="dense", reg=1e-3
    )
    with warnings.catch_warnings():
        # Points on an exact line give singular neighbourhoods, which `reg` mends.
        warnings.simplefilter("ignore")
        values = embedding.fit_transform(points)[:, 0]
    return torch.from_numpy(np.ascontiguousarray(values)).to(states)


def _tangents(states: States, cloud: OtherStates) -> States:
    """Main direction of each state's nearest neighbours in the cloud."""
    count = min(NEIGHBOURS, len(cloud))
    near = torch.cdist(states, cloud).topk(count, largest=False).indices
    patches = cloud[near]
    centred = patches - patches.mean(1, keepdim=True)
    tangents: States = torch.linalg.svd(centred, full_matrices=False)[2][:, 0]
    return tangents


def _principal_axes(states: States) -> tuple[Tensor, Tensor]:
    _, sizes, axes = torch.linalg.svd(states - states.mean(0), full_matrices=False)
    variances = sizes**2
    total = variances.sum().clamp_min(torch.finfo(states.dtype).tiny)
    return axes, variances / total


def _cosines(axes: Float[Tensor, "m 2 d"], directions: States) -> PerPoint:
    """|cos| of unit directions with the line or plane that orthonormal axes span."""
    along = (axes @ directions[:, :, None])[..., 0]
    cosines: PerPoint = along.norm(dim=1).clamp(max=1)  # rounding may leave 1 + eps
    return cosines


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
    nothing = states.new_zeros(0)
    axis = states.new_zeros(d)
    return SlowManifold(
        linearization, nothing, axis, states, 0.0, 0.0, float("nan"), nothing, steps
    )
