"""What is known under one input, before it is connected."""

from __future__ import annotations

from dataclasses import dataclass, replace

from captum_dynamics._typing import Counts, Mask
from captum_dynamics.fixed_points import Kind
from captum_dynamics.linearization import Linearization
from captum_dynamics.regimes import Ending
from captum_dynamics.topology._unstable import UnstableFrame, unstable_frame
from captum_dynamics.topology.continua import CENTRE, Continuum


@dataclass(frozen=True, eq=False)
class Known:
    """All that a graph can connect under one input.

    Attributes:
        linearization: points, and one for each continuum.
        continua: in the order of the nodes, the last of the linearization's.
        endings: cycles and other sets that attract; their nodes follow.
    """

    linearization: Linearization
    continua: tuple[Continuum, ...] = ()
    endings: tuple[Ending, ...] = ()

    @property
    def fixed(self) -> Mask:
        """Which rows of the linearization are fixed (n,)."""
        return self.linearization.points.kind == Kind.FIXED

    @property
    def unstable_dims(self) -> Counts:
        """Directions (n,) that leave each point, or the continuum it stands for."""
        dims = self.linearization.unstable_dims.clone()
        for continuum in self.continua:
            dims[continuum.node] = continuum.unstable_dim(self.linearization)
        return dims

    def frame(self, row: int, largest: float) -> UnstableFrame:
        """The unstable axes of one point."""
        linearization = self.linearization
        if row in {continuum.node for continuum in self.continua}:
            linearization = replace(linearization, margin=CENTRE)
        return unstable_frame(linearization, row, largest=largest)
