"""From states to units: fixed points of A h + W relu(C h + c) + b in u = C h + c."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from captum_dynamics import _linalg
from captum_dynamics._typing import States
from captum_dynamics.activation_form import ActivationForm

Units = Float[Tensor, "s m"]  # u = C h + c of s candidates

# Regions from which the map is looked at, until few digits are lost in one of them.
VIEWPOINTS = 32
SMALL_LOSS = 1e4
LARGEST_LOSS = 1e10


@dataclass(frozen=True, eq=False)
class UnitEquation:
    """u = M relu(u) + e, whose solutions are the fixed points of a form.

    Attributes:
        weights: M (m, m).
        offsets: e (m,).
        form: the form, with I - A regular.
    """

    weights: Float[Tensor, "m m"]
    offsets: Float[Tensor, " m"]
    form: ActivationForm

    def states(self, units: Units) -> States:
        """The fixed points h = (I - A)^-1 (W relu(u) + b) that belong to solutions."""
        form = self.form
        return _rest(form, torch.relu(units) @ form.outgoing.mT + form.bias)


def unit_equation(form: ActivationForm) -> UnitEquation:
    """Eliminate the state: with u = C h + c, M = C (I - A)^-1 W and so on.

    Where I - A is singular, as for a perfect integrator, the map is looked at from
    another region. For h' = relu(W h + c) nothing is rounded here: M = W and e = c.
    """
    form = _well_posed(form)
    outgoing = _rest(form, form.outgoing.mT).mT
    bias = _rest(form, form.bias[None])[0]
    return UnitEquation(
        form.incoming @ outgoing, form.incoming @ bias + form.offsets, form
    )


def _well_posed(form: ActivationForm) -> ActivationForm:
    generator = torch.Generator().manual_seed(0)
    shape = (VIEWPOINTS, form.units)
    patterns = torch.randint(2, shape, generator=generator).to(form.bias)
    # The simplest come first: all units off, and all units on.
    patterns[0], patterns[1] = 0.0, 1.0
    best, least = form, math.inf
    for on in patterns:
        seen = form.seen_from(on)
        # How much the rounding of A is magnified in (I - A)^-1.
        smallest = torch.linalg.svdvals(_away_from_rest(seen))[-1]
        loss = float((1 + torch.linalg.matrix_norm(seen.linear)) / smallest)
        if loss < least:
            best, least = seen, loss
        if least < SMALL_LOSS:
            break
    if not least < LARGEST_LOSS:
        raise ValueError(
            f"Expected `dynamics` to have a region where a multiplier of 1 does not "
            f"occur, got none of {VIEWPOINTS}: its fixed points form continua, which "
            f"cannot be enumerated; use `find_fixed_points`."
        )
    return best


def _rest(form: ActivationForm, drives: Tensor) -> Tensor:
    """Solve (I - A) h = drive for every row (n, d)."""
    matrices = _away_from_rest(form).expand(len(drives), -1, -1)
    return _linalg.solve(matrices, drives)


def _away_from_rest(form: ActivationForm) -> Tensor:
    eye = torch.eye(len(form.bias), dtype=form.bias.dtype, device=form.bias.device)
    return eye - form.linear
