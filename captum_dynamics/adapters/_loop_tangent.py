"""The derivative of a closed loop, by the chain rule through its feedback."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from captum_dynamics import _linalg
from captum_dynamics._typing import InputJacobians, Inputs, Jacobians, Outputs, States
from captum_dynamics.adapters._base import RecurrentAdapter
from captum_dynamics.adapters._closed_form import ClosedTangent
from captum_dynamics.adapters.feedback import Feedback, Slopes


@dataclass(frozen=True, eq=False)
class LoopTangent(ClosedTangent):
    """dh' = A dh + B (dx + du), dx' = V C dh', with C the columns of the output.

    Attributes:
        base: the layer, A and B at `states` under what it `read`.
        feedback: V at the new `outputs`.
        states: the layer's states (n, d).
        read: what it reads (n, k): what is fed back, and the nudge.
        outputs: what it gives out (n, m).
        driven: whether the loop has an input of its own, added to what is fed back.
    """

    base: RecurrentAdapter
    feedback: Feedback
    states: States
    read: Inputs
    outputs: Outputs
    driven: bool

    def select(self, rows: Tensor) -> LoopTangent:
        return LoopTangent(
            self.base,
            self.feedback,
            self.states[rows],
            self.read[rows],
            self.outputs[rows],
            self.driven,
        )

    def jacobians(self) -> Jacobians:
        by_state = self.base.jacobians(self.states, self.read)
        by_input = self.base.input_jacobians(self.states, self.read)
        return self._closed(torch.cat([by_state, by_input], dim=-1), self._slopes())

    def input_jacobians(self) -> InputJacobians:
        by_input = self.base.input_jacobians(self.states, self.read)
        found = self._closed(by_input, self._slopes())
        return found if self.driven else found[..., :0]

    def push(
        self, state_tangents: States, input_tangents: Inputs | None = None
    ) -> States:
        width = self.base.state_dim
        own, fed = state_tangents[:, :width], state_tangents[:, width:]
        if self.driven and input_tangents is not None:
            fed = fed + input_tangents
        new = self.base.tangent(self.states, self.read).push(own, fed)
        output = new[:, self.base.output_columns]
        return torch.cat([new, self.feedback.push(self.outputs, output)], dim=-1)

    def pull(self, cotangents: States) -> tuple[States, Inputs]:
        width = self.base.state_dim
        own, fed = cotangents[:, :width].clone(), cotangents[:, width:]
        own[:, self.base.output_columns] += self.feedback.pull(self.outputs, fed)
        by_state, by_input = self.base.tangent(self.states, self.read).pull(own)
        pulled = torch.cat([by_state, by_input], dim=-1)
        return pulled, by_input if self.driven else by_input[:, :0]

    def newton_direction(self, residuals: States) -> States:
        """Solve (A + B V C - I) p = -g_h - B (g_x - V C g_h); x then follows.

        The lower rows say what is fed back: it moves by p_x = g_x + V C (p_h - g_h).
        """
        width, columns = self.base.state_dim, self.base.output_columns
        own, fed = residuals[:, :width], residuals[:, width:]
        by_input = self.base.input_jacobians(self.states, self.read)
        slopes = self._slopes()
        matrices = self.base.jacobians(self.states, self.read).clone()
        matrices[..., columns] += by_input @ slopes
        matrices.diagonal(dim1=-2, dim2=-1).sub_(1)
        ahead = fed - _times(slopes, own[:, columns])
        hidden = _linalg.solve(matrices, -own - _times(by_input, ahead))
        followed = ahead + _times(slopes, hidden[:, columns])
        return torch.cat([hidden, followed], dim=-1)

    def _closed(self, new: Tensor, slopes: Slopes) -> Tensor:
        """Rows of what is fed back below those of the new state."""
        return torch.cat([new, slopes @ new[:, self.base.output_columns]], dim=1)

    def _slopes(self) -> Slopes:
        return self.feedback.slopes(self.outputs, self.base.input_dim)


def _times(matrices: Tensor, vectors: Tensor) -> Tensor:
    return (matrices @ vectors[..., None])[..., 0]
