"""Saving findings, and reading them again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import IntEnum
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

from captum_dynamics.exceptions import FileFormatError
from captum_dynamics.export.archive import from_archive, to_archive
from captum_dynamics.findings import (
    Documents,
    Explanation,
    Findings,
    Setting,
    Visits,
    Words,
)
from captum_dynamics.fixed_points import FixedPoints, Kind
from captum_dynamics.linearization import from_jacobians
from captum_dynamics.regimes import Ending, Growth, Regime
from captum_dynamics.solvers import Status
from captum_dynamics.topology import (
    Continuum,
    FixedPointGraph,
    Shape,
    ShapeEvidence,
    SlowManifold,
    SpeedProfile,
    TransitionGraph,
)

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
        Continuum,
        Documents,
        Ending,
        Explanation,
        FixedPointGraph,
        FixedPoints,
        Growth,
        Regime,
        Setting,
        Shape,
        ShapeEvidence,
        SlowManifold,
        SpeedProfile,
        TransitionGraph,
        Visits,
        Words,
    )
}
_TYPES["Linearization"] = from_jacobians
_NODE = {"kind": str, "stability": str, "unstable_dim": int}
_EDGE = {
    "kind": str,
    "directions": int,
    "tried": int,
    "transit_steps": int,
    "verified": bool,
}
Found = TypeVar("Found", bound=Findings)


def save(findings: Findings, path: str | Path) -> Path:
    """Write findings to one .npz file."""
    return to_archive(findings, path, omit=_OMIT)


def read(path: str | Path, kind: type[Found], *, max_bytes: int) -> Found:
    """Read findings of one kind, and refuse them where their parts disagree."""
    types: dict[str, Callable[..., Any]] = {**_TYPES, kind.__name__: kind}
    found = from_archive(path, types, max_bytes=max_bytes)
    if not isinstance(found, kind):
        raise FileFormatError(f"{path} holds a {type(found).__name__}, no analysis.")
    for problem in _problems(found):
        raise FileFormatError(f"{path} holds an analysis {problem}.")
    return found


def _problems(found: Findings) -> Iterator[str]:
    """Say what parts of findings contradict each other."""
    setting, visits, words = found.setting, found.visits, found.words
    for points in (found.points, found.manifold.points):
        if points.states.shape[1] != setting.state_dim:
            yield "with points of another width than its `state_dim`"
        if points.inputs.shape[1] != setting.input_dim:
            yield "with points of another input width than its `input_dim`"
        if not _are(Kind, points.kind) or not _are(Status, points.status):
            yield "with points of no known kind or status"
    if not len(found.readout) == len(visits.centre) == setting.state_dim:
        yield "with a readout or visited states of another width than its `state_dim`"
    if found.manifold.evidence.corners.shape[1] != setting.state_dim:
        yield "with corners of another width than its `state_dim`"
    if len(visits.reference_input) != setting.input_dim:
        yield "with a reference of another width than its `input_dim`"
    if len(words.names) != len(words.projections):
        yield "with more or fewer names than words"
    if not _fit_together(found.documents):
        yield "with contributions of other sequences than its own"
    if not _is_drawn(found.graph):
        yield "with a graph of other points than its own"


def _are(kind: type[IntEnum], values: Tensor) -> bool:
    return set(values.tolist()) <= {int(member) for member in kind}


def _fit_together(documents: Documents) -> bool:
    steps = [len(names) for names in documents.tokens]
    shapes = {tuple(e.contributions.shape) for e in documents.explanations}
    return (
        documents.valid.sum(1).tolist() == steps
        and len(documents.outputs) == len(steps)
        and shapes <= {tuple(documents.valid.shape)}
    )


def _is_drawn(graph: FixedPointGraph) -> bool:
    """Whether nodes and edges carry what summary and pictures show of them."""
    nodes = [_has(data, _NODE) for _, data in graph.graph.nodes(data=True)]
    edges = [_has(data, _EDGE) for *_, data in graph.graph.edges(data=True)]
    known = range(len(graph.linearization))
    return all(nodes) and all(edges) and all(node in graph.graph for node in known)


def _has(data: Mapping[str, Any], kinds: Mapping[str, type]) -> bool:
    fractions = data.get("basin_fraction", 0.0)
    return isinstance(fractions, float) and all(
        isinstance(data.get(name), kind) for name, kind in kinds.items()
    )
