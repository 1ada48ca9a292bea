"""Deletion and insertion: outputs while steps go, or come, by their attributions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from captum_dynamics._typing import PerPoint, StepMask
from captum_dynamics.attr._question import Question

Scores = Float[Tensor, "n t"]
Ranks = Int[Tensor, "n t"]
Curves = Float[Tensor, "n p"]


def removal_ranks(scores: Scores, valid: StepMask) -> Ranks:
    """Place of each step when the most positive goes first; padding goes last."""
    ordered = scores.double().masked_fill(~valid, -torch.inf)
    return ordered.argsort(dim=1, descending=True, stable=True).argsort(dim=1)


def steps_of(attributions: Tensor) -> Scores:
    """Attributions of steps, summed over features, in float64."""
    values = attributions.double()
    return values.flatten(2).sum(-1) if values.ndim > 2 else values


def deletion_and_insertion(
    forward_func: Callable[..., Any],
    question: Question,
    scores: Scores,
    shares: Float[Tensor, " p"],
    ends: tuple[PerPoint, PerPoint],
) -> tuple[Curves, Curves]:
    """Outputs with a share of the steps removed, and with that share alone left.

    `ends` are the outputs with all steps and with none, which need not be asked again.
    """
    valid, (whole, bare) = question.valid, ends
    ranks, lengths = removal_ranks(scores, valid), valid.sum(1)
    deletion, insertion = [whole], [bare]
    for share in shares[1:-1].tolist():
        first = ranks < (share * lengths).round()[:, None]
        removed, left = (
            question.replace(first & valid),
            question.replace(~first & valid),
        )
        deletion.append(question.outputs(forward_func, removed))
        insertion.append(question.outputs(forward_func, left))
    return (
        torch.stack([*deletion, bare], dim=1),
        torch.stack([*insertion, whole], dim=1),
    )
