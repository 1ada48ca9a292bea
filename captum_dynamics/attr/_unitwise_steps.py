"""Averages of a step's derivatives where a map acts within each unit.

Along the segment from one run to the other the arguments of each unit move straight,
so only phi's slopes are averaged, m s numbers a unit, all steps and nodes at once. What
depends on the step after it is one product with A for each step.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from captum_dynamics._execution import row_chunks
from captum_dynamics._typing import (
    Inputs,
    InputSequences,
    PerPoint,
    States,
    StateSequences,
)
from captum_dynamics.adapters._base import later_any
from captum_dynamics.attr._base import Adjoints
from captum_dynamics.attr._host import Steps
from captum_dynamics.attr._quadrature import Quadrature
from captum_dynamics.attr._segment_steps import SegmentSteps
from captum_dynamics.attr._step_ends import StepEnds
from captum_dynamics.unitwise import Arguments, UnitwiseForm, ValueSlopes

BLOCK = 64 * 2**20
"""Bytes of averaged slopes that are held at once."""

Averages = list[tuple[Tensor, Tensor]]
"""Slopes (n, block, s, m, w) of each level, and gaps (n, block, s, w)."""


@dataclass(frozen=True, eq=False)
class Level:
    """One map of a stack, or the only one.

    Attributes:
        form: the map, written out.
        state_dim: width of its state.
        output_dim: leading columns of it that the next level reads.
    """

    form: UnitwiseForm
    state_dim: int
    output_dim: int

    def outputs(self, arguments: Arguments) -> Inputs:
        """What the next level reads."""
        return self.form.states(self.form.values(arguments))[:, : self.output_dim]


@dataclass(frozen=True, eq=False)
class UnitwiseSteps:
    """Derivatives of all steps, averaged along their segments, unit by unit.

    Each level of a stack has a segment of its own, from what it reads in one run to
    what it reads in the other.
    """

    ends: StepEnds
    levels: tuple[Level, ...]
    quadrature: Quadrature

    def adjoints(self, injections: StateSequences) -> tuple[Adjoints, PerPoint]:
        """v_0 to v_T and v_t Bbar_t; and what the averages miss of v_t . change."""
        gradients = torch.zeros_like(self.ends.last_inputs)
        carried = [torch.zeros_like(self.ends.first_states[:, 0])]
        missing = torch.zeros_like(carried[0][:, 0])
        read = later_any((injections != 0).any(-1))
        for block in reversed(self._blocks()):
            averages = self._averages(block, read[:, block])
            added = injections[:, block]
            pulled = []
            for step in reversed(range(added.shape[1])):
                carried[-1] = carried[-1] + added[:, step]
                at = [(slopes[:, step], gaps[:, step]) for slopes, gaps in averages]
                back, lowest, missed = self._pull(carried[-1], at)
                carried.append(back)
                pulled.append(lowest)
                missing += missed
            by_arguments = torch.stack(pulled[::-1], dim=1).flatten(0, 1)
            by_input = self.levels[0].form.pull_inputs(by_arguments)
            gradients[:, block] = by_input.view_as(gradients[:, block])
        return Adjoints(torch.stack(carried[::-1], dim=1), gradients), missing

    def gradients(self, cotangents: StateSequences) -> tuple[InputSequences, PerPoint]:
        """v_t Bbar_t of given v_t, and what the averages miss of v_t . change."""
        gradients = torch.zeros_like(self.ends.last_inputs)
        missing = torch.zeros_like(cotangents[:, :, 0])
        for block in self._blocks():
            v = cotangents[:, block]
            averages = self._averages(block, v.any(-1))
            at = [(own.flatten(0, 1), gaps.flatten(0, 1)) for own, gaps in averages]
            _, lowest, missed = self._pull(v.flatten(0, 1), at)
            by_input = self.levels[0].form.pull_inputs(lowest)
            gradients[:, block] = by_input.view_as(gradients[:, block])
            missing[:, block] = missed.view(v.shape[:2])
        return gradients, missing.sum(1)

    def drives(self) -> StateSequences:
        """Bbar_t (x_t - x^b_t)."""
        ends = self.ends
        drives = torch.zeros_like(ends.first_states)
        everywhere = torch.ones_like(drives[:, :, 0], dtype=torch.bool)
        for block in self._blocks():
            change = (ends.last_inputs - ends.first_inputs)[:, block].flatten(0, 1)
            parts = []
            averages = self._averages(block, everywhere[:, block])
            for level, (slopes, _) in zip(self.levels, averages, strict=True):
                moves = _moves(level, change)
                values = (slopes.flatten(0, 1) * moves[:, None]).sum(2)
                parts.append(level.form.states(values))
                change = parts[-1][:, : level.output_dim]
            drives[:, block] = torch.cat(parts, dim=1).view_as(drives[:, block])
        return drives

    def _pull(
        self, cotangents: States, averages: Averages
    ) -> tuple[States, Arguments, PerPoint]:
        """v Jbar, cotangents of the lowest level's arguments, and what is missed."""
        backs: list[Tensor] = []
        missed, read = torch.zeros_like(cotangents[:, 0]), None
        for (level, own), (slopes, gaps) in zip(
            reversed(self._divided(cotangents)), reversed(averages), strict=True
        ):
            if read is not None:
                own = own + nn.functional.pad(read, (0, own.shape[1] - read.shape[1]))
            values = level.form.pull_values(own)
            missed += (values * gaps).sum((1, 2))
            by_arguments = _through(values, slopes)
            backs.append(level.form.pull_states(by_arguments))
            if level is not self.levels[0]:
                read = level.form.pull_inputs(by_arguments)
        back = backs[0] if len(backs) == 1 else torch.cat(backs[::-1], dim=1)
        return back, by_arguments, missed

    def _blocks(self) -> list[slice]:
        """Cut the steps into blocks whose slopes fit in memory."""
        ends = self.ends
        arguments = self._arguments(ends.first_states[:1, 0], ends.first_inputs[:1, 0])
        size = sum(
            level.form.slopes(one).numel() * one.element_size()
            for level, one in zip(self.levels, arguments, strict=True)
        )
        rows, steps = ends.first_states.shape[:2]
        return list(row_chunks(steps, size * rows, BLOCK))

    def _averages(self, block: slice, chosen: Steps) -> Averages:
        """Slopes and gaps of a block of steps, zero where they are not `chosen`."""
        ends = self.ends
        first = ends.first_states[:, block][chosen], ends.first_inputs[:, block][chosen]
        last = ends.last_states[:, block][chosen], ends.last_inputs[:, block][chosen]
        averages = []
        for level, start, end in zip(
            self.levels, self._arguments(*first), self._arguments(*last), strict=True
        ):
            found, missed = self.quadrature.mean_slopes(level.form, start, end)
            slopes = found.new_zeros(*chosen.shape, *found.shape[1:])
            gaps = missed.new_zeros(*chosen.shape, *missed.shape[1:])
            slopes[chosen], gaps[chosen] = found, missed
            averages.append((slopes, gaps))
        return averages

    def _arguments(self, states: States, inputs: Inputs) -> list[Arguments]:
        """Arguments of every level, which reads the new outputs of the one below."""
        found: list[Arguments] = []
        for place, (level, own) in enumerate(self._divided(states)):
            if place > 0:
                inputs = self.levels[place - 1].outputs(found[-1])
            found.append(level.form.arguments(own, level.form.reads(inputs)))
        return found

    def _divided(self, states: States) -> list[tuple[Level, Tensor]]:
        """Each level with its part of the states, or of their cotangents."""
        parts = torch.split(states, [level.state_dim for level in self.levels], dim=1)
        return list(zip(self.levels, parts, strict=True))


def averaged_steps(
    ends: StepEnds, quadrature: Quadrature
) -> UnitwiseSteps | SegmentSteps:
    """Unit by unit where the map has such a form, else by products with Jacobians."""
    levels = []
    for dynamics in ends.dynamics.levels:
        form = dynamics.unitwise_form
        if form is None:
            return SegmentSteps(ends, quadrature)
        levels.append(Level(form, dynamics.state_dim, dynamics.output_dim))
    return UnitwiseSteps(ends, tuple(levels), quadrature)


def _moves(level: Level, change: Inputs) -> Arguments:
    """What a change of the inputs changes of the arguments."""
    still, form = change.new_zeros(len(change), level.state_dim), level.form
    before, after = (form.reads(read) for read in (torch.zeros_like(change), change))
    return form.arguments(still, after) - form.arguments(still, before)


def _through(values: Tensor, slopes: ValueSlopes) -> Arguments:
    """Cotangents of the arguments, from those of the values."""
    through: Tensor = torch.einsum("nsw,nsmw->nmw", values, slopes)
    return through
