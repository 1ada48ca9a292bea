"""What can make two points the same: place, shared features, or spectrum."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Complex
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from captum_dynamics import _checks
from captum_dynamics._typing import Eigenvalues, States
from captum_dynamics.dynamics import DynamicsMap
from captum_dynamics.fixed_points import FixedPoints
from captum_dynamics.matching._base import Matcher, PairDistances

Features = Callable[[Tensor], Tensor]
OthersEigenvalues = Complex[Tensor, "m e"]


@dataclass(frozen=True)
class SameRow(Matcher):
    """Every point keeps its row: the matcher that does nothing.

    For points that are in order already, such as those that searches from the same
    starts ended at. It measures nothing: all distances are 0.
    """

    def distances(self, first: FixedPoints, second: FixedPoints) -> PairDistances:
        """0 on the diagonal, and infinite elsewhere."""
        apart = first.states.new_full((len(first), len(second)), torch.inf)
        apart.fill_diagonal_(0.0)
        return apart


@dataclass(frozen=True)
class Nearest(Matcher):
    """Points are the same where their states are close.

    Close is not the same near a fold: see `match_points`.

    Attributes:
        radius: largest distance of a pair. Without one, points are paired however far
            apart they are, as long as any are left.
    """

    radius: float = math.inf

    def distances(self, first: FixedPoints, second: FixedPoints) -> PairDistances:
        """Euclidean distances of the states."""
        width, other = first.states.shape[1], second.states.shape[1]
        if width != other:
            raise ValueError(
                f"Expected `second` to have states of width {width}, as `first` has, "
                f"got {other}; match points of different models by `SharedFeatures`."
            )
        return _within(self.radius, _distances(first.states, second.states))


@dataclass(frozen=True)
class SharedFeatures(Matcher):
    """Points of two models are the same where they look the same from outside.

    Attributes:
        first: features (n, f) of states (n, d) of the first model: its readout, its
            `Responses` to inputs that both know, or `Alignment.first`.
        second: features (m, f) of states (m, e) of the second model.
        radius: largest distance of a pair, in units of the features.
    """

    first: Features
    second: Features
    radius: float = math.inf

    def distances(self, first: FixedPoints, second: FixedPoints) -> PairDistances:
        """Euclidean distances of the features."""
        mine = _features("first", self.first, first.states)
        other = _features("second", self.second, second.states)
        if mine.shape[1] != other.shape[1]:
            raise ValueError(
                f"Expected `second` to give as many features as `first`, "
                f"{mine.shape[1]}, got {other.shape[1]}."
            )
        return _within(self.radius, _distances(mine, other.to(mine)))


@dataclass(frozen=True, eq=False)
class SameSpectrum(Matcher):
    """Points are the same where as many directions grow, at much the same rates.

    Only points with the same number of unstable dimensions may match. (A repeller of a
    small model is a saddle of a larger one, which has room to attract as well.) Their
    distance is that of their spectra: the root of the sum of squared differences, under
    the best pairing of multipliers. A spectrum with fewer multipliers is filled up with
    zeros, as if by units that forget at once. Points of equal spectra, such as those
    that a symmetry maps to each other, it cannot tell apart.

    Attributes:
        first: multipliers (n, d) of the first points, by decreasing magnitude, such as
            `linearization.eigenvalues`.
        second: multipliers (m, e) of the second points.
        radius: largest distance of a pair.
        modes: how many leading multipliers to compare.
        margin: distance from the unit circle that counts as on it.

    References:
        Hoffman and Wielandt (1953), The variation of the spectrum of a normal matrix,
        Duke Math. J. 20.
    """

    first: Eigenvalues
    second: OthersEigenvalues
    radius: float = math.inf
    modes: int = 16
    margin: float = 1e-6

    def distances(self, first: FixedPoints, second: FixedPoints) -> PairDistances:
        """Distances of the spectra."""
        _checks.check_count("modes", self.modes)
        _check_spectra("first", self.first, len(first))
        _check_spectra("second", self.second, len(second))
        mine, other = self._leading(self.first), self._leading(self.second)
        grow = (self.first.abs() > 1 + self.margin).sum(-1)
        others_grow = (self.second.abs() > 1 + self.margin).sum(-1).to(grow.device)
        apart = first.states.new_full((len(first), len(second)), torch.inf)
        for row, column in torch.nonzero(grow[:, None] == others_grow).tolist():
            gaps = (mine[row][:, None] - other[column]).abs().square()
            best = linear_sum_assignment(gaps.numpy())
            apart[row, column] = float(gaps[best].sum().sqrt())
        return _within(self.radius, apart)

    def _leading(self, values: Eigenvalues) -> Tensor:
        leading = values[:, : self.modes].detach().cpu().to(torch.complex128)
        return torch.nn.functional.pad(leading, (0, self.modes - leading.shape[1]))


@dataclass(frozen=True, eq=False)
class Responses:
    """Features of states: what the model says after one step of each shared input.

    Two points with the same readout may answer the next input differently.

    Attributes:
        dynamics: the map of the model.
        inputs: inputs (m, k) of this model: embeddings of the same m tokens, say.
        readout: what the model says (n, r) at states (n, d).

    Example:
        >>> import torch, captum_dynamics as cd
        >>> add = cd.FunctionAdapter(lambda h, x: h + x, 1, 1)
        >>> responses = Responses(add, torch.tensor([[1.0], [-1.0]]), lambda h: 2 * h)
        >>> responses(torch.tensor([[0.0], [3.0]])).tolist()
        [[2.0, -2.0], [8.0, 4.0]]
    """

    dynamics: DynamicsMap
    inputs: Tensor
    readout: Features

    def __call__(self, states: Tensor) -> Tensor:
        """Readouts (n, m r) after each input, side by side."""
        width, device = self.dynamics.input_dim, self.dynamics.device
        _checks.check_matrix("inputs", self.inputs, width, device)
        _checks.check_rows("inputs", self.inputs)
        answers = [
            self.readout(self.dynamics(states, each[None])) for each in self.inputs
        ]
        return torch.cat(answers, dim=1)


def _features(name: str, features: Features, states: States) -> Tensor:
    found = features(states.clone())
    _checks.check_floating(name, found)
    if found.ndim != 2 or len(found) != len(states):
        raise ValueError(
            f"Expected `{name}` to give features of shape ({len(states)}, f), got "
            f"{tuple(found.shape)}."
        )
    return found.to(states)


def _check_spectra(name: str, values: Tensor, rows: int) -> None:
    if values.ndim != 2 or len(values) != rows or not values.is_complex():
        raise ValueError(
            f"Expected `{name}` of `SameSpectrum` to be complex multipliers "
            f"({rows}, d), one row a point, got {tuple(values.shape)} of "
            f"{values.dtype}."
        )


def _distances(first: Tensor, second: Tensor) -> PairDistances:
    return torch.cdist(first, second, compute_mode="donot_use_mm_for_euclid_dist")


def _within(radius: float, distances: PairDistances) -> PairDistances:
    _checks.check_positive("radius", radius)
    return torch.where(distances <= radius, distances, torch.inf)
