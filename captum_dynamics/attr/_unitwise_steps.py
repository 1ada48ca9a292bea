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
from captum_dynamics.attr._base import Adjoints
from captum_dynamics.attr._quadrature import Quadrature
from captum_dynamics.attr._runs import RunPair
from captum_dynamics.unitwise import Arguments, UnitwiseForm, ValueSlopes

BLOCK = 64 * 2**20
"""Bytes of averaged slopes that are held at once."""

Gaps = Float[Tensor, "n block s w"]


@dataclass(frozen=True, eq=False)
class UnitwiseSteps:
    """All steps of two runs, for a map in unitwise form."""

    runs: RunPair
    form: UnitwiseForm
    quadrature: Quadrature

    def adjoints(self) -> tuple[Adjoints, PerPoint]:
        """v_0 to v_T and v_t Bbar_t; and what the averages miss of v_t . change."""
        runs, form = self.runs, self.form
        gradients = torch.zeros_like(runs.inputs)
        missing = torch.zeros_like(runs.outputs)
        carried = [torch.zeros_like(runs.initial_states)]
        for block in reversed(self._blocks()):
            slopes, gaps = self._averages(block, runs.mattering[:, block])
            pulled = []
            for step in reversed(range(slopes.shape[1])):
                v = carried[-1] = carried[-1] + runs.injections[:, block][:, step]
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
        gradients = torch.zeros_like(self.runs.inputs)
        missing = torch.zeros_like(self.runs.outputs)
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
        runs, form = self.runs, self.form
        drives = torch.zeros_like(runs.states)
        everywhere = torch.ones_like(runs.mattering)
        for block in self._blocks():
            slopes, _ = self._averages(block, everywhere[:, block])
            at = runs.previous_baseline_states[:, block].flatten(0, 1)
            both = runs.inputs[:, block], runs.baseline_inputs[:, block]
            x, x_b = (form.arguments(at, form.reads(i.flatten(0, 1))) for i in both)
            moved = (slopes.flatten(0, 1) * (x - x_b)[:, None]).sum(2)
            drives[:, block] = form.states(moved).view_as(drives[:, block])
        return drives

    def _blocks(self) -> list[slice]:
        """Cut the steps into blocks whose slopes fit in memory."""
        runs = self.runs
        one = self.form.slopes(
            self.form.arguments(
                runs.initial_states[:1], self.form.reads(runs.inputs[:1, 0])
            )
        )
        size = one.numel() * one.element_size() * len(runs)
        return list(row_chunks(runs.inputs.shape[1], size, BLOCK))

    def _averages(self, block: slice, chosen: Tensor) -> tuple[Tensor, Gaps]:
        """Slopes and gaps of a block of steps, zero where they are not `chosen`."""
        runs = self.runs
        starts, ends = (
            self.form.arguments(
                states[:, block][chosen], self.form.reads(inputs[:, block][chosen])
            )
            for states, inputs in (
                (runs.previous_baseline_states, runs.baseline_inputs),
                (runs.previous_states, runs.inputs),
            )
        )
        found, missed = self.quadrature.mean_slopes(self.form, starts, ends)
        slopes = found.new_zeros(*chosen.shape, *found.shape[1:])
        gaps = missed.new_zeros(*chosen.shape, *missed.shape[1:])
        slopes[chosen], gaps[chosen] = found, missed
        return slopes, gaps


def _through(values: Tensor, slopes: ValueSlopes) -> Arguments:
    """Cotangents of the arguments, from those of the values."""
    through: Tensor = torch.einsum("nsw,nsmw->nmw", values, slopes)
    return through
