"""check_method: what a method of Captum gets wrong on a recurrent model."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from captum.attr import (
    Attribution,
    Deconvolution,
    DeepLift,
    GradientAttribution,
    GuidedBackprop,
    GuidedGradCam,
    LayerActivation,
    LayerAttribution,
    NeuronAttribution,
    NeuronConductance,
    NeuronDeconvolution,
    NeuronDeepLift,
    NeuronDeepLiftShap,
    NeuronGuidedBackprop,
    NoiseTunnel,
)
from torch import nn

from captum_dynamics.attr._recurrent import RecurrentAttribution
from captum_dynamics.attr._watch import (
    FusedCall,
    Watched,
    is_packed,
    look,
    reads_rows,
    watch,
)
from captum_dynamics.attr.linearized_propagation import LinearizedPropagation
from captum_dynamics.calling import ModelInputs, check_deterministic
from captum_dynamics.exceptions import AttributionWarning

_RESCALING = (DeepLift, NeuronDeepLift, NeuronDeepLiftShap)
_GUIDED = (
    GuidedBackprop,
    Deconvolution,
    GuidedGradCam,
    NeuronGuidedBackprop,
    NeuronDeconvolution,
)
# They follow h_n and cells in loops, need no cuDNN, and refuse to cut time themselves.
_OURS = (RecurrentAttribution, LinearizedPropagation)
# Arguments of methods that put copies or groups of examples along axis 0.
_ALONG_ROWS = {
    "internal_batch_size",
    "n_samples",
    "nt_samples",
    "perturbations_per_eval",
}
_warned: set[str] = set()


@torch.inference_mode(False)
def check_method(
    method: Attribution | type[Attribution],
    model: nn.Module,
    inputs: ModelInputs | None = None,
    *,
    layer: nn.Module | None = None,
) -> tuple[str, ...]:
    """Warn of what one of Captum's methods gets wrong on a recurrent model.

    Captum raises no error in these cases, or one that does not name the remedy:

    - DeepLift passes through nn.RNN, nn.GRU, nn.LSTM and their cells as the plain
      gradient, and so do GuidedBackprop and Deconvolution: their rules need modules of
      the nonlinear functions, and the layers are fused.
    - Most methods put copies of the examples, or groups of them, along axis 0, which
      is time where the model's inputs are time first.
    - Layer and neuron methods see one call of their layer, and of a cell that is called
      in a loop only one step.
    - A model that reads h_n does not read the sequence that a tap sees.
    - cuDNN refuses the backward pass of recurrent layers in evaluation mode.
    - Captum takes tensors, not a PackedSequence.

    With `inputs` the model is run to see: once, and on one and on two examples. Without
    them only the first trap is looked for, and of input and neuron methods alone. Each
    sentence is given as a warning once in a process. `analyze` checks the methods it is
    given to compare; Captum's own classes are not changed.

    Args:
        method: an attribution class of Captum, or one made from it.
        model: the model that it explains.
        inputs: what the model is called with: a tensor, a sequence of positional or a
            mapping of named arguments; None not to run it.
        layer: the layer of a layer or neuron method, such as that of a tap; by default
            that of `method`.

    Returns:
        One sentence for each trap, also of those that were warned of before.

    Raises:
        TypeError: `method` is no attribution of Captum, or `model` no module.
        ValueError: a layer or neuron method without its layer, a layer that the model
            never calls, or active dropout.

    Warns:
        AttributionWarning: for each trap, with what to do instead.

    References:
        Ancona, Ceolini, Oztireli and Gross, "Towards better understanding of
        gradient-based attribution methods for deep neural networks", ICLR 2018: the
        rule of DeepLift replaces the slope of each nonlinear function.

    Example:
        >>> import torch, warnings
        >>> from captum.attr import DeepLift, IntegratedGradients
        >>> from captum_dynamics.attr import check_method
        >>> class Last(torch.nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.rnn = torch.nn.GRU(3, 4, batch_first=True)
        ...     def forward(self, x):
        ...         return self.rnn(x)[0][:, -1].sum(-1)
        >>> check_method(IntegratedGradients, Last(), torch.ones(2, 5, 3))
        ()
        >>> with warnings.catch_warnings():
        ...     warnings.simplefilter("ignore")
        ...     (trap,) = check_method(DeepLift, Last(), torch.ones(2, 5, 3))
        >>> trap.startswith("DeepLift is the plain gradient inside GRU")
        True
    """
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"Expected `model` to be a torch.nn.Module, whose layers can be watched, "
            f"got {type(model).__name__}."
        )
    found: list[str] = []
    for part in _parts(method):
        kind = part if isinstance(part, type) else type(part)
        if getattr(kind, "attribute", None) is None:
            raise TypeError(
                f"Expected `method` to be an attribution of Captum, got {part!r}."
            )
        found += _traps(kind, model, inputs, _place(part, kind, layer))
    for sentence in found:
        if sentence not in _warned:
            warnings.warn(sentence, AttributionWarning, stacklevel=3)
            _warned.add(sentence)  # not where the warning is an error: it comes again
    return tuple(found)


def _parts(method: Any) -> tuple[Any, ...]:
    """A method, and the one inside where it wraps another."""
    wraps = isinstance(method, NoiseTunnel)
    return (method, method.attribution_method) if wraps else (method,)


def _place(method: Any, kind: type[Any], layer: nn.Module | None) -> nn.Module | None:
    """The layer of a method that sees what one gives."""
    of_layer = issubclass(kind, (LayerAttribution, NeuronAttribution))
    if issubclass(kind, _OURS) or not of_layer:
        return None
    place = method.layer if layer is None and isinstance(method, kind) else layer
    if not isinstance(place, nn.Module):
        raise ValueError(
            f"Expected the `layer` of {kind.__name__}, a module, got "
            f"{type(place).__name__}."
        )
    return place


def _traps(
    kind: type[Any],
    model: nn.Module,
    inputs: ModelInputs | None,
    layer: nn.Module | None,
) -> Iterator[str]:
    if inputs is None:
        yield from _of_fused_layers(kind, _passed(kind, look(model)))
        return
    if is_packed(inputs):  # which the model may take, but no method
        yield (
            f"{kind.__name__} takes tensors, no PackedSequence: give it the padded "
            f"tensor, and the lengths as an additional argument by which the model "
            f"packs it itself."
        )
        return
    if issubclass(kind, _OURS):
        return
    check_deterministic(model)
    run = watch(model, inputs, layer)
    if layer is not None and not run.visits:
        raise ValueError("Expected `layer` to be called by the model; it never was.")
    yield from _of_fused_layers(kind, _passed(kind, run))
    if layer is not None:
        yield from _of_its_layer(kind, run)
    if _goes_along_rows(kind) and not reads_rows(model, inputs):
        yield (
            f"{kind.__name__} puts examples along axis 0 of the inputs, but the rows "
            f"of these are not what the model's recurrent layer reads as sequences. "
            f"For a time-first model, explain `lambda x: model(x.transpose(0, 1))` "
            f"with inputs (N, T, k), or captum_dynamics.attr.LayerInputForward."
        )


def _of_fused_layers(kind: type[Any], passed: tuple[FusedCall, ...]) -> Iterator[str]:
    """Traps of going back through fused recurrent layers."""
    if not passed:
        return
    name = kind.__name__
    layers = " and ".join(dict.fromkeys(type(call.layer).__name__ for call in passed))
    if issubclass(kind, _RESCALING):
        yield (
            f"{name} is the plain gradient inside {layers}, whose nonlinear functions "
            f"are fused and so escape its rule: what it gives does not sum to the "
            f"change of the output. Use IntegratedGradients or "
            f"captum_dynamics.attr.DynamicsAttribution."
        )
    if issubclass(kind, _GUIDED):
        yield (
            f"{name} is the plain gradient inside {layers}, in which there is no ReLU "
            f"module to guide. Use Saliency, whose name says so, or "
            f"captum_dynamics.attr.DynamicsAttribution."
        )
    refused = any(call.lacks_backward for call in passed)
    if refused and issubclass(kind, GradientAttribution):
        yield (
            f"{name} needs the backward pass of {layers}, which cuDNN refuses in "
            f"evaluation mode. Call it in a block of "
            f"`with torch.backends.cudnn.flags(enabled=False)`."
        )


def _of_its_layer(kind: type[Any], run: Watched) -> Iterator[str]:
    """Traps of what a layer or neuron method sees at its layer."""
    if run.visits > 1:
        yield (
            f"{kind.__name__} sees one of the {run.visits} calls of its layer in a run "
            f"of the model, such as the last step of a loop. Use nn.RNN, nn.GRU or "
            f"nn.LSTM, which read the sequence in one call, with "
            f"captum_dynamics.attr.tap_hidden."
        )
    if not run.is_read and _needs_influence(kind):
        yield (
            f"{kind.__name__} sees nothing, because the output of the model does not "
            f"depend on what its layer gives: a tap sees the sequence, and no h_n or "
            f"c_n. Let the model read `outputs[:, -1]` of the layer, which equals h_n."
        )


def _passed(kind: type[Any], run: Watched) -> tuple[FusedCall, ...]:
    """Recurrent calls that a method goes back through."""
    if issubclass(kind, LayerAttribution):
        return run.after
    if issubclass(kind, NeuronAttribution):
        return run.before
    return run.before + run.after


def _goes_along_rows(kind: type[Any]) -> bool:
    named = set(inspect.signature(kind.attribute).parameters)
    # DeepLift puts the baselines' rows below those of the inputs.
    return bool(named & _ALONG_ROWS) or issubclass(kind, _RESCALING)


def _needs_influence(kind: type[Any]) -> bool:
    """Whether a method asks what the layer does to the output."""
    return issubclass(kind, (LayerAttribution, NeuronConductance)) and not issubclass(
        kind, LayerActivation
    )
