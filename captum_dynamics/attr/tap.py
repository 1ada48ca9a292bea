"""tap_hidden: a place where Captum's layer methods can attach to a recurrent layer."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence

from captum_dynamics.adapters import find_layer
from captum_dynamics.exceptions import UnsupportedLayerError


class HiddenTap:
    """A tap on the sequence of states that a recurrent layer gives; see `tap_hidden`.

    It is a context manager, which removes itself at the end of its block.

    Attributes:
        layer: the `nn.Identity` to give to Captum; (N, T, d) passes through it.
    """

    layer: nn.Identity

    def __init__(self, recurrent: nn.RNNBase) -> None:
        """Put the tap on; `tap_hidden` finds the layer."""
        self.layer = nn.Identity()
        self._batch_first = bool(recurrent.batch_first)
        self._flags = ExitStack()
        self._handles = (
            recurrent.register_forward_pre_hook(self._enter),
            recurrent.register_forward_hook(self._pass_through),
            recurrent.register_forward_hook(self._leave, always_call=True),
        )

    def remove(self) -> None:
        """Take the tap off; the model is then as it was. A second time does nothing."""
        for handle in self._handles:
            handle.remove()
        self._flags.close()

    def __enter__(self) -> HiddenTap:
        """Give the tap itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Take the tap off, also after errors."""
        self.remove()

    def _enter(self, recurrent: nn.Module, _args: Any) -> None:
        # cuDNN refuses the backward pass of a layer in evaluation mode.
        if not recurrent.training:
            self._flags.enter_context(torch.backends.cudnn.flags(enabled=False))

    def _leave(self, _recurrent: nn.Module, _args: Any, _output: Any) -> None:
        self._flags.close()

    def _pass_through(self, _recurrent: nn.Module, _args: Any, output: Any) -> Any:
        """Let the sequence pass through the tap, batch first; the rest stays."""
        if not isinstance(output, tuple):
            raise TypeError(
                f"Expected the tapped layer to give a tuple whose first part is its "
                f"sequence, got {type(output).__name__}; give Captum the layer itself."
            )
        sequence, *rest = output
        if isinstance(sequence, PackedSequence):
            raise TypeError(
                "Expected the tapped layer to read a padded tensor, got a "
                "PackedSequence, whose rows are not examples; give the layer the "
                "padded tensor, and read each sequence at its own length."
            )
        if sequence.ndim != 3:
            raise ValueError(
                f"Expected the tapped layer to read a batch, of shape (N, T, k) or "
                f"(T, N, k), got one sequence and states of shape "
                f"{tuple(sequence.shape)}; add an axis for examples."
            )
        if self._batch_first:
            return (self.layer(sequence), *rest)
        passed = self.layer(sequence.transpose(0, 1)).transpose(0, 1)
        # As the layer gives it, also where Captum has put another tensor in.
        return (passed.contiguous(), *rest)


def tap_hidden(model: nn.Module, layer: str | nn.Module | None = None) -> HiddenTap:
    """Let Captum's Layer and Neuron methods work on the states of nn.RNN, GRU or LSTM.

    These layers return a tuple, which most of Captum's methods refuse. The tap is an
    `nn.Identity` through which the sequence of states passes on its way to the model,
    batch first whatever the layer's order: give it to Captum in the layer's place.
    Parameters, state dict and outputs of the model are the same with the tap; hooks on
    the layer are all that is added, and `remove` or the end of the block takes them
    away. In evaluation mode the layer runs without cuDNN meanwhile, which would refuse
    the backward pass.

    The tap sees the sequence only: a model that reads h_n or c_n does not read what
    passes through it. Read `outputs[:, -1]` instead, which is h_n of the last layer
    and the forward direction; `check_method` tells. A bidirectional layer gives both
    directions side by side, a stack its last layer. Copy or pickle a model after its
    taps are removed.

    Args:
        model: the host model, or the layer itself.
        layer: path of the layer, the layer, or None where there is only one.

    Returns:
        The tap, with `layer` for Captum and `remove()`; also a context manager.

    Raises:
        LayerNotFoundError: no such layer.
        UnsupportedLayerError: a layer that is no nn.RNN, nn.GRU or nn.LSTM, such as a
            cell, which knows one step at a time.
        ValueError: a layer that has a tap already; and when the model runs, one that
            reads a single sequence without an axis for examples.
        TypeError: when the model runs, a layer that reads a PackedSequence.

    References:
        Kokhlikyan et al., "Captum: a unified and generic model interpretability
        library for PyTorch", arXiv:2009.07896.

    Example:
        >>> import torch
        >>> from captum.attr import LayerGradientXActivation
        >>> from captum_dynamics.attr import tap_hidden
        >>> lstm = torch.nn.LSTM(3, 4, batch_first=True)
        >>> def score(x):
        ...     return lstm(x)[0].mean((1, 2))
        >>> with tap_hidden(lstm) as tap:
        ...     method = LayerGradientXActivation(score, tap.layer)
        ...     method.attribute(torch.ones(2, 5, 3)).shape
        torch.Size([2, 5, 4])
    """
    found = find_layer(model, layer)
    if not isinstance(found, nn.RNNBase):
        raise UnsupportedLayerError(
            f"Cannot tap {type(found).__name__}: only nn.RNN, nn.GRU and nn.LSTM give "
            f"the whole sequence of their states in one call."
        )
    if _is_tapped(found):
        raise ValueError(
            f"Expected `layer` without a tap, but this {type(found).__name__} has one; "
            f"use its `layer`, or `remove()` it first."
        )
    return HiddenTap(found)


def _is_tapped(recurrent: nn.Module) -> bool:
    hooks = recurrent._forward_hooks.values()
    return any(isinstance(getattr(h, "__self__", None), HiddenTap) for h in hooks)
