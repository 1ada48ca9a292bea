"""One call of an attribution: arguments, baselines, and how they are cut."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from captum_dynamics import _checks
from captum_dynamics._typing import Inputs
from captum_dynamics.adapters import Call
from captum_dynamics.attr._host import Arguments, Host, Steps
from captum_dynamics.attr._runs import (
    CallPair,
    RunPair,
    pair_calls,
    pair_runs,
    pair_with_mean,
)

Baselines = tuple[Tensor, ...] | None


@dataclass(frozen=True, eq=False)
class Session:
    """What one call of `attribute` was given.

    Attributes:
        host: the model and its layer.
        arguments: the model's inputs, target and further arguments.
        baselines: the model's inputs in the baseline run, or None for a reference.
        batch_size: examples to run at once; None for all.
    """

    host: Host
    arguments: Arguments
    baselines: Baselines = None
    batch_size: int | None = None

    def __post_init__(self) -> None:
        """Refuse to run without inputs, and batches that would not be examples."""
        if not self.arguments.inputs:
            raise TypeError(
                "Expected `inputs` to be a tensor or a tuple of tensors, got none."
            )
        size = self.batch_size
        if size is None:
            return
        _checks.check_count("internal_batch_size", size)
        if size >= len(self.arguments):
            return
        # Of a time-first model, no two cuts can both look like examples.
        for rows in (size, size + 1):
            call = self.host.read(self.arguments[slice(0, rows)])
            if len(call.inputs) != rows:
                raise ValueError(
                    f"Expected inputs whose first axis is examples where "
                    f"`internal_batch_size` is given, but for {rows} rows the layer "
                    f"reads {len(call.inputs)} sequences; leave it out, or transpose "
                    f"inside `forward_func`."
                )

    @property
    def dtype(self) -> torch.dtype:
        """The caller's precision: of floating inputs, else of the layer's weights."""
        first: Tensor = self.arguments.inputs[0]
        if first.is_floating_point():
            return first.dtype
        weight = next(self.host.layer.parameters(), None)
        return self.host.dynamics.dtype if weight is None else weight.dtype

    def batches(self) -> list[slice]:
        """Cut the examples."""
        size, rows = self.batch_size, len(self.arguments)
        if size is None or size >= rows:
            return [slice(None)]
        return [slice(start, start + size) for start in range(0, rows, size)]

    def pair(self, batch: slice, reference: Inputs) -> RunPair:
        """Run some examples and their baseline."""
        baselines = self._baselines_of(batch)
        if baselines is None and len(reference) > 1:
            return pair_with_mean(self.host, self.arguments[batch], reference)
        return pair_runs(self.host, self.arguments[batch], baselines, reference)

    def pair_calls(self, batch: slice, reference: Inputs) -> CallPair:
        """The same without its states, and without gradients."""
        baselines = self._baselines_of(batch)
        return pair_calls(self.host, self.arguments[batch], baselines, reference)

    def _baselines_of(self, batch: slice) -> Baselines:
        if self.baselines is None:
            return None
        return self.arguments.cut(self.baselines, batch)

    def calls(self) -> Iterator[tuple[Call, Tensor, Steps]]:
        """What the layer reads and does, and the steps that count, cut by cut."""
        for batch in self.batches():
            arguments = self.arguments[batch]
            call = self.host.read(arguments)
            _checks.check_finite("the layer's inputs", call.inputs)
            states = self.host.dynamics.run(call)
            yield call, states, self.host.counted_steps(arguments, call, states)

    def mean_input(self) -> Inputs:
        """Mean input (1, k) of the layer over all steps that count."""
        sums = [
            (call.inputs[counted].sum(0, keepdim=True), int(counted.sum()))
            for call, _, counted in self.calls()
        ]
        total = torch.stack([part for part, _ in sums]).sum(0)
        return total / sum(number for _, number in sums)

    def sample_inputs(self, number: int, generator: torch.Generator) -> Inputs:
        """Draw inputs (m, k) that count, without repetition: at most so many."""
        read = torch.cat([call.inputs[counted] for call, _, counted in self.calls()])
        order = torch.randperm(len(read), generator=generator)[:number]
        return read[order.to(read.device)]


def format_baselines(inputs: tuple[Tensor, ...], baselines: Any) -> Baselines:
    """Give each of the model's inputs a baseline of its shape."""
    if baselines is None:
        return None
    given = baselines if isinstance(baselines, tuple) else (baselines,)
    if len(given) != len(inputs):
        raise ValueError(
            f"Expected `baselines` for each of {len(inputs)} inputs, got {len(given)}."
        )
    return tuple(map(_format_baseline, inputs, given))


def _format_baseline(value: Tensor, baseline: Any) -> Tensor:
    if isinstance(baseline, (int, float)):
        if not math.isfinite(baseline):
            raise ValueError(f"Expected `baselines` to be finite, got {baseline}.")
        whole = float(baseline).is_integer()
        _check_kind(value, whole, f"{baseline}")
        return torch.full_like(value, baseline).detach()
    if not isinstance(baseline, Tensor):
        raise TypeError(
            f"Expected `baselines` to be tensors or numbers, got "
            f"{type(baseline).__name__}."
        )
    one = (1, *value.shape[1:])
    if baseline.shape not in (value.shape, one):
        raise ValueError(
            f"Expected `baselines` of shape {tuple(value.shape)} or {one}, got "
            f"{tuple(baseline.shape)}.{_how_to_repeat(baseline, one)}"
        )
    if baseline.device != value.device:
        raise ValueError(
            f"Expected `baselines` on {value.device}, where `inputs` are, got "
            f"{baseline.device}; move them with `.to(...)`."
        )
    _check_kind(value, not baseline.is_floating_point(), f"{baseline.dtype}")
    _checks.check_finite("baselines", baseline)
    return baseline.detach().to(value.dtype).expand_as(value)


def _how_to_repeat(baseline: Tensor, one: tuple[int, ...]) -> str:
    """What to do with a value that is the same at all steps."""
    try:
        baseline.expand(one)
    except RuntimeError:
        return ""
    return f" Repeat what is the same at all steps: `.expand{one}`."


def _check_kind(value: Tensor, whole: bool, got: str) -> None:
    if not whole and not value.is_floating_point():
        raise ValueError(
            f"Expected `baselines` to be whole numbers, as `inputs` are, got {got}."
        )


def joined(parts: list[Tensor]) -> Float[Tensor, "n t k"]:
    """Join batches; where packed ones differ in length, the rest contributes zero."""
    steps = max(part.shape[1] for part in parts)
    padded = [nn.functional.pad(p, (0, 0, 0, steps - p.shape[1])) for p in parts]
    return torch.cat(padded)
