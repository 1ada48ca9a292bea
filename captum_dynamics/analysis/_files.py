"""Saving findings, and reading them again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from captum_dynamics.export.archive import from_archive, to_archive
from captum_dynamics.findings import (
    Documents,
    Explanation,
    Findings,
    Setting,
    Visits,
    Words,
)
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


def save(findings: Findings, path: str | Path) -> Path:
    """Write findings to one .npz file."""
    return to_archive(findings, path, omit=_OMIT)


def read(path: str | Path, kind: type[Findings]) -> Any:
    """Read findings of one kind, or whatever else of ours the file holds."""
    return from_archive(path, {**_TYPES, kind.__name__: kind})
