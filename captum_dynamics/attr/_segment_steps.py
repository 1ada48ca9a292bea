"""Averages of a step's derivatives, for any map: step after step, back in time."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from captum_dynamics._typing import InputSequences, PerPoint, States, StateSequences
from captum_dynamics.attr._base import Adjoints
from captum_dynamics.attr._quadrature import Quadrature
from captum_dynamics.attr._runs import RunPair
from captum_dynamics.attr._segments import Segments


@dataclass(frozen=True, eq=False)
class SegmentSteps:
    """All steps of two runs, each a segment from one run to the other."""

    runs: RunPair
    quadrature: Quadrature

    def adjoints(self) -> tuple[Adjoints, PerPoint]:
        """v_0 to v_T and v_t Bbar_t; and what the averages miss of v_t . change."""
        runs = self.runs
        segments, changes = self._segments()
        rows, steps = runs.inputs.shape[:2]
        all_rows = torch.arange(rows * steps, device=runs.inputs.device)
        gradients = torch.zeros_like(runs.inputs)
        carried = [torch.zeros_like(runs.initial_states)]
        missing = torch.zeros_like(runs.outputs)
        for step in reversed(range(steps)):
            carried[-1] = carried[-1] + runs.injections[:, step]
            of_step = all_rows[step::steps]
            back, gradients[:, step], missed = self.quadrature.pull_back(
                segments[of_step], carried[-1], changes[of_step]
            )
            carried.append(back)
            missing += missed
        return Adjoints(torch.stack(carried[::-1], dim=1), gradients), missing

    def gradients(self, cotangents: StateSequences) -> tuple[InputSequences, PerPoint]:
        """v_t Bbar_t of given v_t, and what the averages miss of v_t . change."""
        segments, changes = self._segments()
        _, gradients, missed = self.quadrature.pull_back(
            segments, cotangents.flatten(0, 1), changes
        )
        missing = missed.view(cotangents.shape[:2]).sum(1)
        return gradients.view_as(self.runs.inputs), missing

    def drives(self) -> StateSequences:
        """Bbar_t (x_t - x^b_t)."""
        segments, changes = self._segments()
        return self.quadrature.drives(segments, changes).view_as(self.runs.states)

    def _segments(self) -> tuple[Segments, States]:
        """The n t steps as rows, and how far each takes the two runs apart."""
        runs, before = self.runs, self.runs.previous_baseline_states
        segments = Segments(
            runs.dynamics,
            before.flatten(0, 1),
            (runs.previous_states - before).flatten(0, 1),
            runs.baseline_inputs.flatten(0, 1),
            runs.input_differences.flatten(0, 1),
        )
        return segments, (runs.states - runs.baseline_states).flatten(0, 1)
