"""A space that two models share, from trajectories of both on the same inputs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from captum_dynamics import _checks

Visited = Float[Tensor, "t d"]
OthersVisited = Float[Tensor, "t e"]
SMALLEST_SHARE = 1e-12  # of the variance: what is left by rounding is no component


@dataclass(frozen=True, eq=False)
class Alignment:
    """Linear maps of the states of two models to features they share.

    `SharedFeatures(alignment.first, alignment.second)` matches points by it.

    Attributes:
        first_mean: of the first model's states (d,).
        first_axes: columns (d, f) that read features off the first model's states.
        second_mean: of the second model's states (e,).
        second_axes: the same for the second model (e, f).
        correlations: between the two models' values of each feature (f,), over the
            states that were aligned. A low one means: not shared.
    """

    first_mean: Float[Tensor, " d"]
    first_axes: Float[Tensor, "d f"]
    second_mean: Float[Tensor, " e"]
    second_axes: Float[Tensor, "e f"]
    correlations: Float[Tensor, " f"]

    def first(self, states: Tensor) -> Tensor:
        """Features (n, f) of states (n, d) of the first model."""
        return (states.to(self.first_mean) - self.first_mean) @ self.first_axes

    def second(self, states: Tensor) -> Tensor:
        """Features (n, f) of states (n, e) of the second model."""
        return (states.to(self.second_mean) - self.second_mean) @ self.second_axes


@torch.no_grad()
def align_procrustes(first_states: Visited, second_states: OthersVisited) -> Alignment:
    """Turn the states of two models onto each other, keeping distances.

    Both are centred and brought to unit mean square; then each is turned so that the
    mean square distance of states of the same time is least. Of the wider model, only
    as many dimensions are kept as the other one has: those with most in common.

    Args:
        first_states: states (t, d) visited by the first model.
        second_states: states (t, e) of the second one at the same times of the same
            inputs.

    Returns:
        The alignment, with min(d, e) features.

    Raises:
        ValueError: when the states are not one row for one row, fewer than two, or do
            not vary.

    References:
        Schönemann (1966), Psychometrika 31; Williams et al. (2021), Generalized shape
        metrics on neural representations, NeurIPS.

    Example:
        >>> import torch
        >>> visited = torch.rand(20, 2, generator=torch.Generator().manual_seed(0))
        >>> turned = 3 * visited.flip(1) + 1
        >>> alignment = align_procrustes(visited, turned)
        >>> gap = alignment.first(visited) - alignment.second(turned)
        >>> bool(gap.abs().max() < 1e-5)
        True
    """
    first, second = centred(first_states, second_states)
    sizes = [states.square().sum(1).mean().sqrt() for states in (first, second)]
    u, _, v = torch.linalg.svd(
        first.T @ second / (sizes[0] * sizes[1]), full_matrices=False
    )
    axes = u / sizes[0], v.T / sizes[1]
    return _alignment(first_states, second_states, axes)


@torch.no_grad()
def align_canonical(
    first_states: Visited, second_states: OthersVisited, *, variance: float = 0.99
) -> Alignment:
    """Find the directions in which the states of two models correlate best (SVCCA).

    The leading principal components of each are whitened, and their canonical variates
    are the features, each times its correlation, so that what is not shared weighs
    little. Unlike `align_procrustes`, the models may stretch the space differently.

    Args:
        first_states: states (t, d) visited by the first model.
        second_states: states (t, e) of the second one at the same times of the same
            inputs.
        variance: share of the variance that the principal components must hold.

    Returns:
        The alignment, with as many features as the smaller number of components.

    Raises:
        ValueError: when the states are not one row for one row, fewer than two, or do
            not vary, or when `variance` is not in (0, 1].

    References:
        Raghu et al. (2017), SVCCA, NeurIPS; Hotelling (1936), Relations between two
        sets of variates, Biometrika 28.

    Example:
        >>> import torch
        >>> visited = torch.rand(50, 2, generator=torch.Generator().manual_seed(0))
        >>> sheared = visited @ torch.tensor([[1.0, 5.0, 0.0], [0.0, 1.0, 2.0]])
        >>> alignment = align_canonical(visited, sheared, variance=1.0)
        >>> alignment.correlations.round().tolist()
        [1.0, 1.0]
    """
    if not 0 < variance <= 1:
        raise ValueError(f"Expected `variance` in (0, 1], got {variance}.")
    first, second = centred(first_states, second_states)
    whiteners = _whitener(first, variance), _whitener(second, variance)
    cross = (first @ whiteners[0]).T @ (second @ whiteners[1]) / len(first)
    u, correlations, v = torch.linalg.svd(cross, full_matrices=False)
    axes = whiteners[0] @ u * correlations, whiteners[1] @ v.T * correlations
    return _alignment(first_states, second_states, axes)


def centred(first: Visited, second: OthersVisited) -> tuple[Tensor, Tensor]:
    for name, states in (("first_states", first), ("second_states", second)):
        _checks.check_floating(name, states)
        if states.ndim != 2 or len(states) != len(first) or len(states) < 2:
            raise ValueError(
                f"Expected `{name}` to have shape (t, d), t the same for both and at "
                f"least 2, got {tuple(states.shape)}."
            )
        _checks.check_finite(name, states)
        if not bool((states != states[:1]).any()):
            raise ValueError(f"Expected `{name}` to vary, got one state only.")
    first, second = first.double(), second.double()
    return first - first.mean(0), second - second.mean(0)


def _whitener(states: Tensor, variance: float) -> Tensor:
    """Columns that give the leading principal components, each of variance 1."""
    _, sizes, axes = torch.linalg.svd(states / len(states) ** 0.5, full_matrices=False)
    held = sizes.square().cumsum(0) / sizes.square().sum()
    # The component that reaches the share is still needed.
    count = int((held < variance - SMALLEST_SHARE).sum()) + 1
    whitener: Tensor = axes[:count].T / sizes[:count]
    return whitener


def _alignment(
    first_states: Visited, second_states: OthersVisited, axes: tuple[Tensor, Tensor]
) -> Alignment:
    first, second = centred(first_states, second_states)
    features = first @ axes[0], second @ axes[1]
    scale = features[0].norm(dim=0) * features[1].norm(dim=0)
    products = (features[0] * features[1]).sum(0)
    correlations = torch.where(scale > 0, products / scale, 0.0)
    return Alignment(
        first_states.double().mean(0),
        axes[0],
        second_states.double().mean(0),
        axes[1],
        correlations,
    )
