"""The host model around a recurrent layer: run it, and put runs of our own in."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence
from torch.utils.checkpoint import CheckpointError

from captum_dynamics import _checks
from captum_dynamics._typing import InputSequences, PerPoint, StateSequences
from captum_dynamics.adapters import (
    Call,
    CallConvention,
    RecurrentAdapter,
    find_layer,
)
from captum_dynamics.adapters._hooks import (
    after_calls,
    before_calls,
    hooks_before,
    instead_of_calls,
)
from captum_dynamics.adapters._registry import adapt_whole
from captum_dynamics.attr._compat import Target, run_forward, select
from captum_dynamics.calling import (
    captured_calls,
    check_deterministic,
    read_calls,
    take_rows,
)

Steps = Bool[Tensor, "n t"]


@dataclass(frozen=True, eq=False)
class Arguments:
    """What a model is called with, in Captum's form."""

    inputs: tuple[Any, ...]
    target: Target = None
    additional: tuple[Any, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what cannot be attributed."""
        for value in self.inputs:
            if not isinstance(value, Tensor):
                raise TypeError(
                    f"Expected `inputs` to be a tensor or a tuple of tensors, got "
                    f"{type(value).__name__}."
                )
            _checks.check_rows("inputs", value)
            if value.is_floating_point():
                _checks.check_finite("inputs", value)

    def __len__(self) -> int:
        """Number of examples, where the model's inputs are batch first."""
        return len(self.inputs[0])

    def __getitem__(self, rows: slice) -> Arguments:
        """Select examples; what all examples share stays as it is."""
        of_list = isinstance(self.target, list)  # one for each, says Captum
        return Arguments(
            self.cut(self.inputs, rows),
            self.target[rows] if of_list else self.cut((self.target,), rows)[0],
            self.cut(self.additional, rows),
        )

    def cut(self, values: tuple[Any, ...], rows: slice) -> tuple[Any, ...]:
        """Select rows of those values that have one for each example."""
        return tuple(take_rows(values, rows, len(self)))


@dataclass(frozen=True, eq=False)
class Host:
    """A forward function, the recurrent layer inside it, and the layer's dynamics."""

    forward_func: Callable[..., Any]
    layer: nn.Module
    dynamics: RecurrentAdapter

    def run(self, arguments: Arguments) -> tuple[PerPoint, Call, list[Any]]:
        """Give the selected outputs, what the layer read, and what each call gave."""
        with torch.no_grad(), captured_calls(self.layer) as calls:
            output = self._forward(arguments)
        call = read_calls(self.dynamics, calls)
        _checks.check_finite("the layer's inputs", call.inputs)
        outputs = _checks.check_finite("forward_func(inputs)", one_each(output, call))
        return outputs, call, [given for _, _, given in calls]

    def read(self, arguments: Arguments) -> Call:
        """Give what the layer read, whatever the model makes of it."""
        with torch.no_grad(), captured_calls(self.layer) as calls:
            self._forward(replace(arguments, target=None))
        return read_calls(self.dynamics, calls)

    def outputs_from_inputs(
        self, arguments: Arguments, inputs: InputSequences
    ) -> Tensor:
        """Outputs of the model when its layer reads other inputs (n, t, k)."""
        with replaced_inputs(self.layer, self.dynamics, inputs):
            return self._forward(arguments)

    def outputs_from_states(
        self, arguments: Arguments, call: Call, states: StateSequences
    ) -> PerPoint:
        """Outputs of the model when its layer visits other states (n, t, d)."""
        with _replaced_outputs(self.layer, self.dynamics, call, states):
            return one_each(self._forward(arguments), call)

    @contextmanager
    def replayed(self, given: list[Any]) -> Iterator[None]:
        """Let the layer give again what its calls gave, without running.

        Where `outputs_from_states` is asked many times, that is nearly all its work.
        """
        with instead_of_calls(self.layer, given):
            yield

    def injections(
        self, arguments: Arguments, call: Call, states: StateSequences
    ) -> StateSequences:
        """dy/ds_t (n, t, d): how each output reads each state directly."""
        leaf = states.detach().requires_grad_()
        with torch.enable_grad():
            outputs = self.outputs_from_states(arguments, call, leaf)
            return _gradient(outputs.sum(), leaf)

    def counted_steps(
        self, arguments: Arguments, call: Call, states: StateSequences
    ) -> Steps:
        """Steps (n, t) up to the last one whose state any output reads.

        This tells words from padding without being told: what comes after the last
        state that is read cannot matter. For what reads backwards it is the reverse.
        """
        leaf = states.detach().requires_grad_()
        everything = replace(arguments, target=None)
        with (
            torch.enable_grad(),
            _replaced_outputs(self.layer, self.dynamics, call, leaf),
        ):
            outputs = self._forward(everything)
            if not outputs.requires_grad:
                raise ValueError(
                    "Expected the output of `forward_func` to depend on the layer's "
                    "states by differentiable operations, as gradients tell which "
                    "steps count in a mean; it has none. Methods that take no "
                    "gradient need `baselines` or another `reference` then."
                )
            # Unequal weights: those of a softmax would otherwise cancel.
            weights = torch.linspace(1.0, 2.0, outputs.numel()).to(outputs)
            injections = _gradient((outputs.flatten() * weights).sum(), leaf)
        steps = torch.arange(states.shape[1], device=states.device)
        within = steps < call.lengths[:, None]
        read = (injections != 0) & within[:, :, None]
        counted = self.dynamics.reaching(read) & within
        return torch.where(counted.any(1, keepdim=True), counted, within)

    def _forward(self, arguments: Arguments) -> Tensor:
        try:
            # cuDNN refuses the backward pass of a layer in evaluation mode.
            with torch.backends.cudnn.flags(enabled=False):
                # Copies: the model may write into what it is given.
                output = run_forward(
                    self.forward_func,
                    _copied(arguments.inputs),
                    _copied(arguments.additional),
                )
        except (RuntimeError, ValueError) as error:
            told = _told_of_kinds(error, arguments.inputs)
            if told is None:
                raise
            raise TypeError(told) from error
        if not isinstance(output, Tensor):
            raise TypeError(
                f"Expected `forward_func` to return a tensor, got "
                f"{type(output).__name__}; wrap it in a function that does."
            )
        selected = select(output, arguments.target)
        # A vote, or another whole number: differences need more than its type.
        return selected if selected.is_floating_point() else selected.double()


def _told_of_kinds(error: Exception, inputs: tuple[Tensor, ...]) -> str | None:
    """What to say of ids where floats are needed, or the other way round."""
    floating = any(value.is_floating_point() for value in inputs)
    if floating and "indices" in str(error):
        return (
            "Expected `inputs` to be whole numbers, which the model looks up, got "
            "floating ones; to add noise or perturbations (NoiseTunnel, "
            "sensitivity_max, infidelity), use a `forward_func` of embedded inputs."
        )
    if not floating and "dtype" in str(error):
        return (
            f"Expected `inputs` to be floating, as the model computes with them, got "
            f"{inputs[0].dtype}; embed ids first, or convert numbers with `.float()`."
        )
    return None


def layer_of(forward_func: Callable[..., Any], layer: nn.Module) -> nn.Module:
    """Return the recurrent layer that `layer` is or holds, if the model has it."""
    if not isinstance(layer, nn.Module):
        raise TypeError(
            f"Expected `layer` to be a module, such as `model.rnn`, got {layer!r}."
        )
    found = find_layer(layer, None)
    if isinstance(forward_func, nn.Module):
        find_layer(forward_func, found)
    return found


def whole_dynamics(
    forward_func: Callable[..., Any], layer: nn.Module
) -> RecurrentAdapter:
    """All maps of a layer, with whatever its model reads of it in their states."""
    model = forward_func if isinstance(forward_func, nn.Module) else layer
    return adapt_whole(layer, model).with_output


def check_host(forward_func: Callable[..., Any], layer: nn.Module) -> None:
    """Refuse what has no gradient or no single output: of a function, its layer."""
    model = forward_func if isinstance(forward_func, nn.Module) else layer
    check_deterministic(model)
    if any(parameter.is_inference() for parameter in model.parameters()):
        raise ValueError(
            "Expected `forward_func` with parameters that have gradients, got some "
            "made under `torch.inference_mode()`; build or load the model outside it."
        )


@contextmanager
def replaced_inputs(
    layer: nn.Module, dynamics: RecurrentAdapter, inputs: InputSequences
) -> Iterator[None]:
    """Let a layer read inputs (n, t, k) instead of its own while the block runs.

    Inside such a block another one changes nothing: who asks for the inputs of a
    `LayerInputForward` to be replaced means what the layer reads in the end.
    """
    if any(isinstance(hook, _Replacement) for hook in hooks_before(layer)):
        yield
        return
    with before_calls(layer, _Replacement(dynamics.calls, inputs)):
        yield


class _Replacement:
    """A hook that gives a layer other inputs, call after call."""

    def __init__(self, convention: CallConvention, inputs: InputSequences) -> None:
        self._convention = convention
        self._inputs = inputs
        self._steps = count()

    def __call__(
        self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        step, inputs = next(self._steps), self._inputs
        part = inputs[:, step : step + 1] if self._convention.one_step else inputs
        if part.shape[1] == 0:
            raise ValueError(
                f"Expected layer inputs for every step, got {inputs.shape[1]} steps "
                f"while the model takes more."
            )
        copied = _copied(self._convention.replace_inputs(part, args, kwargs))
        return copied[0], copied[1]


@contextmanager
def _replaced_outputs(
    layer: nn.Module, dynamics: RecurrentAdapter, call: Call, states: StateSequences
) -> Iterator[None]:
    """Let a layer give states (n, t, d) instead of its own while the block runs."""
    convention, steps = dynamics.calls, count()

    def swap(
        _: nn.Module, _args: tuple[Any, ...], _kwargs: dict[str, Any], output: Any
    ) -> Any:
        step = next(steps)
        part = states[:, step : step + 1] if convention.one_step else states
        # Copies, each its own: the model may write into one and read another.
        return _copied(convention.write(dynamics, part, call, output))

    with after_calls(layer, swap):
        yield


def _copied(value: Any) -> Any:
    """Copy every tensor of a nested argument, as part of the same graph."""
    if isinstance(value, PackedSequence):
        return value._replace(data=value.data.clone())
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, dict):
        filled = copy.copy(value)  # of its own class, such as an output with names
        for name, item in value.items():
            filled[name] = _copied(item)
        return filled
    if type(value) in (tuple, list):
        return type(value)(map(_copied, value))
    return value


def one_each(outputs: Tensor, call: Call) -> PerPoint:
    """Return outputs (n,), if there is one for each sequence the layer reads."""
    if outputs.numel() != len(call.inputs):
        raise ValueError(
            f"Expected `target` to select one number for each of the "
            f"{len(call.inputs)} sequences the layer reads, got outputs of shape "
            f"{tuple(outputs.shape)}."
        )
    return outputs.reshape(-1)


def _gradient(output: Tensor, states: Tensor) -> Tensor:
    if not output.requires_grad:
        raise ValueError(
            "Expected the output of `forward_func` to depend on the layer's states "
            "by differentiable operations; it has no gradient."
        )
    try:
        (gradient,) = torch.autograd.grad(output, states, allow_unused=True)
    except CheckpointError as error:
        raise ValueError(
            "Expected a model without gradient checkpointing, which runs the layer "
            "again where its states are not ours; call `model.eval()` first."
        ) from error
    return torch.zeros_like(states) if gradient is None else gradient
