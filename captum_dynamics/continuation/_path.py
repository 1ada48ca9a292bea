"""A path of maps from one end to the other, and its fixed points as a curve."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from captum_dynamics._typing import OneInput, OneJacobian, OneState, States
from captum_dynamics.dynamics import DynamicsMap

OnePlace = Float[Tensor, " z"]  # (h / sqrt(d), s), of d + 1 numbers
Places = Float[Tensor, "n z"]


class Path(ABC):
    """g(z) = F_s(h) - h in the unknowns z = (h / sqrt(d), s), with s from 0 to 1.

    The scale makes a length along the curve mean the same in wide and narrow states.
    """

    name: str  # of the parameter

    def __init__(self, dynamics: DynamicsMap, device: torch.device) -> None:
        self.state_dim = dynamics.state_dim
        self.scale = math.sqrt(self.state_dim)
        self.dtype = dynamics.dtype
        self.device = device

    @abstractmethod
    def residuals(self, places: Places) -> States:
        """g at every place (n, d + 1), each with the map of its own s."""

    @abstractmethod
    def push(self, places: Places, tangents: States) -> States:
        """J v for one state tangent v at every place."""

    @abstractmethod
    def pull(self, places: Places, cotangents: States) -> Places:
        """w dg/dz for one cotangent w at every place."""

    @abstractmethod
    def jacobian(self, place: OnePlace) -> OneJacobian:
        """J = dF/dh (d, d) at one place."""

    @abstractmethod
    def slope(self, place: OnePlace) -> OneState:
        """dF/ds (d,) at one place."""

    @abstractmethod
    def parameter(self, s: float) -> float:
        """What the caller calls the place s along the path."""

    def place(self, state: OneState, s: float) -> OnePlace:
        """z of a state."""
        return torch.cat([state / self.scale, state.new_tensor([s])])

    def states(self, places: Places) -> States:
        """The states at places (n, d + 1)."""
        return places[:, :-1] * self.scale

    def derivative(
        self, place: OnePlace, jacobian: OneJacobian | None = None
    ) -> Float[Tensor, "d z"]:
        """dg/dz (d, d + 1)."""
        slopes = self.jacobian(place) if jacobian is None else jacobian.clone()
        slopes.diagonal().sub_(1)
        return torch.cat([slopes * self.scale, self.slope(place)[:, None]], 1)


class InputPath(Path):
    """One map under inputs on the line (1 - s) x_a + s x_b."""

    name = "share of the way to the other input"

    def __init__(self, dynamics: DynamicsMap, start: OneInput, end: OneInput) -> None:
        super().__init__(dynamics, start.device)
        self._dynamics = dynamics
        self._ends = start, end

    def residuals(self, places: Places) -> States:
        return self._dynamics.residual(*self._at(places))

    def push(self, places: Places, tangents: States) -> States:
        return self._dynamics.jvp(*self._at(places), tangents)

    def pull(self, places: Places, cotangents: States) -> Places:
        by_state, by_input = self._dynamics.vjp(*self._at(places), cotangents)
        start, end = self._ends
        along = (by_input * (end - start)).sum(1, keepdim=True)
        return torch.cat([(by_state - cotangents) * self.scale, along], 1)

    def jacobian(self, place: OnePlace) -> OneJacobian:
        return self._dynamics.jacobians(*self._at(place[None]))[0]

    def slope(self, place: OnePlace) -> OneState:
        states, inputs = self._at(place[None])
        start, end = self._ends
        still, along = torch.zeros_like(states), (end - start)[None]
        return self._dynamics.jvp(states, inputs, still, along)[0]

    def parameter(self, s: float) -> float:
        return s

    def _at(self, places: Places) -> tuple[Tensor, Tensor]:
        start, end = self._ends
        s = places[:, -1:]
        return self.states(places), (1 - s) * start + s * end


class ParameterPath(Path):
    """A family of maps under one input, from one value of a parameter to another."""

    name = "parameter"

    def __init__(
        self,
        family: Callable[[float], DynamicsMap],
        start: float,
        end: float,
        one_input: OneInput,
    ) -> None:
        super().__init__(family(start), one_input.device)
        self._family = family
        self._ends = start, end
        self._input = one_input

    def residuals(self, places: Places) -> States:
        return self._each(places, places, lambda f, h, x, _: f.residual(h, x))

    def push(self, places: Places, tangents: States) -> States:
        return self._each(places, tangents, lambda f, h, x, v: f.jvp(h, x, v))

    def pull(self, places: Places, cotangents: States) -> Places:
        by_state = self._each(
            places, cotangents, lambda f, h, x, w: f.vjp(h, x, w)[0] - w
        )
        along = (cotangents * self._slopes(places)).sum(1, keepdim=True)
        return torch.cat([by_state * self.scale, along], 1)

    def jacobian(self, place: OnePlace) -> OneJacobian:
        places = place[None]
        slopes = self._each(places, places, lambda f, h, x, _: f.jacobians(h, x))
        return slopes[0]

    def slope(self, place: OnePlace) -> OneState:
        return self._slopes(place[None])[0]

    def parameter(self, s: float) -> float:
        start, end = self._ends
        return (1 - s) * start + s * end

    def _slopes(self, places: Places) -> States:
        # The family need not be differentiable in its parameter.
        ahead = torch.zeros_like(places)
        ahead[:, -1] = difference_step(places)
        rise = self.residuals(places + ahead) - self.residuals(places - ahead)
        return rise / (2 * ahead[:, -1:])

    def _each(
        self,
        places: Places,
        vectors: Tensor,
        apply: Callable[[DynamicsMap, Tensor, Tensor, Tensor], Tensor],
    ) -> Tensor:
        """Apply the map of each s to the rows that have it."""
        states, s = self.states(places), places[:, -1]
        parts, order = [], []
        for value in sorted(set(s.tolist())):
            rows = torch.nonzero(s == value)[:, 0]
            dynamics = self._family(self.parameter(value))
            inputs = self._input.expand(len(rows), -1)
            parts.append(apply(dynamics, states[rows], inputs, vectors[rows]))
            order.append(rows)
        return torch.cat(parts)[torch.cat(order).argsort()]


def difference_step(like: Tensor) -> float:
    """Step of a central difference: the third root of eps balances its two errors."""
    eps: float = torch.finfo(like.dtype).eps
    return math.exp(math.log(eps) / 3)
