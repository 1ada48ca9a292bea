"""How alike the states of networks are on the same inputs, whatever their topology."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from captum_dynamics import _checks
from captum_dynamics.matching._alignment import (
    OthersVisited,
    Visited,
    align_canonical,
    centred,
)

Distances = Float[Tensor, "n n"]


@torch.no_grad()
def linear_cka(first_states: Visited, second_states: OthersVisited) -> float:
    """Compare states by their inner products: linear centred kernel alignment.

    |X'Y|^2 / (|X'X| |Y'Y|) in Frobenius norms, of centred states X and Y. It is 1 where
    one is the other, turned, shifted and scaled as a whole, and 0 where no direction of
    one correlates with any of the other. Directions count by their variance: a network
    that stretches one of them differs.

    Args:
        first_states: states (t, d) visited by the first network.
        second_states: states (t, e) of the second one at the same times of the same
            inputs.

    Returns:
        A number between 0 and 1.

    Raises:
        ValueError: when the states are not one row for one row, fewer than two, or do
            not vary.

    References:
        Kornblith, Norouzi, Lee and Hinton (2019), Similarity of neural network
        representations revisited, ICML, equation 3 with linear kernels.

    Example:
        >>> import torch
        >>> visited = torch.rand(20, 2, generator=torch.Generator().manual_seed(0))
        >>> round(linear_cka(visited, 3 * visited.flip(1) + 1), 6)
        1.0
    """
    first, second = centred(first_states, second_states)
    shared = torch.linalg.matrix_norm(first.T @ second).square()
    own = torch.linalg.matrix_norm(first.T @ first)
    return float(shared / (own * torch.linalg.matrix_norm(second.T @ second)))


def svcca(
    first_states: Visited, second_states: OthersVisited, *, variance: float = 0.99
) -> float:
    """Compare states by the mean canonical correlation of their principal components.

    The leading components of each network are whitened, so that each counts the same
    however small its variance; the network with fewer of them decides how many
    correlations there are. `align_canonical` gives the correlations one by one.

    Args:
        first_states: states (t, d) visited by the first network.
        second_states: states (t, e) of the second one at the same times of the same
            inputs.
        variance: share of the variance that the principal components must hold.

    Returns:
        A number between 0 and 1.

    Raises:
        ValueError: as `align_canonical`.

    References:
        Raghu, Gilmer, Yosinski and Sohl-Dickstein (2017), SVCCA, NeurIPS.

    Example:
        >>> import torch
        >>> visited = torch.rand(50, 2, generator=torch.Generator().manual_seed(0))
        >>> sheared = visited @ torch.tensor([[1.0, 5.0, 0.0], [0.0, 1.0, 2.0]])
        >>> round(svcca(visited, sheared, variance=1.0), 6)
        1.0
    """
    alignment = align_canonical(first_states, second_states, variance=variance)
    return float(alignment.correlations.mean())


def representation_distances(
    states: Sequence[Tensor],
    *,
    similarity: Callable[[Tensor, Tensor], float] = svcca,
) -> Distances:
    """Distances, one minus the similarity, between the states of many networks.

    Args:
        states: of n networks, states (t, d) each, at the same times of the same inputs.
            Widths d may differ.
        similarity: `svcca` as in the reference, `linear_cka`, or a function of your
            own, symmetric, and 1 at most, for equal states.

    Returns:
        Distances (n, n) in float64, with zeros on the diagonal.

    Raises:
        ValueError: for no states, or as the similarity.

    References:
        Maheswaranathan et al. (2019), Universality and individuality in neural dynamics
        across large populations of recurrent networks, NeurIPS, figure 1c.

    Example:
        >>> import torch
        >>> generator = torch.Generator().manual_seed(0)
        >>> one, other = torch.rand(2, 50, 3, generator=generator)
        >>> distances = representation_distances([one, 2 * one, other])
        >>> [round(distance, 6) for distance in distances[0].tolist()[:2]]
        [0.0, 0.0]
        >>> bool(distances[0, 2] > 0.5)
        True
    """
    if not len(states):
        raise ValueError("Expected `states` of at least one network, got none.")
    distances = torch.zeros(len(states), len(states), dtype=torch.float64)
    for row, first in enumerate(states):
        for column in range(row):
            # Rounding may leave a similarity a little above 1.
            distances[row, column] = max(0.0, 1 - similarity(first, states[column]))
    return distances + distances.T


def embed_distances(distances: Distances, *, dims: int = 2) -> Float[Tensor, "n dims"]:
    """Place things in a plane such that they are about as far apart as they should be.

    Classical multidimensional scaling: exact where the distances are those of points in
    `dims` dimensions, and the best of all projections of points in more.

    Args:
        distances: symmetric, with zeros on the diagonal, such as those of
            `representation_distances` or `topology.graph_distances`.
        dims: dimensions of the plane.

    Returns:
        Places (n, dims) in float64, centred, those of most variance first.

    Raises:
        ValueError: when the distances are no square matrix of that kind.

    References:
        Torgerson (1952), Multidimensional scaling I, Psychometrika 17.

    Example:
        >>> import torch
        >>> line = torch.tensor([[0.0, 3.0, 4.0], [3.0, 0.0, 1.0], [4.0, 1.0, 0.0]])
        >>> places = embed_distances(line, dims=1)
        >>> torch.cdist(places, places).round(decimals=6).tolist()[0]
        [0.0, 3.0, 4.0]
    """
    _checks.check_count("dims", dims)
    _check_distances(distances)
    count = len(distances)
    squares = distances.double().square()
    centring = torch.eye(count).to(squares) - 1 / count
    products = -0.5 * centring @ squares @ centring
    sizes, axes = torch.linalg.eigh(products)
    leading = axes[:, -dims:].flip(1) * sizes[-dims:].flip(0).clamp(min=0).sqrt()
    # Fewer things than dimensions leave the last dimensions empty.
    return torch.nn.functional.pad(leading, (0, dims - leading.shape[1]))


def _check_distances(distances: Distances) -> None:
    _checks.check_floating("distances", distances)
    _checks.check_finite("distances", distances)
    square = distances.ndim == 2 and distances.shape[0] == distances.shape[1]
    if not square or not len(distances):
        raise ValueError(
            f"Expected `distances` to be a square matrix, got shape "
            f"{tuple(distances.shape)}."
        )
    symmetric = torch.allclose(distances, distances.T)
    if not symmetric or bool((distances < 0).any() or distances.diagonal().any()):
        raise ValueError(
            "Expected `distances` to be symmetric, not negative, and zero on the "
            "diagonal."
        )
