"""Where trajectories on the borders of basins come to."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from captum_dynamics._typing import Counts, PerPoint, States

PASSAGE = 1e-4  # a trajectory that comes so near to a saddle is on its way there
NEAR = 1e-2  # a passage from which the rest of the way is a matter of landing


@dataclass(frozen=True, eq=False)
class Passages:
    """Where border trajectories came to, one a row.

    Attributes:
        starts: their first states (n, d).
        targets: saddle (n,) that came nearest, a row of those given, or -1.
        distances: closest passage (n,) by that saddle.
        steps: steps (n,) until then.
        states: where they were then (n, d).
        ends: where they were last (n, d).
    """

    starts: States
    targets: Counts
    distances: PerPoint
    steps: Counts
    states: States
    ends: States

    @classmethod
    def none(cls, starts: States) -> Passages:
        """No passage yet: infinite distances."""
        count = torch.zeros(len(starts), dtype=torch.long, device=starts.device)
        far = torch.full_like(starts[:, 0], torch.inf)
        here, there = starts.clone(), starts.clone()
        return cls(starts.clone(), count - 1, far, count, here, there)

    def __getitem__(self, rows: Tensor) -> Passages:
        """Passages by index or mask."""
        return Passages(*(getattr(self, name)[rows] for name in _NAMES))

    def put(self, rows: Tensor, others: Passages) -> Passages:
        """The same, with those of some rows replaced."""
        pairs = [(getattr(self, name), getattr(others, name)) for name in _NAMES]
        return Passages(*(own.index_copy(0, rows, new) for own, new in pairs))


_NAMES = tuple(Passages.__dataclass_fields__)
