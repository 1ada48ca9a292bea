"""What a user gives to `analyze`, checked before any long work begins."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, SupportsIndex

import torch
from torch import Tensor, nn

from captum_dynamics import _checks
from captum_dynamics._typing import Inputs, PerPoint
from captum_dynamics.adapters import Call, RecurrentAdapter
from captum_dynamics.calling import (
    ModelInputs,
    call_model,
    captured_calls,
    check_deterministic,
    count_rows,
    is_batch_first,
    read_calls,
    take_rows,
)


@dataclass(frozen=True, eq=False)
class NamedInputs:
    """Inputs of a layer with names, such as the words of a vocabulary.

    Attributes:
        names: v names.
        inputs: what the layer reads for each, (v, k).
        scores: what is known of each from elsewhere, (v,), such as its weight in a bag
            of words, NaN where nothing is; None where nothing is of any.
    """

    names: Sequence[str]
    inputs: Inputs
    scores: PerPoint | None = None

    def __post_init__(self) -> None:
        """Refuse what is not finite, and lists of different lengths."""
        _checks.check_floating("words.inputs", self.inputs)
        _checks.check_rows("words.inputs", self.inputs)
        _checks.check_finite("words.inputs", self.inputs)
        rows = len(self.inputs)
        if len(self.names) != rows:
            raise ValueError(f"Expected {rows} `words.names`, got {len(self.names)}.")
        if self.scores is None:
            return
        _checks.check_floating("words.scores", self.scores)
        if self.scores.shape != (rows,) or bool(self.scores.isinf().any()):
            raise ValueError(
                f"Expected `words.scores` to have shape ({rows},) and no infinite "
                f"value, got {tuple(self.scores.shape)}."
            )


@dataclass(frozen=True, eq=False)
class Explained:
    """The sequences to explain, in the form that Captum's methods take.

    Attributes:
        forward: the model as a function of positional arguments.
        layer: its recurrent layer.
        dynamics: the layer's map, or all of them where it is bidirectional.
        arguments: positional arguments for the explained sequences.
        target: column of the output; None where the output has no columns.
        count: number of explained sequences, from the first.
        total: number of all sequences.
    """

    forward: Callable[..., Any]
    layer: nn.Module
    dynamics: RecurrentAdapter
    arguments: tuple[Any, ...]
    target: int | None
    count: int
    total: int

    def __str__(self) -> str:
        """Say which output of which sequences is explained."""
        output = "the output" if self.target is None else f"output {self.target}"
        if self.count == self.total:
            return f"{output} of all sequences"
        which = f"first {self.count}" if self.count > 1 else "first"
        return f"{output} of the {which} of {self.total:,} sequences"


def choose_explained(
    model: nn.Module,
    layer: nn.Module,
    dynamics: RecurrentAdapter,
    inputs: ModelInputs,
    target: int | None,
    count: int,
) -> tuple[Explained, Call]:
    """Run the model once; choose its first sequences, or all where it cannot be cut."""
    check_deterministic(model)
    with torch.no_grad(), captured_calls(layer) as calls:
        output = call_model(model, inputs)
    call = read_calls(dynamics, calls)
    rows = len(call.inputs)
    column = _checked_target(output, rows, target)
    if count < rows and is_batch_first(model, layer, dynamics, inputs):
        inputs = take_rows(inputs, slice(0, count), count_rows(inputs))
    else:
        count = rows
    forward, arguments = _positional(model, inputs)
    return Explained(forward, layer, dynamics, arguments, column, count, rows), call


def check_lengths(
    lengths: Tensor | Sequence[int] | None,
    tokens: Sequence[Sequence[str]] | None,
    call: Call,
) -> Tensor | None:
    """Return the steps (n,) that count, as given or as many as there are tokens."""
    rows, steps = call.inputs.shape[:2]
    if lengths is not None:
        lengths = _checks.check_lengths(
            "lengths", torch.as_tensor(lengths), rows, steps
        )
    if tokens is None:
        return lengths
    if len(tokens) != rows:
        raise ValueError(
            f"Expected `tokens` to hold a list of names for each of the {rows} "
            f"sequences, got {len(tokens)}."
        )
    for row, names in enumerate(tokens):
        most = int(call.lengths[row] if lengths is None else lengths[row])
        least = 1 if lengths is None else most
        if isinstance(names, str) or not least <= len(names) <= most:
            wanted = str(most) if least == most else f"between 1 and {most}"
            got = "one text" if isinstance(names, str) else f"{len(names)} names"
            raise ValueError(
                f"Expected `tokens[{row}]` to be a list of {wanted} names, one for "
                f"each step that counts, got {got}."
            )
    return torch.tensor([len(names) for names in tokens])


def check_methods(methods: Sequence[Callable[..., Any]]) -> None:
    """Refuse classes that a forward function alone does not make, or that need more."""
    for method in methods:
        if not callable(method):
            raise TypeError(
                f"Expected `compare` to hold classes of captum.attr, got {method!r}."
            )
        if not isinstance(method, type):
            continue
        attribute = getattr(method, "attribute", None)
        needed = set(_required(method)) - {"forward_func", "model"}
        needed |= set(_required(attribute)) - {"self", "inputs", "baselines"}
        if attribute is None or needed:
            raise ValueError(
                f"Expected `compare` to hold attribution classes that are made from a "
                f"forward function and attribute to its inputs (IntegratedGradients, "
                f"Saliency, InputXGradient, GradientShap, DeepLift, FeatureAblation, "
                f"ShapleyValueSampling, KernelShap and the like), got "
                f"{method.__name__}"
                + (f", which needs {', '.join(sorted(needed))}." if needed else ".")
            )


def _required(function: Callable[..., Any] | None) -> list[str]:
    """Names of the arguments that a call cannot leave out."""
    if function is None:
        return []
    given = inspect.signature(function).parameters.values()
    return [
        parameter.name
        for parameter in given
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]


def _checked_target(output: Any, rows: int, target: int | None) -> int | None:
    """Return the column to explain; chosen where there is only one."""
    wrap = "wrap it in a module whose forward returns the part to explain"
    if not isinstance(output, Tensor):
        raise TypeError(
            f"Expected `model` to return a tensor, got {type(output).__name__}; {wrap}."
        )
    if output.ndim not in (1, 2) or len(output) != rows or output.numel() == 0:
        raise ValueError(
            f"Expected `model` to return ({rows},) or ({rows}, outputs), a row for "
            f"each sequence, got {tuple(output.shape)}; {wrap}."
        )
    if not output.is_floating_point():
        raise TypeError(
            f"Expected `model` to return floating numbers, got {output.dtype}; {wrap}, "
            f"such as the scores before a decision."
        )
    if output.ndim == 1:
        if target is not None:
            raise ValueError(
                f"Expected no `target`, as the model returns one number for each "
                f"sequence, got {target}."
            )
        return None
    columns = output.shape[1]
    if target is None and columns == 1:
        return 0
    if not isinstance(target, SupportsIndex) or not 0 <= target < columns:
        raise ValueError(
            f"Expected a `target` between 0 and {columns - 1} to say which output of "
            f"the model to explain, got {target}."
        )
    return int(target)


def _positional(
    model: nn.Module, inputs: ModelInputs
) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """A model as a function of positional arguments, and these arguments."""
    if isinstance(inputs, Tensor):
        return model, (inputs,)
    if not isinstance(inputs, Mapping):
        return model, tuple(inputs)
    # Captum reads the batch off the first argument: tensors come first.
    names = sorted(inputs, key=lambda name: not isinstance(inputs[name], Tensor))

    def forward(*values: Any) -> Any:
        return model(**dict(zip(names, values, strict=True)))

    return forward, tuple(inputs[name] for name in names)
