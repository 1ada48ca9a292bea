"""Clouds of points whose shape is known, turned into many dimensions, with noise."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from captum_dynamics import _checks
from captum_dynamics._typing import States
from captum_dynamics.topology import Shape

Draw = Callable[[int, torch.Generator], States]
MOST_INNER = 4  # dimensions that any of the clouds takes before it is turned


def sample_cloud(
    name: str,
    count: int,
    *,
    width: int = 30,
    noise: float = 0.02,
    generator: torch.Generator | None = None,
) -> States:
    """Draw points of a known shape, with isotropic noise, in a random orientation.

    Args:
        name: a key of `CLOUDS`: "line", "ring", "arc" (300 degrees), "disc",
            "clusters" (two), "triangle", "torus" (flat, in four dimensions) or
            "doughnut" (a torus in three, radii 1 and .45). Radii and half-lengths
            are 1.
        count: number of points n.
        width: d, dimensions of the space, at least 4.
        noise: standard deviation of the noise in each dimension.
        generator: source of randomness.

    Returns:
        States (n, d), in float64.

    Raises:
        ValueError: for another name, or too small a count or width.

    Example:
        >>> import torch
        >>> generator = torch.Generator().manual_seed(0)
        >>> ring = sample_cloud("ring", 100, noise=0.0, generator=generator)
        >>> ring.shape, bool((ring.norm(dim=1) - 1).abs().max() < 1e-12)
        (torch.Size([100, 30]), True)
    """
    if name not in CLOUDS:
        raise ValueError(f"Expected `name` to be one of {', '.join(CLOUDS)}: {name!r}.")
    _checks.check_count("count", count)
    _checks.check_count("width", width, MOST_INNER)
    _checks.check_not_negative("noise", noise)
    generator = generator or torch.Generator()
    inner = _DRAWS[name](count, generator)
    states = _normal((count, width), generator) * noise
    states[:, : inner.shape[1]] += inner
    turned: Tensor = states @ torch.linalg.qr(_normal((width, width), generator))[0]
    return turned


def _normal(shape: tuple[int, int], generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def _uniform(count: int, generator: torch.Generator) -> Tensor:
    return torch.rand(count, generator=generator, dtype=torch.float64)


def _circle(angles: Tensor, radii: Tensor | float = 1.0) -> States:
    return torch.stack([angles.cos() * radii, angles.sin() * radii], dim=1)


def _turns(count: int, generator: torch.Generator, degrees: float = 360) -> Tensor:
    return math.radians(degrees) * _uniform(count, generator)


def _line(count: int, generator: torch.Generator) -> States:
    return 2 * _uniform(count, generator)[:, None] - 1


def _disc(count: int, generator: torch.Generator) -> States:
    return _circle(_turns(count, generator), _uniform(count, generator).sqrt())


def _clusters(count: int, generator: torch.Generator) -> States:
    sides = (_uniform(count, generator) < 0.5).double()[:, None]
    return 2 * sides - 1 + 0.05 * _normal((count, 1), generator)


def _triangle(count: int, generator: torch.Generator) -> States:
    # Uniform on the simplex: shares of exponential draws; edges of sqrt 3.
    draws = -torch.log1p(-torch.rand(count, 3, generator=generator).double())
    return math.sqrt(1.5) * draws / draws.sum(1, keepdim=True)


def _torus(count: int, generator: torch.Generator) -> States:
    rings = [_circle(_turns(count, generator)) for _ in range(2)]
    return torch.cat(rings, dim=1)


def _doughnut(count: int, generator: torch.Generator) -> States:
    tube = _circle(_turns(count, generator), 0.45)
    ring = _circle(_turns(count, generator), 1 + tube[:, 0])
    return torch.cat([ring, tube[:, 1:]], dim=1)


_DRAWS: dict[str, Draw] = {
    "line": _line,
    "ring": lambda n, generator: _circle(_turns(n, generator)),
    "arc": lambda n, generator: _circle(_turns(n, generator, 300)),
    "disc": _disc,
    "clusters": _clusters,
    "triangle": _triangle,
    "torus": _torus,
    "doughnut": _doughnut,
}
CLOUDS: dict[str, Shape] = {
    "line": Shape.LINE,
    "ring": Shape.RING,
    "arc": Shape.LINE,
    "disc": Shape.PLANE,
    "clusters": Shape.PLACES,
    "triangle": Shape.SIMPLEX,
    "torus": Shape.TORUS,
    "doughnut": Shape.TORUS,
}
