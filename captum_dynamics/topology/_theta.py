"""A coordinate along slow points: by local neighbourhoods, or along an axis."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from torch import Tensor

from captum_dynamics._typing import PerPoint, States

NEIGHBOURS = 12


def line_coordinate(states: States, axis: Tensor) -> PerPoint:
    """Coordinate along a line in [-1, 1], growing along the main axis."""
    along = (states - states.mean(0)) @ axis
    if len(states) > NEIGHBOURS + 1:
        embedded = locally_linear(states)
        if embedded is not None:
            ranks = along.argsort().argsort().to(embedded)
            found = embedded.argsort().argsort().to(embedded)
            agreement = torch.corrcoef(torch.stack([ranks, found]))[0, 1]
            # An embedding that folds the line back on itself is worse than the axis.
            if float(agreement.abs()) > 0.9:
                along = embedded * agreement.sign()
    return 2 * unit_range(along) - 1


def unit_range(along: PerPoint) -> PerPoint:
    """Shift and scale values to [0, 1]."""
    low, high = along.min(), along.max()
    width = (high - low).clamp_min(torch.finfo(along.dtype).tiny)
    shares: PerPoint = (along - low) / width
    return shares


def locally_linear(states: States) -> PerPoint | None:
    """One coordinate by locally linear embedding; None where neighbours form islands.

    Islands would each collapse to a point of their own.
    """
    from scipy.sparse.csgraph import connected_components
    from sklearn.manifold import LocallyLinearEmbedding
    from sklearn.neighbors import kneighbors_graph

    points = states.cpu().numpy()
    if (
        connected_components(kneighbors_graph(points, NEIGHBOURS), directed=False)[0]
        > 1
    ):
        return None
    embedding = LocallyLinearEmbedding(
        n_neighbors=NEIGHBOURS, n_components=1, eigen_solver="dense", reg=1e-3
    )
    with warnings.catch_warnings():
        # Points on an exact line give singular neighbourhoods, which `reg` mends.
        warnings.simplefilter("ignore")
        values = embedding.fit_transform(points)[:, 0]
    return torch.from_numpy(np.ascontiguousarray(values)).to(states)
