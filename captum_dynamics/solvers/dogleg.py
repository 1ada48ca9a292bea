"""Powell's dogleg with an exact solve for Newton's direction."""

from __future__ import annotations

from dataclasses import dataclass

from captum_dynamics._typing import States
from captum_dynamics.solvers._trust_region import TrustRegion
from captum_dynamics.tangent import TangentMap


@dataclass(frozen=True)
class Dogleg(TrustRegion):
    """Minimise |g| in a trust region, with one solve of (J - I) p = -g a step.

    The map may solve in closed form, as an LSTM that eliminates its cells does; J
    itself is not formed otherwise. Converges quadratically at simple points.

    Example:
        >>> import torch, captum_dynamics as cd
        >>> switch = cd.FunctionAdapter(lambda h, x: torch.tanh(2 * h), 1, 0)
        >>> start, none = torch.ones(1, 1).double(), torch.zeros(1, 0).double()
        >>> solution = cd.solvers.Dogleg().solve(switch, start, none)
        >>> solution.states.round(decimals=6).tolist()
        [[0.957504]]
    """

    def direction(
        self, tangent: TangentMap, states: States, residuals: States
    ) -> States:
        """Newton's direction as the map solves for it."""
        return tangent.newton_direction(residuals)
