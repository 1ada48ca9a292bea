"""The one object in the middle: a pure, row-wise map of states under inputs."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from captum_dynamics import _checks, _intervals
from captum_dynamics._execution import row_chunks
from captum_dynamics._typing import (
    GivenInputs,
    InputJacobians,
    Inputs,
    InputSequences,
    Jacobians,
    OneInput,
    PerPoint,
    ReducedStates,
    States,
    StateSequences,
)
from captum_dynamics.activation_form import ActivationForm
from captum_dynamics.layout import StateLayout
from captum_dynamics.tangent import TangentMap
from captum_dynamics.unitwise import UnitwiseForm


@dataclass(frozen=True)
class Traits:
    """What is known of a map beyond its values.

    Attributes:
        affine_in_state: F(h, x) = A(x) h + b(x); a fixed point is one linear solve.
        piecewise_linear: linear in the state within regions (ReLU).
        vmap_safe: `torch.func.vmap` may be applied to the map's derivatives.
        float64: the map can be evaluated in double precision.
        float32: the map can be evaluated in single precision too, where its states
            are; a search may then begin there, at half the cost.
    """

    affine_in_state: bool = False
    piecewise_linear: bool = False
    vmap_safe: bool = True
    float64: bool = True
    float32: bool = False


class Reduction(ABC):
    """A smaller map whose fixed points are those of another, one for one.

    Some coordinates of a fixed point may follow from the rest in closed form.
    """

    @property
    @abstractmethod
    def dynamics(self) -> DynamicsMap:
        """The smaller map; its inputs are those of the other."""

    @abstractmethod
    def restrict(self, states: States) -> ReducedStates:
        """The part (n, m) of states (n, d) that the smaller map moves."""

    @abstractmethod
    def lift(self, states: ReducedStates, inputs: Inputs) -> States:
        """States (n, d) from their part (n, m), with all else at rest."""


@dataclass(frozen=True, eq=False)
class Section:
    """A part of the state that is moved by itself, given the parts before it.

    Attributes:
        columns: where it stands in the whole state.
        dynamics: its own map.
        reads: its inputs, from whole states (n, d) and inputs (n, k).
    """

    columns: slice
    dynamics: DynamicsMap
    reads: Callable[[States, Inputs], Inputs]


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
        return self.step(states, inputs.to(states.dtype))

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
        """Validate states and inputs, each in its dtype; every row gets its input."""
        _checks.check_matrix(name, states, self.state_dim, self.device)
        rows = states.shape[0]
        inputs = _checks.check_inputs(
            "inputs", inputs, rows, self.input_dim, self.device
        )
        return states, inputs

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

    @property
    def reduction(self) -> Reduction | None:
        """A smaller map with the same fixed points, or None where none is known."""
        return None

    @property
    def sections(self) -> tuple[Section, ...]:
        """Parts from the lowest on, where J is lower triangular by them; else none."""
        return ()

    def activation_form(self, one_input: OneInput) -> ActivationForm | None:
        """F(h) = A h + W relu(C h + c) + b at one input, or None where it is not.

        It opens piecewise-linear maps to proofs; see `enumerate_fixed_points`.
        """
        return None

    @property
    def unitwise_form(self) -> UnitwiseForm | None:
        """F(h, x) = V phi(A h + B x + b) with phi of each unit alone, or None.

        Averages of Jacobians then cost what the map itself does; see `PathIntegrated`.
        """
        return None

    # Derivatives

    def jvp(
        self,
        states: States,
        inputs: Inputs,
        state_tangents: States,
        input_tangents: Inputs | None = None,
    ) -> States:
        """Return J v for one tangent v in each row, or J v + B u for a pair."""
        if input_tangents is None:
            input_tangents = torch.zeros_like(inputs)
        # Forward mode refuses rows that share their memory, as expanded inputs do.
        at, tangents = (states, inputs.contiguous()), (state_tangents, input_tangents)
        with torch.no_grad(), warnings.catch_warnings():
            # torch's own forward mode calls its deprecated torch.jit once.
            warnings.simplefilter("ignore", DeprecationWarning)
            pushed: Tensor = torch.func.jvp(self.step, at, tangents)[1]
        return pushed

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

    def tangent(self, states: States, inputs: Inputs) -> TangentMap:
        """The derivative at every row, as something that can be applied and solved."""
        return _GenericTangent(self, states, inputs)

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

    # Verified bounds, for certificates

    def interval_step(
        self, low: States, high: States, inputs: Inputs
    ) -> tuple[States, States] | None:
        """Bounds of F over a box of states, in float64; None where none are known.

        Bounds hold in exact arithmetic: rounding is included (see `_intervals`).
        """
        return None

    def interval_jacobians(
        self, low: States, high: States, inputs: Inputs
    ) -> tuple[Jacobians, Jacobians] | None:
        """Bounds of J, entry by entry, over a box; None where none are known.

        Where F has kinks they hold every slope between those on either side.
        """
        return None

    def jacobian_lipschitz(
        self, low: States, high: States, inputs: Inputs
    ) -> States | None:
        """L (n, d) with sum_j |J_ij(a) - J_ij(b)| <= L_i max|a - b| in a box, or None.

        Cheaper than `interval_jacobians` for wide states, and coarser.
        """
        return None

    def rollout(self, initial_states: States, inputs: InputSequences) -> StateSequences:
        """States after each step of an input sequence, shape (n, t, d)."""
        form = self.unitwise_form
        double = initial_states.dtype == inputs.dtype == torch.float64
        if form is not None and double and inputs.shape[1] > 0:
            return form.rollout(initial_states, inputs)
        states = initial_states
        visited = []
        for step in range(inputs.shape[1]):
            states = self.step(states, inputs[:, step])
            visited.append(states)
        if visited:
            return torch.stack(visited, dim=1)
        return initial_states.new_zeros(len(initial_states), 0, self.state_dim)

    def iterate(self, times: int) -> DynamicsMap:
        """The map composed with itself `times` times under a constant input."""
        _checks.check_positive("times", times)
        return _Iterate(self, times)


class _GenericTangent(TangentMap):
    """The products and Jacobians that the map itself supplies."""

    def __init__(self, dynamics: DynamicsMap, states: States, inputs: Inputs) -> None:
        self._dynamics = dynamics
        self._at = states, inputs

    def select(self, rows: Tensor) -> _GenericTangent:
        states, inputs = self._at
        return _GenericTangent(self._dynamics, states[rows], inputs[rows])

    def jacobians(self) -> Jacobians:
        return self._dynamics.jacobians(*self._at)

    def push(
        self, state_tangents: States, input_tangents: Inputs | None = None
    ) -> States:
        return self._dynamics.jvp(*self._at, state_tangents, input_tangents)

    def pull(self, cotangents: States) -> tuple[States, Inputs]:
        return self._dynamics.vjp(*self._at, cotangents)


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

    def ungated_residual(self, states: States, inputs: Inputs) -> States:
        """Sum of the base's residuals along the way, over its widest open gate.

        A gate's opening is the residual it lets through over the ungated one.
        """
        total = torch.zeros_like(states)
        widest = torch.zeros_like(states)
        for _ in range(self._times):
            new = self._base.step(states, inputs)
            ungated = self._base.ungated_residual(states, inputs)
            total += new - states
            openings = ((new - states) / ungated).abs().nan_to_num(posinf=0.0)
            widest = torch.maximum(widest, openings)
            states = new
        return torch.where(total == 0, 0.0, total / widest)

    def invariant_box(self, inputs: Inputs) -> tuple[States, States] | None:
        return self._base.invariant_box(inputs)

    def interval_step(
        self, low: States, high: States, inputs: Inputs
    ) -> tuple[States, States] | None:
        bounds: tuple[States, States] | None = low, high
        for _ in range(self._times):
            if bounds is not None:
                bounds = self._base.interval_step(*bounds, inputs)
        return bounds

    def interval_jacobians(
        self, low: States, high: States, inputs: Inputs
    ) -> tuple[Jacobians, Jacobians] | None:
        """The chain rule over the boxes that hold the states of each step."""
        chain: _intervals.Ball | None = None
        for _ in range(self._times):
            slopes = self._base.interval_jacobians(low, high, inputs)
            after = self._base.interval_step(low, high, inputs)
            if slopes is None or after is None:
                return None
            factor = _intervals.Ball.between(*slopes)
            chain = factor if chain is None else factor @ chain
            low, high = after
        return None if chain is None else chain.bounds
