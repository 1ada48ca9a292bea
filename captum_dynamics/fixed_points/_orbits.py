"""Points modulo a symmetry, with how large each orbit is and how much of it was met."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from captum_dynamics._typing import Counts
from captum_dynamics.dynamics import DynamicsMap
from captum_dynamics.fixed_points._points import FixedPoints
from captum_dynamics.symmetry import Symmetry, check_symmetry


@dataclass(frozen=True, eq=False)
class Orbits:
    """Points of which none is another one's image under a symmetry.

    Attributes:
        points: one of each orbit, moved to the image that stands for it.
        sizes: how many points an orbit has, exact and possibly huge.
        found: (n,) how many of them the searches found.
    """

    points: FixedPoints
    sizes: tuple[int, ...]
    found: Counts

    def __len__(self) -> int:
        """Number of orbits."""
        return len(self.points)

    def summary(self) -> str:
        """One line: orbits, and points that they stand for."""
        return (
            f"{len(self)} orbits of {sum(self.sizes)} points, of which "
            f"{int(self.found.sum())} were found"
        )


@torch.no_grad()
def find_orbits(
    dynamics: DynamicsMap, points: FixedPoints, symmetry: Symmetry
) -> Orbits:
    """Merge points that a symmetry of the dynamics moves onto each other.

    As `points.unique(symmetry=symmetry)`, but the symmetry is held against the
    dynamics at the points themselves, and residuals are those at the states returned.

    Args:
        dynamics: the map the points belong to.
        points: from any search.
        symmetry: permutations of the state that the map does not notice.

    Returns:
        One point of each orbit, the orbit's size, and how many of it were found.

    Raises:
        ValueError: the symmetry is not one of the dynamics, or of another width.

    Example:
        >>> import torch, captum_dynamics as cd
        >>> net = cd.FunctionAdapter(lambda h, x: torch.tanh(2 * h), 2, 0)
        >>> starts = torch.tensor([[-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]])
        >>> points = cd.find_fixed_points(net, starts, torch.zeros(1, 0))
        >>> swap = cd.SlotSymmetry.of(net.layout, "h")
        >>> orbits = cd.find_orbits(net, points, swap)
        >>> orbits.sizes, orbits.found.tolist()
        ((2, 1), [2, 1])
        >>> orbits.summary()
        '2 orbits of 3 points, of which 3 were found'
    """
    finite = torch.isfinite(points.states).all(-1)
    check_symmetry(dynamics, symmetry, points.states[finite], points.inputs[finite])
    groups = points.unique()._orbit_groups(symmetry)
    merged = points.unique(symmetry=symmetry)
    residuals = dynamics.residual(merged.states, merged.inputs).norm(dim=-1)
    return Orbits(
        replace(merged, residual_norms=residuals),
        symmetry.orbit_sizes(merged.states, merged.merge_radii),
        torch.bincount(groups, minlength=len(merged)),
    )
