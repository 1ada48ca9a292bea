"""First-order dynamics around points: spectra, modes, time constants, stability."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from captum_dynamics import _checks, _linalg
from captum_dynamics._typing import (
    Counts,
    Eigenvalues,
    Eigenvectors,
    InputJacobians,
    Jacobians,
    PerPoint,
)
from captum_dynamics.dynamics import DynamicsMap
from captum_dynamics.fixed_points import FixedPoints
from captum_dynamics.subspaces import (
    InvariantSubspaces,
    decay_times,
    invariant_subspaces,
)


class Stability(IntEnum):
    """What small deviations do."""

    ATTRACTOR = 0
    """Every multiplier lies inside the unit circle."""
    SADDLE = 1
    """Some multipliers lie inside, some outside."""
    REPELLER = 2
    """Every multiplier lies outside."""
    MARGINAL = 3
    """A multiplier lies on the unit circle within the margin: undecided."""


@dataclass(frozen=True, eq=False)
class Linearization:
    """h' - h* = J (h - h*) + B (x - x*) around each point, and its modes.

    Attributes:
        points: the points, in the order of all other rows.
        jacobians: J = dF/dh, (n, d, d).
        input_jacobians: B = dF/dx, (n, d, k).
        eigenvalues: (n, d), by decreasing magnitude.
        right_eigenvectors: (n, d, d), one a column, of unit length.
        left_eigenvectors: (n, d, d), one a row, with left @ right = identity; NaN
            where the right ones are dependent to working precision.
        condition: (n,) of the right eigenvectors; above 1e6 single modes mean little:
            `subspaces` then holds those together that cannot be told apart.
        margin: distance from the unit circle that counts as on it.
    """

    points: FixedPoints
    jacobians: Jacobians
    input_jacobians: InputJacobians
    eigenvalues: Eigenvalues
    right_eigenvectors: Eigenvectors
    left_eigenvectors: Eigenvectors
    condition: PerPoint
    margin: float = 1e-6

    def __len__(self) -> int:
        """Number of points."""
        return len(self.points)

    @property
    def spectral_radius(self) -> PerPoint:
        """Largest magnitude of an eigenvalue."""
        return self.eigenvalues.abs().amax(-1)

    @property
    def time_constants(self) -> Tensor:
        """Steps (n, d) in which a mode falls to 1/e: 1/|ln|lambda||.

        Infinite on the unit circle; NaN for modes that grow, see `growth_times`.
        """
        return decay_times(self.eigenvalues)

    @property
    def time_scales(self) -> Tensor:
        """Steps (n, d) in which a mode changes by a factor e: |1/ln|lambda||.

        Of modes that fade and modes that grow alike; infinite on the unit circle.
        """
        return 1 / self.eigenvalues.abs().log().abs()

    @property
    def slowest_decay(self) -> PerPoint:
        """Largest time constant (n,) of a mode that does not grow; NaN if all grow."""
        times = self.time_constants
        slowest = times.nan_to_num(nan=-torch.inf, posinf=torch.inf).amax(-1)
        return torch.where(slowest >= 0, slowest, torch.nan)

    @property
    def growth_times(self) -> Tensor:
        """Steps (n, d) in which a mode doubles, ln 2 / ln|lambda|; NaN if it decays."""
        sizes = self.eigenvalues.abs()
        return torch.where(sizes > 1, math.log(2) / sizes.log(), torch.nan)

    @property
    def rotation_periods(self) -> Tensor:
        """Steps (n, d) of one turn, 2 pi/|arg lambda|; infinite without rotation."""
        return 2 * math.pi / self.eigenvalues.angle().abs()

    @property
    def unstable_dims(self) -> Counts:
        """Number of eigenvalues outside the unit circle: the saddle index."""
        return (self.eigenvalues.abs() > 1 + self.margin).sum(-1)

    @property
    def stability(self) -> Counts:
        """A `Stability` for each point (n,)."""
        sizes = self.eigenvalues.abs()
        unstable = self.unstable_dims
        verdicts = torch.full_like(unstable, int(Stability.SADDLE))
        verdicts[unstable == 0] = int(Stability.ATTRACTOR)
        verdicts[unstable == sizes.shape[-1]] = int(Stability.REPELLER)
        marginal = ((sizes - 1).abs() <= self.margin).any(-1)
        verdicts[marginal] = int(Stability.MARGINAL)
        return verdicts

    @property
    def indices(self) -> Counts:
        """sign det(I - J): +1 or -1; 0 where a multiplier is 1 within the margin."""
        values = self.eigenvalues
        real = values.imag.abs() <= self.margin
        above = (real & (values.real > 1 + self.margin)).sum(-1)
        at_one = ((values - 1).abs() <= self.margin).any(-1)
        return torch.where(at_one, 0, 1 - 2 * (above % 2))

    @cached_property
    def subspaces(self) -> InvariantSubspaces:
        """Modes, pairs, and groups of nearly dependent modes, with their projectors.

        Raises:
            ValueError: If a Jacobian is not finite.
        """
        return invariant_subspaces(
            self.jacobians, self.eigenvalues, self.right_eigenvectors, self.condition
        )

    def transient_growth(
        self, readouts: Float[Tensor, "m d"], *, steps: int = 200
    ) -> Float[Tensor, "n m"]:
        """max_k |w J^k| / |w|: how far a readout w reaches before it decays.

        Where J is far from normal, modes that decay from the first step add up to
        something that first grows: time constants then say little of the first steps.
        Values above 3 deserve that doubt. Where a multiplier lies outside the unit
        circle, J over its spectral radius takes the place of J.

        Args:
            readouts: One direction w in a row.
            steps: Largest power k.

        Returns:
            At least 1, for each point and readout; NaN for a readout of zeros.

        Raises:
            ValueError: If `readouts` are not finite rows of the state's width.

        References:
            Trefethen and Embree (2005), Spectra and Pseudospectra, chapter 14.
        """
        width = self.jacobians.shape[-1]
        _checks.check_matrix("readouts", readouts, width, self.jacobians.device)
        _checks.check_count("steps", steps, 0)
        return _linalg.largest_growth(
            self.jacobians, readouts.to(self.jacobians), steps
        )

    def summary(self) -> str:
        """One line a point: stability, leading multipliers, time constant."""
        rows = []
        for row, verdict in enumerate(self.stability.tolist()):
            size = float(self.spectral_radius[row])
            rows.append(
                f"{row}: {Stability(verdict).name.lower()}, "
                f"{int(self.unstable_dims[row])} unstable, |lambda_1| = {size:.4f}, "
                f"{_decay_in_words(float(self.slowest_decay[row]))}"
            )
        return "\n".join(rows)


def _decay_in_words(steps: float) -> str:
    if math.isnan(steps):
        return "no mode decays"
    if math.isinf(steps):
        return "the slowest mode does not decay"
    return f"slowest decay {steps:.1f} steps"


def linearize(
    dynamics: DynamicsMap, points: FixedPoints, *, margin: float = 1e-6
) -> Linearization:
    """Linearize the dynamics around each point.

    An eigendecomposition costs far more than finding a point: pass `points.unique()`,
    or a selection of it.

    Args:
        dynamics: the map the points belong to.
        points: fixed or slow points.
        margin: distance from the unit circle that counts as on it.

    Returns:
        Jacobians, spectra, biorthonormal modes and stability of every point.

    Raises:
        ValueError: when the points do not fit the dynamics, or are not finite.

    References:
        Maheswaranathan et al. (2019), arXiv 1906.10720, section 2.

    Example:
        >>> import torch, captum_dynamics as cd
        >>> switch = cd.FunctionAdapter(lambda h, x: torch.tanh(2 * h), 1, 0)
        >>> starts = torch.tensor([[-1.0], [0.1], [1.0]])
        >>> points = cd.find_fixed_points(switch, starts, torch.zeros(1, 0))
        >>> cd.linearize(switch, points).unstable_dims.tolist()
        [0, 1, 0]
    """
    _checks.check_positive("margin", margin)
    states, inputs = dynamics.check(points.states, points.inputs, "points.states")
    _checks.check_rows("points", states)
    return from_jacobians(
        points,
        dynamics.jacobians(states, inputs),
        dynamics.input_jacobians(states, inputs),
        margin,
    )


def from_jacobians(
    points: FixedPoints,
    jacobians: Jacobians,
    input_jacobians: InputJacobians,
    margin: float,
) -> Linearization:
    """Work out spectra and modes from Jacobians, as `linearize` does."""
    values, right = _linalg.sorted_eigen(jacobians)
    left, condition = _linalg.inverse(right), _linalg.condition(right)
    return Linearization(
        points, jacobians, input_jacobians, values, right, left, condition, margin
    )
