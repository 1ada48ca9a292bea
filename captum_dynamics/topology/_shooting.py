"""Multiple shooting: orbits that lead from one saddle to another.

Of a trajectory that ends at a saddle q, the part along q's unstable directions goes to
zero. So an orbit x_0, ..., x_T and a direction v on the unstable sphere of p are sought
with

    x_0 = p + axes v,   x_{t+1} = F(x_t),   L_q^T (x_T - q) = 0,

L_q a basis of the unstable left eigenspace of q (projection boundary conditions: Beyn
1990, IMA J. Numer. Anal. 10), T so large that x_T is close to q. All its states are
unknowns, so that slow saddles and long ways do no harm, and Newton's method may start
from a trajectory that misses q by far, if only it goes on from there to q by a jump.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from captum_dynamics import _linalg
from captum_dynamics._typing import Mask, States
from captum_dynamics.topology._flow import Flow
from captum_dynamics.topology._sweeps import Jumps, Missed, Orbits, newton_step

EXACT = 1e-10  # of the largest jump relative to 1 + |x|: an orbit, to rounding
LARGEST_CHANGE = 0.3  # of a state in one step, relative to the way between the saddles

Directions = Float[Tensor, "n u"]


@dataclass(frozen=True, eq=False)
class Aims:
    """Ways from one saddle to another, each to be made an orbit.

    Attributes:
        goals: where they lead to (n, d).
        left: orthonormal bases (n, v, d), v = u - 1, of the unstable left eigenspaces
            there.
        centres: where they start from (n, d).
        axes: the unstable axes there (n, u, d).
        directions: in which they leave (n, u), of unit length.
        orbits: their states (t, n, d), after one another.
    """

    goals: States
    left: Float[Tensor, "n v d"]
    centres: States
    axes: Float[Tensor, "n u d"]
    directions: Directions
    orbits: Orbits

    @classmethod
    def joined(cls, parts: Sequence[Aims]) -> Aims:
        """All ways of several, which are equally long."""
        rows = ("goals", "left", "centres", "axes", "directions")
        together = {n: torch.cat([getattr(part, n) for part in parts]) for n in rows}
        return cls(**together, orbits=torch.cat([part.orbits for part in parts], 1))

    def __len__(self) -> int:
        """Number of ways."""
        return len(self.centres)

    def __getitem__(self, rows: Tensor) -> Aims:
        """Ways by index or mask."""
        return Aims(
            self.goals[rows],
            self.left[rows],
            self.centres[rows],
            self.axes[rows],
            self.directions[rows],
            self.orbits[:, rows],
        )

    def longer(self, tail: Orbits) -> Aims:
        """The same, with more states at the end."""
        return replace(self, orbits=torch.cat([self.orbits, tail]))

    def put(self, rows: Tensor, some: Aims) -> Aims:
        """The same, with some of the ways replaced."""
        return replace(
            self,
            directions=self.directions.index_copy(0, rows, some.directions),
            orbits=self.orbits.index_copy(1, rows, some.orbits),
        )


@torch.no_grad()
def shoot(flow: Flow, aims: Aims, iterations: int) -> tuple[Aims, Mask]:
    """Turn ways into orbits, and say which (n,) have become orbits in time.

    Errors may grow on the way: only the length of a step is limited.
    """
    exact = torch.zeros(len(aims), dtype=torch.bool, device=aims.orbits.device)
    active = torch.arange(len(aims), device=exact.device)
    for iteration in range(iterations + 1):
        part = aims[active]
        jumps, missed = _errors(flow, part)
        size = (jumps.square().sum((0, 2)) + missed.square().sum(1)).sqrt()
        exact[active] = size <= EXACT * (1 + part.orbits.norm(dim=2).amax(0))
        going = ~exact[active] & torch.isfinite(size)
        active = active[going]
        if not len(active) or iteration == iterations:
            break
        part = _moved(flow, part[going], jumps[:, going], missed[going])
        aims = aims.put(active, part)
    return aims, exact


def _moved(flow: Flow, aims: Aims, jumps: Jumps, missed: Missed) -> Aims:
    """Take Newton's step, or a share of it; first states stay on the unstable sphere.

    Where there is no step, directions and states become NaN.
    """
    across = _tangent_space(aims.directions)
    turns, changes = newton_step(
        flow, aims.orbits, jumps, aims.left, missed, across @ aims.axes
    )
    limit = LARGEST_CHANGE * (aims.goals - aims.centres).norm(dim=1)
    share = (limit / changes.abs().amax((0, 2))).clamp_max(1.0)[:, None]
    directions = aims.directions + share * (turns[:, None] @ across)[:, 0]
    directions = directions / directions.norm(dim=1, keepdim=True)
    orbits = aims.orbits + share * changes
    orbits[0] = aims.centres + (directions[:, None] @ aims.axes)[:, 0]
    return replace(aims, directions=directions, orbits=orbits)


def _errors(flow: Flow, aims: Aims) -> tuple[Jumps, Missed]:
    """Jumps F(x_t) - x_{t+1}, and what misses the goal along unstable directions."""
    orbits = aims.orbits
    before = orbits[:-1]
    moved = flow.step(before.flatten(0, 1)).reshape(before.shape)
    missed = _linalg.products(aims.left, orbits[-1] - aims.goals)
    return moved - orbits[1:], missed


def _tangent_space(directions: Directions) -> Float[Tensor, "n v u"]:
    """Orthonormal vectors across each direction."""
    full = torch.linalg.qr(directions[:, :, None], mode="complete").Q
    across: Tensor = full[:, :, 1:].mT
    return across
