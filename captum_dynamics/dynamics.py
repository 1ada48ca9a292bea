"""The one object in the middle: a pure, row-wise map of states under inputs."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from captum_dynamics import _checks
from captum_dynamics._execution import row_chunks
from captum_dynamics._typing import (
    GivenInputs,
    InputJacobians,
    Inputs,
    InputSequences,
    Jacobians,
    OneInput,
    PerPoint,
    States,
    StateSequences,
)
from captum_dynamics.activation_form import ActivationForm


@dataclass(frozen=True)
class Block:
    """A named part of the state, such as the cell state of one layer."""

    name: str
    size: int


@dataclass(frozen=True)
class StateLayout:
    """How a flat state vector is divided into named blocks.

    Example:
        >>> layout = StateLayout((Block("h", 2), Block("c", 3)))
        >>> layout.size, layout.slice("c")
        (5, slice(2, 5, None))
    """

    blocks: tuple[Block, ...]

    @property
    def size(self) -> int:
        """Width of the flat state."""
        return sum(block.size for block in self.blocks)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the blocks, in order."""
        return tuple(block.name for block in self.blocks)

    def slice(self, name: str) -> slice:
        """Columns of one block."""
        start = 0
        for block in self.blocks:
            if block.name == name:
                return slice(start, start + block.size)
            start += block.size
        raise KeyError(f"Expected a block among {self.names}, got {name!r}.")

    def split(self, states: Tensor) -> dict[str, Tensor]:
        """Divide (..., d) states into their blocks."""
        return {name: states[..., self.slice(name)] for name in self.names}

    def join(self, blocks: Mapping[str, Tensor]) -> Tensor:
        """Put blocks back together into (..., d) states."""
        return torch.cat([blocks[name] for name in self.names], dim=-1)


@dataclass(frozen=True)
class Traits:
    """What is known of a map beyond its values.

    Attributes:
        affine_in_state: F(h, x) = A(x) h + b(x); a fixed point is one linear solve.
        piecewise_linear: linear in the state within regions (ReLU).
        vmap_safe: `torch.func.vmap` may be applied to the map's derivatives.
        float64: the map can be evaluated in double precision.
    """

    affine_in_state: bool = False
    piecewise_linear: bool = False
    vmap_safe: bool = True
    float64: bool = True


