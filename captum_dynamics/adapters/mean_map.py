"""The mean of a map over inputs: what states do when nothing in particular is read."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from captum_dynamics import _checks
from captum_dynamics._execution import row_chunks
from captum_dynamics._typing import Inputs, Jacobians, States
from captum_dynamics.adapters._base import RecurrentAdapter
from captum_dynamics.dynamics import DynamicsMap, Traits
from captum_dynamics.layout import StateLayout
from captum_dynamics.unitwise import (
    Arguments,
    Reads,
    UnitwiseForm,
    Values,
    ValueSlopes,
)


class MeanMap(RecurrentAdapter):
    """F(h, (x_1, ..., x_m)) = mean_v f(h, x_v), of a map f and m inputs side by side.

    Under inputs drawn from use, it moves states as those inputs do on average. That
    is not the step under the mean input where the map is nonlinear in what it reads:
    of a trained net, the spectrum of the mean map is the honest one of its line
    attractor. With m times the same input it is f.

    Args:
        dynamics: the map f.
        count: number m of inputs.

    Raises:
        ValueError: If `count` is not a whole number of at least 1.

    Example:
        >>> import torch, captum_dynamics as cd
        >>> dynamics = cd.adapt(torch.nn.GRU(3, 4))
        >>> words = torch.randn(5, 3).double()
        >>> mean_map = MeanMap(dynamics, 5)
        >>> states = torch.zeros(5, 4).double()
        >>> mean = dynamics.step(states, words).mean(0)
        >>> torch.allclose(mean_map.step(states[:1], words.reshape(1, -1))[0], mean)
        True
        >>> points = cd.find_fixed_points(mean_map, states, words.reshape(1, -1))
        >>> int(points.converged.sum())
        5
    """

    def __init__(self, dynamics: DynamicsMap, count: int) -> None:
        """Take the map, and how many inputs there are."""
        _checks.check_count("count", count)
        self._base = dynamics
        self._count = count
        base = dynamics.traits
        self.traits = Traits(
            base.affine_in_state, base.piecewise_linear, base.vmap_safe, base.float64
        )

    @property
    def layout(self) -> StateLayout:
        return self._base.layout

    @property
    def input_dim(self) -> int:
        return self._count * self._base.input_dim

    @property
    def device(self) -> torch.device | None:
        return self._base.device

    def step(self, states: States, inputs: Inputs) -> States:
        each = inputs.reshape(len(inputs) * self._count, self._base.input_dim)
        repeated = states.repeat_interleave(self._count, dim=0)
        moved = self._base.step(repeated, each)
        return moved.view(len(states), self._count, -1).mean(1)

    def ungated_residual(self, states: States, inputs: Inputs) -> States:
        each = inputs.reshape(len(inputs) * self._count, self._base.input_dim)
        repeated = states.repeat_interleave(self._count, dim=0)
        ungated = self._base.ungated_residual(repeated, each)
        return ungated.view(len(states), self._count, -1).mean(1)

    def jacobians(self, states: States, inputs: Inputs) -> Jacobians:
        form = self._base.unitwise_form
        if form is None:
            return super().jacobians(states, inputs)
        size = 8 * self._count * 16 * self.state_dim
        parts = [
            self._jacobians(form, states[rows], inputs[rows])
            for rows in row_chunks(len(states), size)
        ]
        return torch.cat(parts) if parts else super().jacobians(states, inputs)

    def _jacobians(
        self, form: UnitwiseForm, states: States, inputs: Inputs
    ) -> Jacobians:
        """Mean slopes of each unit first: A is the same for all inputs."""
        each = inputs.reshape(len(inputs) * self._count, self._base.input_dim)
        repeated = states.repeat_interleave(self._count, dim=0)
        slopes = form.slopes(form.arguments(repeated, form.reads(each)))
        mean = slopes.view(len(states), self._count, *slopes.shape[1:]).mean(1)
        units = torch.eye(self.state_dim, dtype=states.dtype, device=states.device)
        pulled = torch.einsum("isw,nsaw->niaw", form.pull_values(units), mean)
        rows = form.pull_states(pulled.flatten(0, 1))
        return rows.view(len(states), self.state_dim, self.state_dim)

    @property
    def unitwise_form(self) -> UnitwiseForm | None:
        form = self._base.unitwise_form
        return None if form is None else _MeanForm(form, self._count)


@dataclass(frozen=True, eq=False)
class _MeanForm(UnitwiseForm):
    """Arguments of all m inputs side by side; their values are averaged."""

    base: UnitwiseForm
    count: int

    def reads(self, inputs: Inputs) -> Reads:
        each = inputs.reshape(len(inputs) * self.count, -1)
        return self.base.reads(each).view(len(inputs), -1)

    def arguments(self, states: States, reads: Reads) -> Arguments:
        repeated = states.repeat_interleave(self.count, dim=0)
        each = self.base.arguments(repeated, reads.reshape(len(repeated), -1))
        return each.view(len(states), -1, each.shape[-1])

    def values(self, arguments: Arguments) -> Values:
        of_each = self.base.values(self._each(arguments))
        return of_each.view(len(arguments), self.count, *of_each.shape[1:]).mean(1)

    def slopes(self, arguments: Arguments) -> ValueSlopes:
        return self._together(self.base.slopes(self._each(arguments)), len(arguments))

    def mean_slopes(self, starts: Arguments, ends: Arguments) -> ValueSlopes | None:
        found = self.base.mean_slopes(self._each(starts), self._each(ends))
        return None if found is None else self._together(found, len(starts))

    def states(self, values: Values) -> States:
        return self.base.states(values)

    def pull_values(self, cotangents: States) -> Values:
        return self.base.pull_values(cotangents)

    def pull_states(self, cotangents: Arguments) -> States:
        each = self._each(cotangents)
        summed = each.view(len(cotangents), self.count, *each.shape[1:]).sum(1)
        return self.base.pull_states(summed)

    def pull_inputs(self, cotangents: Arguments) -> Inputs:
        return self.base.pull_inputs(self._each(cotangents)).view(len(cotangents), -1)

    def _each(self, arguments: Arguments) -> Tensor:
        """Those of each input (n m, a, w), from all side by side."""
        rows, together, width = arguments.shape
        return arguments.reshape(rows * self.count, together // self.count, width)

    def _together(self, slopes: Tensor, rows: int) -> ValueSlopes:
        """Slopes (n m, s, a, w) of each as (n, s, m a, w), divided by m."""
        values, arguments, width = slopes.shape[1:]
        apart = slopes.view(rows, self.count, values, arguments, width)
        merged = apart.transpose(1, 2).reshape(rows, values, -1, width)
        return merged / self.count
