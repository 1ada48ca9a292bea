"""The layer's input at every step of a baseline run, where no baselines are given."""

from __future__ import annotations

import torch
from torch import Tensor

from captum_dynamics import _checks
from captum_dynamics._typing import Inputs
from captum_dynamics.adapters import RecurrentAdapter
from captum_dynamics.attr._session import Session

Reference = str | Tensor
"""The mean of what the layer reads, zero, or a value (1, k)."""


@torch.inference_mode(False)
def check_reference(reference: Reference, dynamics: RecurrentAdapter) -> Reference:
    """Return "mean", "zero", or a copy (1, k) of a given value in float64."""
    width = dynamics.input_dim
    if isinstance(reference, Tensor):
        given = _checks.check_inputs(
            "reference", reference.detach(), 1, width, dynamics.device
        )
        return given.double().clone()
    if reference not in ("mean", "zero"):
        raise ValueError(
            f'Expected `reference` to be "mean", "zero" or a tensor of {width} '
            f"numbers, got {reference!r}."
        )
    return reference


def reference_input(reference: Reference, session: Session) -> Inputs:
    """Layer input (1, k) of a baseline run, where the layer lives now."""
    dynamics = session.host.dynamics
    if isinstance(reference, Tensor):
        return reference.to(dynamics.device)
    if reference == "zero" or session.baselines is not None:
        zeros = torch.zeros(1, dynamics.input_dim, dtype=torch.float64)
        return zeros.to(dynamics.device)
    return session.mean_input()