class DynamicsMap(ABC):
    """A map F(states (n, d), inputs (n, k)) -> states (n, d), one row at a time.

    A subclass states `layout`, `input_dim` and `step`; derivatives, residuals and
    roll-outs are supplied. `step` must be differentiable, keep the dtype of its
    states, and let no row influence another.
    """

    traits: Traits = Traits()

    @property
    @abstractmethod
    def layout(self) -> StateLayout:
        """The named blocks of the state."""

    @property
    @abstractmethod
    def input_dim(self) -> int:
        """Width k of one input."""

    @abstractmethod
    def step(self, states: States, inputs: Inputs) -> States:
        """Advance every row by one step."""

    def __call__(self, states: States, inputs: GivenInputs) -> States:
        """Advance checked states by one step; one row of inputs serves all."""
        states, inputs = self.check(states, inputs)
        return self.step(states, inputs)

    @property
    def state_dim(self) -> int:
        """Width d of the flat state."""
        return self.layout.size

    @property
    def dtype(self) -> torch.dtype:
        """Precision of results: float64 unless the map cannot."""
        return torch.float64 if self.traits.float64 else torch.float32

    @property
    def device(self) -> torch.device | None:
        """Where the map's parameters live; None where any device will do."""
        return None

    def check(
        self, states: Tensor, inputs: Tensor, name: str = "states"
    ) -> tuple[States, Inputs]:
        """Validate states and inputs and give every row its input."""
        _checks.check_matrix(name, states, self.state_dim, self.device)
        rows = states.shape[0]
        inputs = _checks.check_inputs(
            "inputs", inputs, rows, self.input_dim, self.device
        )
        return states, inputs.to(states.dtype)

    # Distances from being fixed

    def residual(self, states: States, inputs: Inputs) -> States:
        """g = F(h, x) - h."""
        return self.step(states, inputs) - states

    def speed(self, states: States, inputs: Inputs) -> PerPoint:
        """q = 1/2 |g|^2 (Sussillo and Barak 2013, equation 2.1)."""
        return 0.5 * self.residual(states, inputs).square().sum(-1)

    def ungated_residual(self, states: States, inputs: Inputs) -> States:
        """Residual without the factor by which gates can hide motion.

        A gate that saturates makes F(h) = h up to round-off at states that are not
        fixed. Maps with such gates override this; for others it is the residual.
        """
        return self.residual(states, inputs)

    def invariant_box(self, inputs: Inputs) -> tuple[States, States] | None:
        """Bounds of a box that F maps into itself, or None where none is known."""
        return None

    def activation_form(self, one_input: OneInput) -> ActivationForm | None:
        """F(h) = A h + W relu(C h + c) + b at one input, or None where it is not.

        It opens piecewise-linear maps to proofs; see `enumerate_fixed_points`.
        """
        return None

    # Derivatives

    def jvp(self, states: States, inputs: Inputs, state_tangents: States) -> States:
        """Return J v for one tangent v in each row."""
        with torch.no_grad(), warnings.catch_warnings():
            # torch's own forward mode calls its deprecated torch.jit once.
            warnings.simplefilter("ignore", DeprecationWarning)
            tangents: Tensor = torch.func.jvp(
                lambda h: self.step(h, inputs), (states,), (state_tangents,)
            )[1]
        return tangents

    def vjp(
        self, states: States, inputs: Inputs, cotangents: States
    ) -> tuple[States, Inputs]:
        """Return v J and v B for one cotangent v in each row."""
        with torch.no_grad():
            pull_back = torch.func.vjp(self.step, states, inputs)[1]
            state_part, input_part = pull_back(cotangents)
        return state_part, input_part

    def jacobians(self, states: States, inputs: Inputs) -> Jacobians:
        """J = dF/dh at every row, shape (n, d, d)."""
        return self._derivatives(states, inputs)[0]

    def input_jacobians(self, states: States, inputs: Inputs) -> InputJacobians:
        """B = dF/dx at every row, shape (n, d, k)."""
        return self._derivatives(states, inputs)[1]

    def _derivatives(
        self, states: States, inputs: Inputs
    ) -> tuple[Jacobians, InputJacobians]:
        width = self.state_dim * (self.state_dim + self.input_dim)
        parts = [
            self._derivatives_at(states[rows], inputs[rows])
            for rows in row_chunks(len(states), 8 * 2 * width)
        ]
        if not parts:
            parts = [self._derivatives_at(states, inputs)]
        return torch.cat([j for j, _ in parts]), torch.cat([b for _, b in parts])

    def _derivatives_at(
        self, states: States, inputs: Inputs
    ) -> tuple[Jacobians, InputJacobians]:
        # Rows do not interact: one unit cotangent for all of them gives one row of
        # every Jacobian.
        units = torch.eye(self.state_dim, dtype=states.dtype, device=states.device)
        cotangents = units[:, None, :].expand(-1, len(states), -1)
        with torch.no_grad():
            pull_back = torch.func.vjp(self.step, states, inputs)[1]
            if self.traits.vmap_safe:
                by_state, by_input = torch.func.vmap(pull_back)(cotangents)
            else:
                pairs = [pull_back(unit.contiguous()) for unit in cotangents]
                by_state = torch.stack([state for state, _ in pairs])
                by_input = torch.stack([inp for _, inp in pairs])
        return by_state.movedim(0, 1), by_input.movedim(0, 1)

    # Time

    def rollout(self, initial_states: States, inputs: InputSequences) -> StateSequences:
        """States after each step of an input sequence, shape (n, t, d)."""
        states = initial_states
        visited = []
        for step in range(inputs.shape[1]):
            states = self.step(states, inputs[:, step])
            visited.append(states)
        if not visited:
            return initial_states.new_zeros(len(initial_states), 0, self.state_dim)
        return torch.stack(visited, dim=1)

    def iterate(self, times: int) -> DynamicsMap:
        """The map composed with itself `times` times under a constant input."""
        if times < 1:
            raise ValueError(f"Expected `times` to be at least 1, got {times}.")
        return _Iterate(self, times)


class _Iterate(DynamicsMap):
    """F composed with itself; its fixed points are the cycles of F."""

    def __init__(self, base: DynamicsMap, times: int) -> None:
        self._base = base
        self._times = times
        self.traits = base.traits

    @property
    def layout(self) -> StateLayout:
        return self._base.layout

    @property
    def input_dim(self) -> int:
        return self._base.input_dim

    @property
    def device(self) -> torch.device | None:
        return self._base.device

    def step(self, states: States, inputs: Inputs) -> States:
        for _ in range(self._times):
            states = self._base.step(states, inputs)
        return states

    def invariant_box(self, inputs: Inputs) -> tuple[States, States] | None:
        return self._base.invariant_box(inputs)
