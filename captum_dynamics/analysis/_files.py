"""Saving an analysis, and loading it again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from captum_dynamics.analysis._result import (
    Analysis,
    Documents,
    Explanation,
    Setting,
    Visits,
    Words,
)
from captum_dynamics.exceptions import FileFormatError
from captum_dynamics.export.archive import from_archive, to_archive
from captum_dynamics.fixed_points import FixedPoints
from captum_dynamics.linearization import from_jacobians
from captum_dynamics.topology import FixedPointGraph, SlowManifold

# Worked out again from the Jacobians: they are three quarters of the numbers.
_OMIT = {
    "Linearization": (
        "eigenvalues",
        "right_eigenvectors",
        "left_eigenvectors",
        "condition",
    )
}
_TYPES: dict[str, Callable[..., Any]] = {
    known.__name__: known
    for known in (
        Analysis,
        Documents,
        Explanation,
        FixedPointGraph,
        FixedPoints,
        Setting,
        SlowManifold,
        Visits,
        Words,
    )
}
_TYPES["Linearization"] = from_jacobians


def save(analysis: Analysis, path: str | Path) -> Path:
    """Write an analysis to one .npz file."""
    return to_archive(analysis, path, omit=_OMIT)


def load(path: str | Path) -> Analysis:
    """Read an analysis that `Analysis.save` wrote.

    Raises:
        FileNotFoundError: when there is no such file.
        FileFormatError: when the file is truncated, foreign, or of a newer version.
    """
    result = from_archive(path, _TYPES)
    if not isinstance(result, Analysis):
        raise FileFormatError(f"{path} holds a {type(result).__name__}, no analysis.")
    return result
