"""How heat stays on a graph: a signature whose distances are quick and metric."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from captum_dynamics.topology._skeleton import Label, Skeleton

Numbers = NDArray[np.float64]
# Of diffusion, as in Tsitsulin et al. (2018): from single nodes to the whole graph.
TIMES = np.logspace(-2, 2, 250)


def heat_traces(graph: Skeleton) -> dict[Label, Numbers]:
    """Heat that is left, after each time, on the nodes of each label it started on.

    Each node starts with 1 and heat flows along edges, both ways, by the normalised
    Laplacian L. The sum over all labels is the heat trace of NetLSD, tr exp(-t L).
    """
    weights = (graph.orbits + graph.orbits.T).astype(float)
    degrees = weights.sum(1)
    scale = np.where(degrees > 0, degrees, 1.0) ** -0.5
    laplacian = np.diag((degrees > 0).astype(float))
    laplacian -= scale[:, None] * weights * scale
    values, vectors = np.linalg.eigh(laplacian)
    left = vectors**2 @ np.exp(-values[:, None] * TIMES)
    labels = np.array([str(label) for label in graph.labels])
    return {
        label: left[labels == str(label)].sum(0) for label in sorted(set(graph.labels))
    }


def trace_distance(first: dict[Label, Numbers], second: dict[Label, Numbers]) -> float:
    """Root mean square, over times, of the difference of all labels' traces."""
    none = np.zeros_like(TIMES)
    squares = [
        (first.get(label, none) - second.get(label, none)) ** 2
        for label in sorted({*first, *second})
    ]
    return float(np.sqrt(np.mean(sum(squares, none))))
