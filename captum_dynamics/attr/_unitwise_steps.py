"""Averages of a step's derivatives where a map acts within each unit.

Along the segment from one run to the other the arguments of each unit move straight,
so only phi's slopes are averaged, m s numbers a unit, all steps and nodes at once. What
depends on the step after it is one product with A for each step.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from captum_dynamics._execution import row_chunks
from captum_dynamics._typing import InputSequences, PerPoint, StateSequences
from captum_dynamics.adapters._base import later_any
from captum_dynamics.attr._base import Adjoints
from captum_dynamics.attr._host import Steps
from captum_dynamics.attr._quadrature import Quadrature
from captum_dynamics.attr._segment_steps import SegmentSteps
from captum_dynamics.attr._step_ends import StepEnds
from captum_dynamics.unitwise import Arguments, UnitwiseForm, ValueSlopes

BLOCK = 64 * 2**20
"""Bytes of averaged slopes that are held at once."""

Gaps = Float[Tensor, "n block s w"]


@dataclass(frozen=True, eq=False)
class UnitwiseSteps:
    """Derivatives of all steps, averaged along their segments, unit by unit."""

    ends: StepEnds
    form: UnitwiseForm
    quadrature: Quadrature

    def adjoints(self, injections: StateSequences) -> tuple[Adjoints, PerPoint]:
        """v_0 to v_T and v_t Bbar_t; and what the averages miss of v_t . change."""
        form = self.form
        gradients = torch.zeros_like(self.ends.last_inputs)
        carried = [torch.zeros_like(self.ends.first_states[:, 0])]
        missing = torch.zeros_like(carried[0][:, 0])
        read = later_any((injections != 0).any(-1))
        for block in reversed(self._blocks()):
            slopes, gaps = self._averages(block, read[:, block])
            pulled = []
            for step in reversed(range(slopes.shape[1])):
                v = carried[-1] = carried[-1] + injections[:, block][:, step]
                values = form.pull_values(v)
                missing += (values * gaps[:, step]).sum((1, 2))
                pulled.append(_through(values, slopes[:, step]))
                carried.append(form.pull_states(pulled[-1]))
            by_arguments = torch.stack(pulled[::-1], dim=1)
            by_input = form.pull_inputs(by_arguments.flatten(0, 1))
            gradients[:, block] = by_input.view_as(gradients[:, block])
        return Adjoints(torch.stack(carried[::-1], dim=1), gradients), missing

    def gradients(self, cotangents: StateSequences) -> tuple[InputSequences, PerPoint]:
        """v_t Bbar_t of given v_t, and what the averages miss of v_t . change."""
        gradients = torch.zeros_like(self.ends.last_inputs)
        missing = torch.zeros_like(cotangents[:, 0, 0])
        for block in self._blocks():
            v = cotangents[:, block]
            slopes, gaps = self._averages(block, v.any(-1))
            values = self.form.pull_values(v.flatten(0, 1))
            missing += (values.view_as(gaps) * gaps).sum((1, 2, 3))
            by_input = self.form.pull_inputs(_through(values, slopes.flatten(0, 1)))
            gradients[:, block] = by_input.view_as(gradients[:, block])
        return gradients, missing

    def drives(self) -> StateSequences:
        """Bbar_t (x_t - x^b_t)."""
        ends, form = self.ends, self.form
        drives = torch.zeros_like(ends.first_states)
        everywhere = torch.ones_like(drives[:, :, 0], dtype=torch.bool)
        for block in self._blocks():
            slopes, _ = self._averages(block, everywhere[:, block])
            at = ends.first_states[:, block].flatten(0, 1)
            both = ends.last_inputs[:, block], ends.first_inputs[:, block]
            x, x_b = (form.arguments(at, form.reads(i.flatten(0, 1))) for i in both)
            moved = (slopes.flatten(0, 1) * (x - x_b)[:, None]).sum(2)
            drives[:, block] = form.states(moved).view_as(drives[:, block])
        return drives

    def _blocks(self) -> list[slice]:
        """Cut the steps into blocks whose slopes fit in memory."""
        states, inputs = self.ends.first_states, self.ends.last_inputs
        one = self.form.slopes(
            self.form.arguments(states[:1, 0], self.form.reads(inputs[:1, 0]))
        )
        size = one.numel() * one.element_size() * len(states)
        return list(row_chunks(states.shape[1], size, BLOCK))

    def _averages(self, block: slice, chosen: Steps) -> tuple[Tensor, Gaps]:
        """Slopes and gaps of a block of steps, zero where they are not `chosen`."""
        ends = self.ends
        first, last = (
            self.form.arguments(
                states[:, block][chosen], self.form.reads(inputs[:, block][chosen])
            )
            for states, inputs in (
                (ends.first_states, ends.first_inputs),
                (ends.last_states, ends.last_inputs),
            )
        )
        found, missed = self.quadrature.mean_slopes(self.form, first, last)
        slopes = found.new_zeros(*chosen.shape, *found.shape[1:])
        gaps = missed.new_zeros(*chosen.shape, *missed.shape[1:])
        slopes[chosen], gaps[chosen] = found, missed
        return slopes, gaps


def averaged_steps(
    ends: StepEnds, quadrature: Quadrature
) -> UnitwiseSteps | SegmentSteps:
    """Unit by unit where the map has such a form, else by products with Jacobians."""
    form = ends.dynamics.unitwise_form
    if form is None:
        return SegmentSteps(ends, quadrature)
    return UnitwiseSteps(ends, form, quadrature)


def _through(values: Tensor, slopes: ValueSlopes) -> Arguments:
    """Cotangents of the arguments, from those of the values."""
    through: Tensor = torch.einsum("nsw,nsmw->nmw", values, slopes)
    return through
