"""A layer searched without its windows, which rest after a few steps of one input.

Convolutions before a recurrence, and shifts of tokens, hold the last few inputs. What
the recurrence holds does not reach them, so that a constant input settles them by
itself; state-space layers and linear attention are affine in the rest.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from captum_dynamics import _linalg
from captum_dynamics._typing import Inputs, Jacobians, ReducedStates, States
from captum_dynamics.dynamics import DynamicsMap, Reduction
from captum_dynamics.layout import StateLayout
from captum_dynamics.tangent import TangentMap

# More steps than the window of any convolution holds tokens.
LONGEST_WINDOW = 8
# Second differences of an affine map vanish to rounding; those of others do not.
ROUNDING = 1e-9
# Up to this width J is formed, at once; above it is solved by products.
NARROW = 512
# The multipliers of a gated delta rule are two for each head, and few heads have more.
KRYLOV_DIMS = 80


class SettledMap(DynamicsMap):
    """The part of a state that is no window, with the windows where they rest.

    Args:
        whole: the map.
        moving: names of its blocks that are no windows.
        steps: after which the windows rest.
    """

    def __init__(self, whole: DynamicsMap, moving: tuple[str, ...], steps: int) -> None:
        """Take the parts, and find out whether the map is affine in its state."""
        self._whole = whole
        self._moving = moving
        self.steps = steps
        self.traits = replace(whole.traits, affine_in_state=False)
        self.traits = replace(self.traits, affine_in_state=is_affine(self))

    @property
    def layout(self) -> StateLayout:
        blocks = self._whole.layout.blocks
        return StateLayout(tuple(b for b in blocks if b.name in self._moving))

    @property
    def input_dim(self) -> int:
        return self._whole.input_dim

    @property
    def device(self) -> torch.device | None:
        return self._whole.device

    def step(self, states: States, inputs: Inputs) -> States:
        return self.part(self._whole.step(self.lift(states, inputs), inputs))

    def tangent(self, states: States, inputs: Inputs) -> SettledTangent:
        return self.tangent_at(self.lift(states, inputs), inputs)

    def tangent_at(self, whole: States, inputs: Inputs) -> SettledTangent:
        """The derivative by what moves at whole states, wherever their windows are."""
        return SettledTangent(self, self._whole, whole, inputs)

    def part(self, whole: States) -> ReducedStates:
        """What moves, of whole states."""
        split = self._whole.layout.split(whole)
        return torch.cat([split[name] for name in self._moving], dim=-1)

    def lift(self, states: ReducedStates, inputs: Inputs) -> States:
        """Whole states, with the windows at rest."""
        width = self._whole.state_dim
        rested = states.new_zeros(len(states), width)
        for _ in range(self.steps):
            rested = self._whole.step(rested, inputs)
        return self._filled(rested, states)

    def among_zeros(self, tangents: ReducedStates) -> States:
        """Whole tangents that leave the windows where they are."""
        zeros = tangents.new_zeros(len(tangents), self._whole.state_dim)
        return self._filled(zeros, tangents)

    def _filled(self, whole: States, part: ReducedStates) -> States:
        layout = self._whole.layout
        return layout.join({**layout.split(whole), **self.layout.split(part)})


class SettledTangent(TangentMap):
    """The derivative by what moves, solved by what structure it shows."""

    def __init__(
        self, settled: SettledMap, whole: DynamicsMap, states: States, inputs: Inputs
    ) -> None:
        """Take whole states whose windows are at rest."""
        self._settled = settled
        self._whole = whole
        self._at = states, inputs

    def select(self, rows: Tensor) -> SettledTangent:
        states, inputs = self._at
        return SettledTangent(self._settled, self._whole, states[rows], inputs[rows])

    def jacobians(self) -> Jacobians:
        states, inputs = self._at
        return self._settled.jacobians(self._settled.part(states), inputs)

    def push(
        self, state_tangents: States, input_tangents: Inputs | None = None
    ) -> States:
        settled, (states, inputs) = self._settled, self._at
        if input_tangents is not None:  # these move the windows too
            part = settled.part(states)
            return settled.jvp(part, inputs, state_tangents, input_tangents)
        tangents = settled.among_zeros(state_tangents)
        return settled.part(self._whole.jvp(states, inputs, tangents))

    def pull(self, cotangents: States) -> tuple[States, Inputs]:
        states, inputs = self._at
        return self._settled.vjp(self._settled.part(states), inputs, cotangents)

    def newton_direction(self, residuals: States) -> States:
        """Divide by a diagonal, where J is one."""
        entries = diagonal(self, residuals)
        if entries is not None:
            return torch.where(residuals == 0, 0.0, residuals / (1 - entries))
        return solve_by_structure(self, residuals)


def solve_by_structure(tangent: TangentMap, residuals: States) -> States:
    """Solve (J - I) p = -g with J where it is small, or else by products.

    GMRES ends after as many products as J has different multipliers, which are few in
    a gated delta rule.
    """
    if residuals.shape[1] <= NARROW:
        return TangentMap.newton_direction(tangent, residuals)
    directions, left = _linalg.gmres(
        lambda v: tangent.push(v) - v, -residuals, steps=KRYLOV_DIMS
    )
    return torch.where(left[:, None] < ROUNDING, directions, torch.nan)


class Settled(Reduction):
    """A layer without its windows."""

    def __init__(self, dynamics: SettledMap) -> None:
        """Take the map of the rest."""
        self._dynamics = dynamics

    @property
    def dynamics(self) -> SettledMap:
        return self._dynamics

    def restrict(self, states: States) -> ReducedStates:
        return self._dynamics.part(states)

    def lift(self, states: ReducedStates, inputs: Inputs) -> States:
        return self._dynamics.lift(states, inputs)


def settled(dynamics: DynamicsMap) -> Settled | None:
    """The map without its windows; None where it has nothing else."""
    steps, moving = _windows(dynamics)
    return Settled(SettledMap(dynamics, moving, steps)) if moving else None


@torch.no_grad()
def _windows(dynamics: DynamicsMap) -> tuple[int, tuple[str, ...]]:
    """Steps after which the windows have forgotten all states, and what is none.

    Derivatives of a window by the state that many steps ago have no terms: they are 0,
    not as small as those of what decays.
    """
    state, tangent = _random(dynamics.state_dim, 2, like=dynamics)
    inputs = _random(dynamics.input_dim, 1, like=dynamics)[0]
    steps, moving = 0, dynamics.layout.names
    for step in range(1, LONGEST_WINDOW + 1):
        tangent = dynamics.jvp(state, inputs, tangent)
        state = dynamics.step(state, inputs)
        parts = dynamics.layout.split(tangent)
        left = tuple(name for name in moving if bool(parts[name].any()))
        if left != moving:
            steps, moving = step, left
    return steps, moving


@torch.no_grad()
def is_affine(dynamics: DynamicsMap) -> bool:
    """Whether the second difference along a line vanishes, for two random inputs."""
    states, lines = _random(dynamics.state_dim, 2, like=dynamics, rows=2)
    inputs = _random(dynamics.input_dim, 1, like=dynamics, rows=2)[0]
    at, ahead, behind = (
        dynamics.step(states + share * lines, inputs) for share in (0.0, 2.0, -1.0)
    )
    bend = (ahead - 3 * at + 2 * behind).norm()
    return bool(bend <= ROUNDING * (1 + ahead.norm() + behind.norm()))


def diagonal(tangent: TangentMap, like: States) -> States | None:
    """Entries (n, d) of J where it is diagonal in every row, else None.

    What two random vectors are multiplied by, entry by entry, is then the same.
    """
    generator = torch.Generator().manual_seed(0)
    first, second = (
        torch.rand(like.shape, generator=generator, dtype=like.dtype).to(like) + 0.5
        for _ in range(2)
    )
    one, other = tangent.push(first) / first, tangent.push(second) / second
    same = (one - other).abs() <= ROUNDING * (one.abs() + ROUNDING)
    return one if bool(same.all()) else None


def _random(width: int, count: int, *, like: DynamicsMap, rows: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    shape = (count, rows, width)
    return torch.randn(shape, generator=generator, dtype=like.dtype).to(like.device)
