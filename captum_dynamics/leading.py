"""The leading modes of points, where all of them would cost too much."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from jaxtyping import Complex, Float
from scipy.sparse.linalg import LinearOperator, eigs
from torch import Tensor

from captum_dynamics import _checks, _linalg
from captum_dynamics._typing import PerPoint
from captum_dynamics.dynamics import DynamicsMap
from captum_dynamics.fixed_points import FixedPoints
from captum_dynamics.subspaces import decay_times
from captum_dynamics.tangent import TangentMap

LARGEST_DENSE = 1000  # dimensions above which Arnoldi on products beats all of eig
Array = np.ndarray


@dataclass(frozen=True, eq=False)
class LeadingModes:
    """The m multipliers of largest magnitude of each point, and their modes.

    Attributes:
        points: the points.
        eigenvalues: (n, m), by decreasing magnitude.
        right_eigenvectors: (n, d, m), one a column, of unit length.
        left_eigenvectors: (n, m, d), one a row, with l_k r_k = 1; NaN where the two
            are orthogonal to working precision.
        gradient_norms: |(J - I)^T g| (n,), the slope of the speed q; it vanishes at a
            minimum of q that is not fixed, and at fixed points.
    """

    points: FixedPoints
    eigenvalues: Complex[Tensor, "n m"]
    right_eigenvectors: Complex[Tensor, "n d m"]
    left_eigenvectors: Complex[Tensor, "n m d"]
    gradient_norms: PerPoint

    def __len__(self) -> int:
        """Number of points."""
        return len(self.points)

    @property
    def time_constants(self) -> Float[Tensor, "n m"]:
        """Steps in which a mode falls to 1/e; infinite at 1, NaN where it grows."""
        return decay_times(self.eigenvalues)


@torch.no_grad()
def leading_modes(
    dynamics: DynamicsMap, points: FixedPoints, *, count: int = 6
) -> LeadingModes:
    """Work out the slowest modes of fixed or slow points.

    Up to 1,000 dimensions by a full eigendecomposition, above by Arnoldi's method on
    products with J, which is never formed. Where the structure of J gives the modes,
    as a diagonal does, they are read off.

    Args:
        dynamics: the map the points belong to.
        points: fixed or slow points.
        count: number of modes m; a conjugate pair counts as two.

    Returns:
        Eigenvalues, right and left modes, and the slope of the speed at each point.

    Raises:
        ValueError: `count` is not positive, or the points do not fit the dynamics.

    References:
        Lehoucq, Sorensen and Yang (1998), ARPACK users' guide, by way of SciPy.

    Example:
        >>> import torch, captum_dynamics as cd
        >>> decay = torch.tensor([0.99, 0.5, 0.1], dtype=torch.float64)
        >>> leak = cd.FunctionAdapter(lambda h, x: decay * h, 3, 0)
        >>> points = cd.find_slow_points(leak, torch.ones(1, 3), torch.zeros(1, 0))
        >>> modes = cd.leading_modes(leak, points, count=1)
        >>> round(float(modes.time_constants)), bool(modes.gradient_norms > 0)
        (99, True)
    """
    _checks.check_positive("count", count)
    states, inputs = dynamics.check(points.states, points.inputs, "points.states")
    _checks.check_rows("points", states)
    count = min(count, states.shape[1])
    tangent = dynamics.tangent(states, inputs)
    residuals = dynamics.residual(states, inputs)
    slopes = (tangent.pull(residuals)[0] - residuals).norm(dim=-1)
    rows = torch.arange(len(states), device=states.device)
    dense = states.shape[1] <= max(LARGEST_DENSE, count + 1)
    few = _dense if dense else partial(_arnoldi, like=states[:1])
    single = (tangent.select(row[None]) for row in rows)
    parts = [one.leading(count) or few(one, count) for one in single]
    values, right, left = (torch.stack(part) for part in zip(*parts, strict=True))
    return LeadingModes(points, values, right, left, slopes)


@torch.no_grad()
def leading_modes_by_section(
    dynamics: DynamicsMap, points: FixedPoints, *, count: int = 6
) -> tuple[LeadingModes, ...]:
    """Work out the slowest modes of each layer of a model.

    J is block lower triangular by layers, so that its multipliers are those of all
    layers together. The modes are those of a layer for itself, whose input is held:
    what they start in the layers above is left out.

    Args:
        dynamics: the map of a whole model.
        points: its fixed or slow points.
        count: number of modes of each layer.

    Returns:
        Modes of each of `dynamics.sections`, at points that are the parts of `points`
        and whose inputs are what the layer reads there.

    Raises:
        ValueError: the map has no sections, or `leading_modes` raises it.

    Example:
        >>> import torch, captum_dynamics as cd
        >>> lstm = cd.adapt(torch.nn.LSTM(2, 3))
        >>> start, none = torch.zeros(1, 6).double(), torch.zeros(1, 2).double()
        >>> points = cd.find_fixed_points(lstm, start, none)
        >>> cd.leading_modes_by_section(lstm, points)
        Traceback (most recent call last):
        ...
        ValueError: Expected `dynamics` to be a map of several layers, got LSTMLayer.
    """
    if not dynamics.sections:
        raise ValueError(
            f"Expected `dynamics` to be a map of several layers, got "
            f"{type(dynamics).__name__}."
        )
    states, inputs = dynamics.check(points.states, points.inputs, "points.states")
    found = []
    for section in dynamics.sections:
        own, read = states[:, section.columns], section.reads(states, inputs)
        norms = section.dynamics.residual(own, read).norm(dim=-1)
        part = replace(points, states=own, inputs=read, residual_norms=norms)
        found.append(leading_modes(section.dynamics, part, count=count))
    return tuple(found)


def _dense(tangent: TangentMap, count: int) -> tuple[Tensor, Tensor, Tensor]:
    values, right = _linalg.sorted_eigen(tangent.jacobians())
    left = _linalg.inverse(right)
    return values[0, :count], right[0, :, :count], left[0, :count]


def _arnoldi(
    tangent: TangentMap, count: int, *, like: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    values, right = _eigs(tangent.push, like, count)
    others, left = _eigs(lambda v: tangent.pull(v)[0], like, count)
    # Both searches order ties as they like: pair by value, each used once.
    partner = []
    gaps = np.abs(values[:, None] - others[None])
    for row in range(count):
        best = int(gaps[row].argmin())
        partner.append(best)
        gaps[:, best] = np.inf
    left = left[:, partner].T
    overlaps = (left * right.T).sum(1)
    overlaps[np.abs(overlaps) < np.sqrt(np.finfo(float).eps)] = np.nan
    found = (values, right, left / overlaps[:, None])
    first, second, third = (torch.from_numpy(part).to(like.device) for part in found)
    return first, second, third


def _eigs(
    apply: Callable[[Tensor], Tensor], like: Tensor, count: int
) -> tuple[Array, Array]:
    """Eigenvalues by decreasing magnitude, of a pair the upper one first."""
    width = like.shape[1]

    def product(vector: Array) -> Array:
        moved = apply(torch.from_numpy(vector.reshape(1, -1)).to(like))
        result: Array = moved[0].cpu().numpy()
        return result

    operator = LinearOperator((width, width), matvec=product, dtype=np.float64)
    # A fixed start keeps the result the same from call to call.
    start = np.sin(np.arange(1.0, width + 1.0))
    values, vectors = eigs(operator, k=count, which="LM", v0=start)
    order = np.lexsort((-values.imag, -np.round(np.abs(values), 10)))
    return values[order], vectors[:, order]
