"""Whether a declared symmetry is one of the dynamics."""

from __future__ import annotations

import torch

from captum_dynamics._typing import GivenInputs, States
from captum_dynamics.dynamics import DynamicsMap
from captum_dynamics.symmetry._base import Symmetry


@torch.no_grad()
def check_symmetry(
    dynamics: DynamicsMap,
    symmetry: Symmetry,
    states: States,
    inputs: GivenInputs,
    *,
    rtol: float = 1e-8,
) -> float:
    """Refuse a symmetry that is not one of the dynamics: F(P h) = P F(h).

    It is tried at the states given, for each generator of the group, which is all that
    can be done without knowing the equations: give states that differ in all columns.

    Args:
        dynamics: the map.
        symmetry: what is declared of it.
        states: where it is tried, (n, d).
        inputs: (n, k), one row for all, or a vector.
        rtol: largest difference, relative to the largest value of F, or to 1.

    Returns:
        The largest relative difference found.

    Raises:
        ValueError: the difference is larger than `rtol`, or the widths do not fit.

    Example:
        >>> import torch, captum_dynamics as cd
        >>> gains = torch.tensor([1.0, 2.0])
        >>> net = cd.FunctionAdapter(lambda h, x: torch.tanh(gains * h), 2, 0)
        >>> swap = cd.PermutationSymmetry(((1, 0),))
        >>> cd.check_symmetry(net, swap, torch.tensor([[0.3, -0.7]]), torch.zeros(1, 0))
        Traceback (most recent call last):
        ...
        ValueError: Expected `symmetry` to be one of the dynamics, F(P h) = P F(h), ...
    """
    given, read = dynamics.check(states, inputs)
    given, read = given.to(dynamics.dtype), read.to(dynamics.dtype)
    symmetry.check(given)
    after = dynamics.step(given, read)
    scale = float(after.abs().max().clamp_min(1)) if len(given) else 1.0
    worst = 0.0
    for place, permutation in enumerate(symmetry.generators):
        columns = list(permutation)
        gap = (dynamics.step(given[:, columns], read) - after[:, columns]).abs()
        error = float(gap.max()) / scale if len(given) else 0.0
        if not error <= rtol:
            row = int(gap.amax(1).argmax())
            raise ValueError(
                f"Expected `symmetry` to be one of the dynamics, F(P h) = P F(h), got "
                f"a relative difference of {error:.1e} at row {row} of `states` under "
                f"generator {place}."
            )
        worst = max(worst, error)
    return worst
