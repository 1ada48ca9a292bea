"""What all methods of a comparison are asked: inputs, baselines, and which steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from captum_dynamics import _checks
from captum_dynamics._typing import PerPoint, StepMask
from captum_dynamics.attr._compat import Target, as_tuple, run_forward, select
from captum_dynamics.attr._host import Arguments
from captum_dynamics.attr._session import format_baselines


@dataclass(frozen=True, eq=False)
class Question:
    """Inputs to explain, and what takes the place of steps that are removed.

    Attributes:
        arguments: the inputs, target and further arguments.
        baseline: what a removed step reads, of the shape of the inputs.
        given: what methods are told of baselines; None for their own.
        valid: steps (n, t) that belong to their sequence.
        batch_size: examples to run at once; None for all.
        seed: seed of every random choice.
    """

    arguments: Arguments
    baseline: Tensor
    given: Tensor | None
    valid: StepMask
    batch_size: int | None
    seed: int

    @property
    def inputs(self) -> Tensor:
        """The inputs (n, t) or (n, t, ...)."""
        found: Tensor = self.arguments.inputs[0]
        return found

    def settings(self) -> dict[str, Any]:
        """What methods may take besides the inputs."""
        told = {
            "target": self.arguments.target,
            "additional_forward_args": self.arguments.additional or None,
            "baselines": self.given,
            "internal_batch_size": self.batch_size,
        }
        return {name: value for name, value in told.items() if value is not None}

    def replace(self, steps: StepMask) -> Tensor:
        """Inputs with some steps replaced by the baseline."""
        chosen = steps.reshape(*steps.shape, *[1] * (self.inputs.ndim - 2))
        return torch.where(chosen, self.baseline, self.inputs)

    @torch.no_grad()
    def outputs(self, forward_func: Callable[..., Any], inputs: Tensor) -> PerPoint:
        """Outputs (n,) of a model for other inputs of the same examples."""
        rows, size = len(inputs), self.batch_size or len(inputs)
        arguments = Arguments(
            (inputs,), self.arguments.target, self.arguments.additional
        )
        parts = []
        for start in range(0, rows, size):
            part = arguments if size >= rows else arguments[slice(start, start + size)]
            # Copies: the model may write into what it is given.
            given = tuple(value.clone() for value in part.inputs)
            outputs = run_forward(forward_func, given, part.additional)
            if not isinstance(outputs, Tensor):
                raise TypeError(
                    f"Expected `forward_func` to return a tensor, got "
                    f"{type(outputs).__name__}; wrap it in a function that does."
                )
            parts.append(select(outputs, part.target).detach().double().flatten())
        found = torch.cat(parts)
        if len(found) != rows:
            raise ValueError(
                f"Expected `target` to select one number for each of {rows} examples, "
                f"got {len(found)} numbers."
            )
        return _checks.check_finite("the model's outputs", found)


def ask(
    inputs: Tensor,
    baselines: Any,
    target: Target,
    additional: Any,
    valid: StepMask | None,
    batch_size: int | None,
    generator: torch.Generator | None,
) -> Question:
    """Check what a comparison is given, and draw its seed."""
    if not isinstance(inputs, Tensor):
        raise TypeError(
            f"Expected `inputs` to be one tensor, got {type(inputs).__name__}; give "
            f"what else the model takes as `additional_forward_args`."
        )
    if inputs.ndim < 2 or 0 in inputs.shape:
        raise ValueError(
            f"Expected `inputs` of shape (N, T) or (N, T, ...), none of them empty, "
            f"got {tuple(inputs.shape)}."
        )
    if baselines is None and not inputs.is_floating_point():
        raise ValueError(
            "Expected `baselines` where `inputs` are token ids: the id that takes the "
            "place of a token that is removed."
        )
    if batch_size is not None:
        _checks.check_count("internal_batch_size", batch_size)
    given = format_baselines((inputs,), baselines)
    generator = generator or torch.Generator().manual_seed(0)
    seed = torch.randint(2**31, (), generator=generator, device=generator.device)
    return Question(
        Arguments((inputs.detach(),), target, as_tuple(additional)),
        torch.zeros_like(inputs).detach() if given is None else given[0],
        None if given is None else given[0],
        _steps(inputs, valid),
        batch_size,
        int(seed),
    )


def _steps(inputs: Tensor, valid: StepMask | None) -> StepMask:
    shape = inputs.shape[:2]
    if valid is None:
        return torch.ones(shape, dtype=torch.bool, device=inputs.device)
    if not isinstance(valid, Tensor) or valid.dtype != torch.bool:
        raise TypeError(
            "Expected `valid` to be a tensor of booleans, true at the steps that count."
        )
    _checks.check_shape("valid", valid, tuple(shape))
    if not bool(valid.any(1).all()):
        row = int((~valid.any(1)).nonzero()[0])
        raise ValueError(
            f"Expected `valid` to hold a step of every example, got none in row {row}."
        )
    return valid.to(inputs.device)
