"""TelescopingAttribution: contributions by replacing inputs from the last one on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from captum.attr import PerturbationAttribution
from torch import Tensor, nn

from captum_dynamics._execution import progress
from captum_dynamics.attr._compat import Target, log_usage
from captum_dynamics.attr._prefixes import precision, prefix_outputs
from captum_dynamics.attr._recurrent import RecurrentAttribution, in_form_of
from captum_dynamics.attr._reference import reference_input


class TelescopingAttribution(RecurrentAttribution, PerturbationAttribution):  # type: ignore[misc]
    """Replace inputs by the baseline's from the last one on, one step at a time.

    With y_t the output when steps 1 to t are read as they are and all later ones as in
    the baseline run,

    a_t = y_t - y_(t-1),    sum_t a_t = y_T - y_0 = F(x) - F(baseline),

    whatever the model: the sum telescopes. A step's contribution is what it adds to
    the steps before it, while nothing comes after: "not" before "good" gives "good" a
    negative one. No gradient is taken. The rest of each run starts at the true state,
    so that T steps cost T^2/2 steps of the layer's map, all runs side by side. Of a
    bidirectional layer, each run is made anew in both directions: T^2 steps of each.

    The features of a step are replaced together, and share its contribution equally.

    Args:
        forward_func: the model, or a function that calls it.
        layer: the recurrent layer inside it.
        reference: the layer's input (k,) at every step of the baseline run, where
            `attribute` is given no `baselines`: "mean" of what the layer reads, up to
            the last step that the output reads (which gradients tell), "zero", or a
            tensor.

    Raises:
        LayerNotFoundError: If `layer` is not part of the model.
        AdapterNotFoundError: If nothing registered reads the layer.
        ValueError: If `reference` has another width or device than the layer's input.

    Example:
        >>> import torch
        >>> from captum_dynamics.attr import TelescopingAttribution
        >>> gru = torch.nn.GRU(3, 4, batch_first=True).double()
        >>> def score(x):
        ...     return torch.tanh(gru(x)[0][:, -1].sum(-1))
        >>> inputs = torch.ones(2, 5, 3).double().cumsum(1)
        >>> attributions, delta = TelescopingAttribution(score, gru).attribute(
        ...     inputs, return_convergence_delta=True
        ... )
        >>> attributions.shape, bool(delta.abs().max() < 1e-10)
        (torch.Size([2, 5, 3]), True)
    """

    def __init__(
        self,
        forward_func: Callable[..., Any],
        layer: nn.Module,
        *,
        reference: str | Tensor = "mean",
    ) -> None:
        RecurrentAttribution.__init__(self, forward_func, layer, reference)
        PerturbationAttribution.__init__(self, forward_func)

    @log_usage()  # type: ignore[untyped-decorator]
    @torch.inference_mode(False)
    def attribute(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        baselines: Any = None,
        target: Target = None,
        additional_forward_args: Any = None,
        internal_batch_size: int | None = None,
        return_convergence_delta: bool = False,
        show_progress: bool = False,
    ) -> Any:
        """Attribute outputs to the steps that the recurrent layer reads.

        Args:
            inputs: The model's inputs, embedded vectors or token ids; a tuple where
                it takes several.
            baselines: The model's inputs in the baseline run: tensors of the shape of
                `inputs`, or of one example, or numbers. Without them the layer reads
                the constructor's `reference` at every step.
            target: The output to explain, in any of Captum's forms.
            additional_forward_args: Further arguments of the model.
            internal_batch_size: Examples to run at once.
            return_convergence_delta: Whether to return, for each example, the sum of
                its contributions less F(x) - F(baseline): rounding, and what reaches
                the output past the layer or through its initial state.
            show_progress: Show a progress bar over batches.

        Returns:
            Attributions (N, T, k) in the precision of `inputs`, equal over the k
            features of a step, batch first whatever the layer's order; a tuple of one
            for a tuple of inputs. With `return_convergence_delta` also the deltas (N,).

        Raises:
            TypeError: If inputs are not tensors, or the output is not.
            ValueError: If the target selects no single number for each example, the
                model never calls the layer, dropout is active, baselines do not fit,
                or values are not finite.

        Warns:
            AttributionWarning: If the model's own output does not follow from the
                layer's equations.
        """
        session = self._session(
            inputs, baselines, target, additional_forward_args, internal_batch_size
        )
        reference = reference_input(self._reference, session)
        dtype = precision(session.host.dynamics, session.dtype)
        parts, deltas = [], []
        description = f"{self.get_name()} attribution"
        batches = session.batches()
        for batch in progress(batches, show=show_progress, desc=description):
            calls = session.pair_calls(batch, reference)
            arguments = session.arguments[batch]
            outputs = prefix_outputs(session.host, arguments, calls, dtype)
            width = calls.call.inputs.shape[2]
            contributions = outputs.diff(dim=1)[:, :, None] / width
            parts.append(contributions.expand_as(calls.call.inputs))
            change = calls.outputs.double() - calls.baseline_outputs.double()
            deltas.append(outputs[:, -1] - outputs[:, 0] - change)
        return in_form_of(
            inputs, session, parts, deltas if return_convergence_delta else None
        )
