"""Cells in continuous time: dh/dt = f(h, x) is given, steps come by an integrator."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from captum_dynamics import _checks
from captum_dynamics._typing import InputJacobians, Inputs, Jacobians, States
from captum_dynamics.adapters._base import RecurrentAdapter, refuse
from captum_dynamics.adapters._calls import CellCalls
from captum_dynamics.adapters._convention import CallConvention
from captum_dynamics.adapters._shaped import StateForm, flat_step, layout_of
from captum_dynamics.dynamics import DynamicsMap, Traits
from captum_dynamics.layout import StateLayout

Rate = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Integrator(ABC):
    """How a flow is followed for one step of time `dt`, its input held constant."""

    dt: float

    def __post_init__(self) -> None:
        """Check the step."""
        _checks.check_positive("dt", self.dt)

    @abstractmethod
    def advance(self, rate: Rate, states: States, inputs: Inputs) -> States:
        """The states a time `dt` later."""


@dataclass(frozen=True)
class Euler(Integrator):
    """h + dt f(h): the step of most trained rate models; rests only where f = 0."""

    def advance(self, rate: Rate, states: States, inputs: Inputs) -> States:
        return states + self.dt * rate(states, inputs)


@dataclass(frozen=True)
class RungeKutta4(Integrator):
    """The classical method of fourth order (Kutta 1901)."""

    def advance(self, rate: Rate, states: States, inputs: Inputs) -> States:
        half = self.dt / 2
        k1 = rate(states, inputs)
        k2 = rate(states + half * k1, inputs)
        k3 = rate(states + half * k2, inputs)
        k4 = rate(states + self.dt * k3, inputs)
        return states + self.dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)


class ContinuousAdapter(RecurrentAdapter):
    """Wrap `rate(states (n, d), inputs (n, k)) -> dh/dt (n, d)`.

    As a map it is one step of the integrator, for trajectories. What rests is a
    matter of the flow alone: search in `rate_map`, whose fixed points are the zeros of
    dh/dt whatever the integrator, and linearize with `linearize_flow`. In a search in
    the adapter itself, what rests only because of a large `dt` is `Kind.SPURIOUS`.

    Args:
        rate: dh/dt, one row at a time; differentiable, in float64.
        state: the form of the state, as for `FunctionAdapter`.
        input_dim: width k of the input; 0 for an autonomous flow.
        integrator: how one step is made, such as `RungeKutta4(dt=0.1)`.
        traits: what is known of the flow; `affine_in_state` where f is affine in h.
        calls: how the layer behind the flow is called, for `record`.

    Example:
        >>> import torch, captum_dynamics as cd
        >>> from captum_dynamics.adapters import RungeKutta4
        >>> flow = cd.ContinuousAdapter(
        ...     lambda h, x: h - h**3, 1, 0, integrator=RungeKutta4(dt=0.1)
        ... )
        >>> starts = torch.tensor([[-0.9], [0.1], [0.9]])
        >>> points = cd.find_fixed_points(flow.rate_map, starts, torch.zeros(1, 0))
        >>> rates = cd.linearize_flow(flow, points.unique()).rates.real
        >>> sorted(round(rate, 6) for rate in rates.flatten().tolist())
        [-2.0, -2.0, 1.0]
    """

    def __init__(
        self,
        rate: Callable[[Any, Tensor], Any],
        state: StateForm,
        input_dim: int,
        *,
        integrator: Integrator,
        traits: Traits | None = None,
        calls: CallConvention | None = None,
    ) -> None:
        """Keep the rate and how it is followed."""
        self._rate = flat_step(rate, state)
        self._layout = layout_of(state)
        self._input_dim = input_dim
        self.integrator = integrator
        self.traits = Traits() if traits is None else traits
        self.calls = CellCalls() if calls is None else calls

    @classmethod
    def of_ode(
        cls,
        func: Callable[..., Any],
        state: StateForm,
        input_dim: int = 0,
        *,
        integrator: Integrator,
        t: float = 0.0,
        traits: Traits | None = None,
        calls: CallConvention | None = None,
    ) -> ContinuousAdapter:
        """Read an ODE function `func(t, y) -> dy/dt`, as `torchdiffeq.odeint` does.

        A module is copied, in float64. With `input_dim` the function is called as
        `func(t, y, x)`, x being held constant. Time stands still at `t`: where the
        function depends on it, what rests does so at that time alone.

        Args:
            func: the function or module.
            state: the form of the state, as for `FunctionAdapter`; of a mapping of
                shapes, the function gets and gives tuples of tensors in its order.
            input_dim: width k of the input; 0 where the function takes none.
            integrator: how one step is made.
            t: time, given to the function as a tensor without axes.
            traits: what is known of the flow.
            calls: how the layer behind the flow is called, for `record`.

        Raises:
            UnsupportedLayerError: active dropout in the module.

        References:
            Chen et al. (2018), Neural ordinary differential equations, section 2.

        Example:
            >>> import torch, captum_dynamics as cd
            >>> from captum_dynamics.adapters import RungeKutta4
            >>> class Pull(torch.nn.Module):
            ...     def forward(self, t, y):
            ...         return 1 - y
            >>> flow = cd.ContinuousAdapter.of_ode(
            ...     Pull(), 2, integrator=RungeKutta4(dt=0.1)
            ... )
            >>> points = cd.find_fixed_points(
            ...     flow.rate_map, torch.zeros(1, 2), torch.zeros(1, 0)
            ... )
            >>> points.states.tolist()
            [[1.0, 1.0]]
        """
        return cls(
            _rate_of_ode(func, state, input_dim, t),
            state,
            input_dim,
            integrator=integrator,
            traits=traits,
            calls=calls,
        )

    @property
    def layout(self) -> StateLayout:
        return self._layout

    @property
    def input_dim(self) -> int:
        return self._input_dim

    @property
    def rate_map(self) -> DynamicsMap:
        """The map h + f(h, x): it rests exactly where the flow does."""
        return _RateMap(self)

    def rate(self, states: States, inputs: Inputs) -> States:
        """dh/dt at every row."""
        new = self._rate(states, inputs)
        if new.shape != states.shape:
            raise ValueError(
                f"Expected `rate` to keep the shape {tuple(states.shape)} of its "
                f"states, got {tuple(new.shape)}."
            )
        return new

    def step(self, states: States, inputs: Inputs) -> States:
        return self.integrator.advance(self.rate, states, inputs)

    def ungated_residual(self, states: States, inputs: Inputs) -> States:
        """The rate: a step of the integrator can rest where the flow does not."""
        return self.rate(states, inputs)

    def rate_jacobians(
        self, states: States, inputs: Inputs
    ) -> tuple[Jacobians, InputJacobians]:
        """df/dh (n, d, d) and df/dx (n, d, k), per unit of time."""
        field = _Field(self)
        return field.jacobians(states, inputs), field.input_jacobians(states, inputs)


def _rate_of_ode(
    func: Callable[..., Any], state: StateForm, input_dim: int, t: float
) -> Callable[[Any, Tensor], Any]:
    """The rate at one time, of a copy of the function where it is a module."""
    field = _copied(func) if isinstance(func, nn.Module) else func
    names = layout_of(state).names if isinstance(state, Mapping) else None

    def rate(h: Any, x: Tensor) -> Any:
        now = torch.as_tensor(t, dtype=x.dtype, device=x.device)
        y = h if names is None else tuple(h[name] for name in names)
        found = field(now, y, x) if input_dim else field(now, y)
        return found if names is None else dict(zip(names, found, strict=True))

    return rate


def _copied(func: nn.Module) -> nn.Module:
    for module in func.modules():
        dropping = isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0
        if dropping and module.training:
            raise refuse(
                func, "its dropout is active, which makes it random; call `.eval()`."
            )
    return copy.deepcopy(func).double().requires_grad_(False)


class _Field(DynamicsMap):
    """The rate itself, for its derivatives."""

    def __init__(self, flow: ContinuousAdapter) -> None:
        self._flow = flow
        self.traits = flow.traits

    @property
    def layout(self) -> StateLayout:
        return self._flow.layout

    @property
    def input_dim(self) -> int:
        return self._flow.input_dim

    def step(self, states: States, inputs: Inputs) -> States:
        return self._flow.rate(states, inputs)


class _RateMap(_Field):
    """h + f(h, x): residuals are rates, and J - I is df/dh."""

    def step(self, states: States, inputs: Inputs) -> States:
        return states + self._flow.rate(states, inputs)

    def residual(self, states: States, inputs: Inputs) -> States:
        """The rate; h + f - h would lose digits."""
        return self._flow.rate(states, inputs)

    def jacobians(self, states: States, inputs: Inputs) -> Jacobians:
        slopes = _Field(self._flow).jacobians(states, inputs)
        return slopes + torch.eye(self.state_dim).to(slopes)
