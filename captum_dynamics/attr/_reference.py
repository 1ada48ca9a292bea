"""The layer's input at every step of a baseline run, where no baselines are given."""

from __future__ import annotations

import torch
from torch import Tensor

from captum_dynamics import _checks
from captum_dynamics._typing import Inputs
from captum_dynamics.adapters import RecurrentAdapter
from captum_dynamics.attr._session import Session

Reference = str | Tensor
"""The mean of what the layer reads, the mean map, zero, or a value (1, k)."""

MEAN_MAP = "mean map"
WORDS = 32
"""Inputs that a mean map is the mean over; contributions cost as many times more."""


@torch.inference_mode(False)
def check_reference(reference: Reference, dynamics: RecurrentAdapter) -> Reference:
    """Return the name of a reference, or a copy (1, k) of a given value in float64."""
    width = dynamics.input_dim
    if isinstance(reference, Tensor):
        given = _checks.check_inputs(
            "reference", reference.detach(), 1, width, dynamics.device
        )
        return given.double().clone()
    if reference not in ("mean", MEAN_MAP, "zero"):
        raise ValueError(
            f'Expected `reference` to be "mean", "mean map", "zero" or a tensor of '
            f"{width} numbers, got {reference!r}."
        )
    if reference == MEAN_MAP and not dynamics.one_map:
        raise ValueError(
            'Expected `reference` of a bidirectional layer to be "mean", "zero" or a '
            'tensor, got "mean map", which is the mean of one map\'s steps.'
        )
    return reference


def reference_input(
    reference: Reference, session: Session, generator: torch.Generator | None = None
) -> Inputs:
    """Layer input (1, k) of a baseline run, or those (m, k) of a mean map."""
    dynamics = session.host.dynamics
    if isinstance(reference, Tensor):
        return reference.to(dynamics.device)
    if reference == "zero" or session.baselines is not None:
        zeros = torch.zeros(1, dynamics.input_dim, dtype=torch.float64)
        return zeros.to(dynamics.device)
    if reference == MEAN_MAP:
        return session.sample_inputs(WORDS, generator or torch.Generator())
    return session.mean_input()
