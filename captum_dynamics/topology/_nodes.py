"""What the nodes of the graph say of their points, in plain scalars."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from captum_dynamics._typing import OtherStates, States
from captum_dynamics.fixed_points import Kind
from captum_dynamics.linearization import Linearization, Stability
from captum_dynamics.regimes import Ending, Regime
from captum_dynamics.topology._find_shape import find_shape
from captum_dynamics.topology.continua import Continuum

CENTRE_EXPONENT = 1e-6  # of a multiplier that counts as on the unit circle
# The kinds of nodes for what does not rest.
MOVING = {
    Regime.CYCLE: "cycle",
    Regime.QUASI_PERIODIC: "quasi_periodic",
    Regime.CHAOTIC: "chaotic",
}


def nodes(
    linearization: Linearization, known: OtherStates
) -> list[tuple[int, dict[str, Any]]]:
    """Number and attributes of the node of each point, in the plane of known states."""
    points = linearization.points
    plane = components(points.states, known)
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


def continuum_data(
    linearization: Linearization, continuum: Continuum
) -> dict[str, Any]:
    """What the node of a continuum says otherwise than that of a point."""
    dim = continuum.unstable_dim(linearization)
    return {
        "kind": "continuum",
        "shape": find_shape(continuum.points.states).shape.value,
        "stability": "saddle" if dim else "attractor",
        "unstable_dim": dim,
        "centre_dim": continuum.centre_dim(linearization),
        "index": 0,
        "sample": len(continuum.points),
        "multiplicity": int(continuum.points.multiplicity.sum()),
        "residual_norm": float(continuum.points.residual_norms.max()),
    }


def ending_data(ending: Ending, known: OtherStates) -> dict[str, Any]:
    """Attributes of the node of a set that moves; it stands at the first state."""
    (place,) = components(ending.states[:1], known)
    dim = unstable_dim(ending)
    data = {
        "kind": MOVING[ending.regime],
        "stability": "saddle" if dim else "attractor",
        "unstable_dim": dim,
        "period": ending.period,
        "exponent": float(ending.exponents[0]),
        "dimension": ending.dimension,
        "rotation": ending.rotation,
        "residual_norm": ending.residual_norm,
        "x": float(place[0]),
        "y": float(place[1]),
    }
    return finite(data)


def unstable_dim(ending: Ending) -> int:
    """Directions that leave a cycle; none leave sets that runs end on."""
    if ending.regime != Regime.CYCLE:
        return 0
    return int((ending.exponents > CENTRE_EXPONENT).sum())


def finite(data: dict[str, Any]) -> dict[str, Any]:
    """Leave out numbers that are not finite: JSON has no word for them."""
    return {
        name: value
        for name, value in data.items()
        if not isinstance(value, float) or math.isfinite(value)
    }


def known_states(
    linearization: Linearization,
    continua: Sequence[Continuum],
    endings: Sequence[Ending],
) -> OtherStates:
    """States of all points and endings, and samples of continua."""
    points = linearization.points.states
    samples = [continuum.points.states for continuum in continua]
    orbits = [ending.states.to(points) for ending in endings]
    return torch.cat([points, *samples, *orbits])


def components(states: States, known: OtherStates) -> Float[Tensor, "n 3"]:
    """First three principal components of known states, at any states."""
    centre = known.mean(0)
    axes = torch.linalg.svd(known - centre, full_matrices=False)[2][:3]
    # The sign of an axis is free: make its largest entry positive.
    largest = axes.abs().argmax(1)
    axes = axes * axes[torch.arange(len(axes)), largest].sign()[:, None]
    parts = (states.to(known) - centre) @ axes.T
    padded: Tensor = torch.nn.functional.pad(parts, (0, 3 - len(axes)))
    return padded
