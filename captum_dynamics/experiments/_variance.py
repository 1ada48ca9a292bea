"""Principal components of states, as shares of their variance."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from captum_dynamics._typing import States


def shares_of_variance(states: States) -> Float[Tensor, " r"]:
    """Share of the variance in each principal component, in decreasing order."""
    variances = torch.linalg.svdvals(states - states.mean(0)) ** 2
    shares: Tensor = variances / variances.sum()
    return shares
