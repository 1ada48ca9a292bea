"""A model whose contributions are known, and methods that say what they are told."""

from __future__ import annotations

from typing import Any

import torch
from captum.attr import Attribution
from torch import Tensor, nn

from captum_dynamics.attr import Comparison, compare
from tests.attr import models
from tests.attr.models import vectors

ROWS, STEPS, WIDTH = 4, 7, models.WIDTH
QUICK: dict[str, Any] = {"n_perturb_samples": 0, "points": 7}


class Sum(nn.Module):
    """Sum over steps of w_t . x_t, which counts its own calls and examples."""

    def __init__(self) -> None:
        super().__init__()
        weights = torch.randn(STEPS, WIDTH, generator=torch.Generator().manual_seed(5))
        self.weights = nn.Parameter(weights.double())
        self.seen: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(len(x))
        return (x * self.weights).sum((1, 2))

    def contributions(self, x: Tensor) -> Tensor:
        return (x * self.weights).sum(2).detach()


class Given(Attribution):
    """A method that says what it was told to say."""

    def __init__(self, forward_func: Any, values: Any) -> None:
        super().__init__(forward_func)
        self.values = values

    def attribute(self, inputs: Tensor) -> Any:
        if isinstance(self.values, Exception):
            raise self.values
        return self.values


def given(*values: Tensor, **named: Any) -> Comparison:
    model = Sum()
    methods = {f"m{row}": Given(model, value) for row, value in enumerate(values)}
    return compare(methods, vectors(), **{**QUICK, **named})
