"""Adapters whose derivatives are in closed form, many times faster than autograd."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor

from captum_dynamics._typing import InputJacobians, Inputs, Jacobians, States
from captum_dynamics.adapters._base import RecurrentAdapter
from captum_dynamics.tangent import TangentMap


class ClosedTangent(TangentMap):
    """A derivative whose Jacobians are known in closed form."""

    @abstractmethod
    def select(self, rows: Tensor) -> ClosedTangent:
        """The derivative at some of the states."""

    @abstractmethod
    def input_jacobians(self) -> InputJacobians:
        """B, (n, d, k)."""


class ClosedFormLayer(RecurrentAdapter):
    """A layer that states its `tangent`; all derivatives of the map follow from it."""

    @abstractmethod
    def tangent(self, states: States, inputs: Inputs) -> ClosedTangent:
        """The layer's derivatives in closed form."""

    def jacobians(self, states: States, inputs: Inputs) -> Jacobians:
        return self.tangent(states, inputs).jacobians()

    def input_jacobians(self, states: States, inputs: Inputs) -> InputJacobians:
        return self.tangent(states, inputs).input_jacobians()

    def jvp(
        self,
        states: States,
        inputs: Inputs,
        state_tangents: States,
        input_tangents: Inputs | None = None,
    ) -> States:
        return self.tangent(states, inputs).push(state_tangents, input_tangents)

    def vjp(
        self, states: States, inputs: Inputs, cotangents: States
    ) -> tuple[States, Inputs]:
        return self.tangent(states, inputs).pull(cotangents)
