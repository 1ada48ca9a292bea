"""Searching fixed and slow points, labelling what was found, merging what is one."""

from __future__ import annotations

from captum_dynamics.fixed_points._labels import label
from captum_dynamics.fixed_points._orbits import Orbits, find_orbits
from captum_dynamics.fixed_points._points import FixedPoints, Kind
from captum_dynamics.fixed_points._search import (
    Q_SLOW,
    find_fixed_points,
    find_slow_points,
    mix_states,
)

__all__ = [
    "Q_SLOW",
    "FixedPoints",
    "Kind",
    "Orbits",
    "find_fixed_points",
    "find_orbits",
    "find_slow_points",
    "label",
    "mix_states",
]
