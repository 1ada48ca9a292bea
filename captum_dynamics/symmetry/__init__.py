"""Permutations of a state that the dynamics do not notice, and points modulo them."""

from __future__ import annotations

from captum_dynamics.symmetry._base import Symmetry
from captum_dynamics.symmetry._check import check_symmetry
from captum_dynamics.symmetry._orbits import orbit_groups
from captum_dynamics.symmetry._permutations import PermutationSymmetry
from captum_dynamics.symmetry._slots import SlotSymmetry

__all__ = [
    "PermutationSymmetry",
    "SlotSymmetry",
    "Symmetry",
    "check_symmetry",
    "orbit_groups",
]
