"""Starts on unstable manifolds, so scaled that all directions grow together."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from captum_dynamics._typing import OneState, States
from captum_dynamics.linearization import Linearization

# Distances from a point p, relative to 1 + |p|, at which branches start.
FIRST_STEP = 1e-5
LARGEST_STEP = 1e-2  # beyond it a start has left the linear neighbourhood
# The square of a weak axis, by which the manifold bends, stays below a strong one. Then
# starts surround the point on its manifold, and all borders cross between them.
SURROUNDING_STEP = 1e-5
LEAST_STEP = 1e-9  # below it a start drowns in the rounding of the point itself

Directions = Float[Tensor, "m u"]


@dataclass(frozen=True, eq=False)
class UnstableFrame:
    """A fundamental domain of one point's unstable manifold, by unit directions.

    Attributes:
        centre: the point (d,).
        axes: a real basis (u, d) of its unstable eigenspace. Each axis is as long as
            its rate asks, so that all of them reach the same distance together.
        steps: steps in which the longest axis grows to the size of the states.
    """

    centre: OneState
    axes: Float[Tensor, "u d"]
    steps: int

    @property
    def dim(self) -> int:
        """Number u of unstable dimensions."""
        return len(self.axes)

    def rounded(self) -> UnstableFrame:
        """The same with all axes as long as the longest.

        Where a weak direction bends the manifold by more than a strong axis is long,
        ways along the weak one leave through a round sphere alone.
        """
        lengths = self.axes.norm(dim=1, keepdim=True)
        return replace(self, axes=self.axes * (lengths.max() / lengths))

    def coordinates(self, states: States) -> Float[Tensor, "n u"]:
        """Components along the axes of states (n, d) as seen from the centre."""
        away = (states - self.centre).T
        parts: Tensor = torch.linalg.lstsq(self.axes.T, away).solution.T
        return parts

    def starts(self, directions: Directions) -> States:
        """Starts (m, d) for unit vectors (m, u)."""
        starts: States = self.centre + directions.to(self.axes) @ self.axes
        return starts

    def directions(self, states: States) -> Float[Tensor, "n u"]:
        """Unit vectors (n, u) in which states lie, as seen from the centre."""
        parts = self.coordinates(states)
        unit: Tensor = parts / parts.norm(dim=1, keepdim=True)
        return unit


def unstable_frame(
    linearization: Linearization, row: int, *, largest: float = LARGEST_STEP
) -> UnstableFrame:
    """The scaled axes at one point: s |lambda_i|^-n r_i.

    n is such that the weakest direction has shrunk to the first step, or the strongest
    to the least: all of them then reach the same distance together, where a round
    sphere would follow the strongest alone. Where rates differ so much that no n does
    both, the strongest directions still lead. No axis is longer than `largest`.
    """
    values = linearization.eigenvalues[row]
    sizes = values.abs()
    chosen = (sizes > 1 + linearization.margin) & (values.imag >= 0)
    vectors = linearization.right_eigenvectors[row].T[chosen]
    basis, rates = [], []
    for value, vector in zip(values[chosen], vectors, strict=True):
        # A pair turns in the coordinates of its two parts as they are: scaled each on
        # its own, a spiral would leave their circle and come back.
        turns = float(value.imag) != 0
        basis += [vector.real, vector.imag] if turns else [vector.real]
        rates += [float(value.abs())] * (1 + turns)
    frame = torch.stack(basis)
    centre = linearization.points.states[row]
    steps = min(
        math.log(1 / FIRST_STEP) / math.log(min(rates)),
        math.log(1 / LEAST_STEP) / math.log(max(rates)),
    )
    shrunk = torch.tensor([rate**-steps for rate in rates]).to(frame)
    shares = shrunk.clamp(LEAST_STEP, largest)
    lengths = (1 + centre.norm()) * shares
    longest = math.ceil(math.log(1 / float(shares.max())) / math.log(min(rates)))
    return UnstableFrame(centre, lengths[:, None] * frame, longest)


def sphere(dim: int, count: int, generator: torch.Generator | None) -> Tensor:
    """Unit vectors: both for one dimension, a circle for two, random for more."""
    if dim == 1:
        return torch.tensor([[1.0], [-1.0]], dtype=torch.float64)
    if dim == 2:
        # Half a step of offset keeps the sample off the axes of symmetry.
        angles = (torch.arange(count, dtype=torch.float64) + 0.5) * 2 * math.pi / count
        return torch.stack([angles.cos(), angles.sin()], dim=1)
    raw = torch.randn(count, dim, generator=generator, dtype=torch.float64)
    unit: Tensor = raw / raw.norm(dim=1, keepdim=True)
    return unit
