"""Averages of a step's derivatives, for any map: step after step, back in time."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch

from captum_dynamics._typing import InputSequences, PerPoint, States, StateSequences
from captum_dynamics.attr._base import Adjoints
from captum_dynamics.attr._quadrature import Quadrature
from captum_dynamics.attr._segments import Segments
from captum_dynamics.attr._step_ends import StepEnds


@dataclass(frozen=True, eq=False)
class SegmentSteps:
    """Derivatives of all steps, averaged along their segments."""

    ends: StepEnds
    quadrature: Quadrature

    def adjoints(self, injections: StateSequences) -> tuple[Adjoints, PerPoint]:
        """v_0 to v_T and v_t Bbar_t; and what the averages miss of v_t . change."""
        segments, changes = self._segments
        rows, steps = injections.shape[:2]
        all_rows = torch.arange(rows * steps, device=injections.device)
        gradients = torch.zeros_like(self.ends.last_inputs)
        carried = [torch.zeros_like(self.ends.first_states[:, 0])]
        missing = torch.zeros_like(carried[0][:, 0])
        for step in reversed(range(steps)):
            carried[-1] = carried[-1] + injections[:, step]
            of_step = all_rows[step::steps]
            back, gradients[:, step], missed = self.quadrature.pull_back(
                segments[of_step], carried[-1], changes[of_step]
            )
            carried.append(back)
            missing += missed
        return Adjoints(torch.stack(carried[::-1], dim=1), gradients), missing

    def gradients(self, cotangents: StateSequences) -> tuple[InputSequences, PerPoint]:
        """v_t Bbar_t of given v_t, and what the averages miss of v_t . change."""
        segments, changes = self._segments
        _, gradients, missed = self.quadrature.pull_back(
            segments, cotangents.flatten(0, 1), changes
        )
        missing = missed.view(cotangents.shape[:2]).sum(1)
        return gradients.view_as(self.ends.last_inputs), missing

    def drives(self) -> StateSequences:
        """Bbar_t (x_t - x^b_t)."""
        segments, changes = self._segments
        drives = self.quadrature.drives(segments, changes)
        return drives.view_as(self.ends.first_states)

    @cached_property
    def _segments(self) -> tuple[Segments, States]:
        """The n t steps as rows, and how far each takes the map's values apart."""
        segments = self.ends.segments
        return segments, segments.changes()
