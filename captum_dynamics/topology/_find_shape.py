"""Deciding what shape points form."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from captum_dynamics import _checks
from captum_dynamics._typing import States
from captum_dynamics.topology._shape_measures import Measured, measure
from captum_dynamics.topology._shape_rules import decide
from captum_dynamics.topology._simplex import Inscribed
from captum_dynamics.topology.shapes import Shape, ShapeEvidence, nothing

LEAST_POINTS = 20  # below these a claim would rest on too little
KEPT_LOOPS = 64


def find_shape(states: States) -> ShapeEvidence:
    """Decide what shape points form: line, ring, plane, simplex, torus, or none.

    Components as thin as isotropic noise are left out; local dimensions are counted in
    two ways; loops are looked for by persistent homology among up to 60 landmarks, 300
    for surfaces. Where numbers contradict each other the verdict is 'undecided'.
    Rotations, shifts and scales change nothing.

    Args:
        states: points (n, d), some hundreds: of a surface 400 or more, of a torus with
            noise 1,000.

    Returns:
        The verdict with its numbers. Without gudhi, a ring, a surface or a torus is
        'undecided', and a line is one only where its ends are far apart.

    Raises:
        ValueError: when the states are no finite matrix.

    References:
        Carlsson (2009), Topology and data, Bulletin of the AMS 46.
        Aitken et al. (2020), The geometry of integration in text classification RNNs,
        arXiv 2010.15114: simplices.

    Example:
        >>> import torch
        >>> angles = torch.linspace(0, 6.2, 80, dtype=torch.float64)
        >>> arc = torch.stack([angles.cos(), angles.sin()], dim=1)[:60]
        >>> find_shape(arc).shape.value
        'line'
    """
    _checks.check_floating("states", states)
    if states.ndim != 2:
        raise ValueError(
            f"Expected `states` to have shape (n, d), got {tuple(states.shape)}."
        )
    _checks.check_finite("states", states)
    if len(states) < LEAST_POINTS:
        return nothing(f"{len(states)} points are too few", states)
    points = states.detach().cpu().double().numpy()
    size = float(np.abs(points - points.mean(0)).max())
    if size <= 1e-12 * (1 + float(np.abs(points).max())):
        reason = "all points are in one place"
        return replace(nothing(reason, states), shape=Shape.PLACES, places=1)
    return _evidence(states, measure(points / size), size)


def _evidence(states: States, measured: Measured, size: float) -> ShapeEvidence:
    """The verdict with its numbers, in the units of the states."""
    shape, reason = decide(measured)
    simplex = measured.simplex or Inscribed([], float("nan"), float("nan"))
    loops = np.zeros((0, 2)) if measured.loops is None else measured.loops
    return ShapeEvidence(
        shape,
        reason,
        points=len(states),
        landmarks=len(measured.distances),
        dimension=measured.local.agreed,
        participation=measured.local.participation,
        local_axes=measured.local.axes,
        gap=float("nan"),
        slow_modes=0,
        angle=float("nan"),
        loops=torch.from_numpy(loops[:KEPT_LOOPS] * size),
        longest_edge=measured.longest * size,
        leaves=measured.leaves,
        places=measured.places,
        filled=simplex.filled,
        held=simplex.held,
        corners=states[simplex.corners].detach(),
        homology=measured.loops is not None,
    )
