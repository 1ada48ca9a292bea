"""What the nodes of the graph say of their points, in plain scalars."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from captum_dynamics._typing import States
from captum_dynamics.fixed_points import Kind
from captum_dynamics.linearization import Linearization, Stability


def nodes(linearization: Linearization) -> list[tuple[int, dict[str, Any]]]:
    """Number and attributes of the node of each point."""
    points = linearization.points
    plane = _plane(points.states)
    stability, dims = linearization.stability.tolist(), linearization.unstable_dims
    indices, radius = linearization.indices, linearization.spectral_radius
    times, values = linearization.slowest_decay, linearization.eigenvalues
    real = values.imag.abs() <= linearization.margin
    flips = (real & (values.real < -1 - linearization.margin)).sum(-1)
    named: list[tuple[int, dict[str, Any]]] = []
    for row, kind in enumerate(points.kind.tolist()):
        name = "fixed_point" if kind == Kind.FIXED else Kind(kind).name.lower()
        data: dict[str, Any] = {
            "kind": "slow_point" if kind == Kind.SLOW else name,
            "stability": Stability(stability[row]).name.lower(),
            "unstable_dim": int(dims[row]),
            "index": int(indices[row]),
            "residual_norm": float(points.residual_norms[row]),
            "flips": int(flips[row]),
            "spectral_radius": float(radius[row]),
            "multiplicity": int(points.multiplicity[row]),
            "degenerate": bool(points.degenerate[row]),
            "x": float(plane[row, 0]),
            "y": float(plane[row, 1]),
            "time_constant": float(times[row]),
        }
        named.append((row, finite(data)))
    return named


def finite(data: dict[str, Any]) -> dict[str, Any]:
    """Leave out numbers that are not finite: JSON has no word for them."""
    return {
        name: value
        for name, value in data.items()
        if not isinstance(value, float) or math.isfinite(value)
    }


def _plane(states: States) -> Tensor:
    """First two principal components (n, 2) of the points, zero where they lack."""
    centred = states - states.mean(0)
    axes = torch.linalg.svd(centred, full_matrices=False)[2][:2]
    # The sign of an axis is free: make its largest entry positive.
    largest = axes.abs().argmax(1)
    axes = axes * axes[torch.arange(len(axes)), largest].sign()[:, None]
    plane: Tensor = torch.nn.functional.pad(centred @ axes.T, (0, 2 - len(axes)))
    return plane
