"""Holes of a set of points: bars of Vietoris-Rips persistence, where gudhi is there."""

from __future__ import annotations

import importlib.util

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
# Over this field a Klein bottle has one loop and a torus two; over Z2 both have two.
FIELD = 3


def can_find_holes() -> bool:
    """Whether gudhi, of the `topology` extra, is installed."""
    return importlib.util.find_spec("gudhi") is not None


def find_bars(distances: Numbers, *, dim: int = 1, reach: float = np.inf) -> Numbers:
    """Births and deaths (b, 2) of holes, the largest ratio of death to birth first.

    A hole is born where balls around the points first surround it and dies where they
    first fill it.

    Args:
        distances: symmetric distances (n, n) of the points.
        dim: 1 for loops, 2 for cavities.
        reach: distance beyond which nothing is computed, which saves much: what lasts
            until there dies there. By default that at which one point reaches all
            others, since there are no holes beyond.

    References:
        Edelsbrunner and Harer (2010), Computational Topology, chapter VII.
        Boissonnat and Pritam (2020), Edge collapse and persistence of flag complexes.
    """
    import gudhi

    reach = min(reach, float(distances.max(axis=1).min()))
    tree = gudhi.RipsComplex(
        distance_matrix=distances, max_edge_length=reach
    ).create_simplex_tree(max_dimension=1)
    tree.collapse_edges(nb_iterations=3)
    tree.expansion(dim + 1)
    # Holes of the complex's own dimension are left out, unless it has none higher.
    tree.compute_persistence(
        homology_coeff_field=FIELD, persistence_dim_max=tree.dimension() <= dim
    )
    bars = np.asarray(tree.persistence_intervals_in_dimension(dim), dtype=float)
    bars = np.minimum(bars.reshape(-1, 2), reach)
    bars = bars[bars[:, 0] > 0]
    order = np.argsort(-(bars[:, 1] / bars[:, 0]), kind="stable")
    ordered: Numbers = bars[order]
    return ordered
