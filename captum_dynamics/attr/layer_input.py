"""LayerInputForward: a model as a function of what its recurrent layer reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from captum_dynamics import _checks
from captum_dynamics.attr._host import Arguments, Host, layer_of, whole_dynamics


class LayerInputForward(nn.Module):
    """A model as a function of its recurrent layer's inputs, for Captum's algorithms.

    Any of Captum's input attributions then works in the space of the layer's inputs,
    also for models that read token ids. Captum may expand the batch: pass the model's
    own inputs as `additional_forward_args`, which it expands alike. The layer's inputs
    are batch first, (N, T, k), whatever the layer's own order.

    Args:
        forward_func: the model, or a function that calls it.
        layer: the recurrent layer.

    Raises:
        LayerNotFoundError: If `layer` is not part of the model.
        TypeError: If `layer` is no module.

    Example:
        >>> import torch
        >>> from captum.attr import IntegratedGradients
        >>> gru = torch.nn.GRU(3, 4, batch_first=True)
        >>> def score(x):
        ...     return gru(x)[0][:, -1].sum(-1)
        >>> inputs = torch.ones(2, 5, 3)
        >>> method = IntegratedGradients(LayerInputForward(score, gru))
        >>> method.attribute(inputs, additional_forward_args=(inputs,)).shape
        torch.Size([2, 5, 3])
    """

    def __init__(self, forward_func: Callable[..., Any], layer: nn.Module) -> None:
        """Keep the model as it is; its parameters become this module's too."""
        super().__init__()
        self.forward_func = forward_func
        self.layer = layer_of(forward_func, layer)
        self._dynamics = whole_dynamics(self.forward_func, self.layer)
        # Not `train(...)`, which would reach into the model.
        self.training = self.layer.training

    def forward(self, layer_inputs: Tensor, *model_inputs: Any) -> Tensor:
        """Run the model with its layer reading `layer_inputs` (N, T, k).

        Args:
            layer_inputs: What the layer shall read.
            *model_inputs: What the model is called with.

        Returns:
            The model's output.

        Raises:
            ValueError: If `layer_inputs` are not (N, T, k) of the layer's width.
        """
        dynamics = self._dynamics
        _checks.check_floating("layer_inputs", layer_inputs)
        if layer_inputs.ndim != 3 or layer_inputs.shape[2] != dynamics.input_dim:
            raise ValueError(
                f"Expected `layer_inputs` to have shape (N, T, {dynamics.input_dim}), "
                f"got {tuple(layer_inputs.shape)}."
            )
        host = Host(self.forward_func, self.layer, dynamics)
        return host.outputs_from_inputs(Arguments((), None, model_inputs), layer_inputs)
