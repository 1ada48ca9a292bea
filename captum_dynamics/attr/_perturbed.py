"""Captum's metrics of a method's attributions, or why one has no meaning here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from captum.attr import GradientAttribution
from captum.metrics import infidelity, sensitivity_max
from torch import Tensor

from captum_dynamics._typing import PerPoint
from captum_dynamics.attr._asked import explain, understood
from captum_dynamics.attr._curves import steps_of
from captum_dynamics.attr._question import Question
from captum_dynamics.attr._seeding import seeded

SHARE_REPLACED = 0.5
"""Of the steps: any subset is then as likely as any other."""


@dataclass(frozen=True)
class Perturbations:
    """How often inputs are perturbed, and how far for the sensitivity."""

    samples: int
    radius: float


def infidelity_of(
    method: Any,
    forward_func: Callable[..., Any],
    question: Question,
    attributions: Tensor,
    perturbations: Perturbations,
) -> PerPoint:
    """Captum's infidelity (n,), where half of the steps go to the baseline.

    Contributions are multiplied by 1 for each step that was replaced; gradients by the
    change of the input, as Captum says of local attributions.
    """
    inputs, valid = question.inputs, question.valid
    local = _is_local(method)
    if local and attributions.shape != inputs.shape:
        raise ValueError(
            f"Expected gradients of the shape of the inputs, {tuple(inputs.shape)}, "
            f"got {tuple(attributions.shape)}."
        )
    values = attributions if local else _by_step(attributions, inputs)
    source = torch.Generator().manual_seed(question.seed)

    def replace(given: Tensor) -> tuple[Tensor, Tensor]:
        copies = len(given) // len(valid)
        drawn = torch.rand(given.shape[:2], generator=source).to(given.device)
        chosen = valid.repeat_interleave(copies, 0) & (drawn < SHARE_REPLACED)
        mask = chosen.reshape(*chosen.shape, *[1] * (given.ndim - 2))
        baseline = question.baseline.repeat_interleave(copies, 0)
        replaced = torch.where(mask, baseline, given)
        binary = mask.expand_as(given).to(values.dtype)
        return given - replaced if local else binary, replaced

    found: Tensor = infidelity(
        forward_func,
        replace,
        inputs,
        values,
        additional_forward_args=question.arguments.additional or None,
        target=question.arguments.target,
        n_perturb_samples=perturbations.samples,
        max_examples_per_batch=_at_once(question),
    )
    return found.detach().double()


def sensitivity_of(
    method: Any,
    question: Question,
    own: Mapping[str, Any],
    perturbations: Perturbations,
) -> PerPoint:
    """Captum's sensitivity_max (n,): relative change under a little noise."""
    inputs = question.inputs
    if not inputs.is_floating_point():
        raise TypeError("Expected floating inputs: token ids cannot change a little.")

    def attribute(given: Any, **settings: Any) -> tuple[Tensor, ...]:
        one = given[0] if isinstance(given, tuple) else given
        found = explain(method, one, settings)
        first: Tensor = found[0] if isinstance(found, tuple) else found
        return (first.detach().contiguous(),)

    with seeded(question.seed, inputs.device):
        found: Tensor = sensitivity_max(
            attribute,
            inputs,
            perturb_radius=perturbations.radius,
            n_perturb_samples=perturbations.samples,
            max_examples_per_batch=_at_once(question),
            **understood(method, question.settings()),
            **own,
        )
    return found.detach().double()


def _at_once(question: Question) -> int:
    """Rows of one batch, of which Captum takes no fewer than there are examples."""
    return max(len(question.inputs), question.batch_size or 0)


def _is_local(method: Any) -> bool:
    """Whether a method gives gradients, and not contributions."""
    inner = getattr(method, "attribution_method", method)
    # Lime and KernelShap say they do not multiply, and yet give contributions.
    return isinstance(inner, GradientAttribution) and not inner.multiplies_by_inputs


def _by_step(attributions: Tensor, inputs: Tensor) -> Tensor:
    """Contributions of steps, shared equally by the features of their inputs."""
    steps = steps_of(attributions).to(attributions.dtype)
    features = inputs[0, 0].numel()
    shared = steps.reshape(*steps.shape, *[1] * (inputs.ndim - 2)) / features
    return shared.expand(inputs.shape).contiguous()
